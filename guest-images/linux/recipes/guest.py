"""The scripts and tools that run inside a guest."""

import shutil

from store import LINUX, run

SOURCES = [LINUX / "guest", LINUX / "tools"]


def install(root):
    """penumbra/ with the workloads, bin/pattern, and the folders that a running system mounts on."""
    for folder in ("dev", "proc", "sys", "tmp", "root", "etc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copytree(LINUX / "guest", root / "penumbra")
    run("g++", "-std=c++23", "-O2", "-static", "-s", LINUX / "tools/pattern.cpp", "-o", root / "bin/pattern")
