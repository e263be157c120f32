"""Checks that ask a compiler or a formatter. Answers are cached by the contents they depend on."""

import hashlib
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import PRODUCTION

COMPILE = ["g++", "-std=c++23", "-fsyntax-only", "-msse4.2", "-Wall", "-Wextra", "-Werror", "-DPENUMBRA_TEST_SWITCHES",
           "-x", "c++", "-"]


class Cache:
    """Keys of what passed. A failure is never remembered."""

    def __init__(self, folder, name):
        self.file = folder / f"{name}.json" if folder else None
        self.known = set(json.loads(self.file.read_text())) if self.file and self.file.is_file() else set()

    def keep(self, keys):
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            partial = self.file.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(sorted(keys)))
            partial.replace(self.file)


def digest(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def check_all(cache, keyed, check):
    """Runs check(item) for each (key, item) not known to pass; returns all complaints and keeps the passes."""
    todo = [(key, item) for key, item in keyed if key not in cache.known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(pool.map(lambda pair: check(pair[1]), todo))
    failed = {key for (key, _), complaint in zip(todo, answers) if complaint}
    cache.keep({key for key, _ in keyed} - failed)
    return [complaint for complaint in answers if complaint]


def headers_alone(tree, cache_folder=None):
    def compile_one(source):
        done = subprocess.run(COMPILE + [f"-I{tree.root}"], input=f'#include "{source.path}"\n', text=True,
                              capture_output=True, cwd=tree.root, check=False)
        return f"{source.path} does not compile alone:\n{done.stderr[:1500]}" if done.returncode else None

    headers = [s for s in tree.cpp(suffixes=(".hpp",))
               if s.folder in PRODUCTION + ("tests", "bench") and not s.path.startswith("guest-images/linux/")]
    keyed = [(digest(*COMPILE, *(f"{s.path}\0{s.text}" for s in tree.closure(h)), h.path), h) for h in headers]
    return check_all(Cache(cache_folder, "headers"), keyed, compile_one)


def clang_format(tree, cache_folder=None):
    if shutil.which("clang-format-19") is None:
        return ["clang-format-19 is missing: run ./x setup"]

    def format_one(source):
        done = subprocess.run(["clang-format-19", "--dry-run", "-Werror", source.path], text=True, capture_output=True,
                              cwd=tree.root, check=False)
        first = done.stderr.splitlines()[0] if done.stderr else "not formatted"
        return f"{first} (./x fmt)" if done.returncode else None

    style = (tree.root / ".clang-format").read_text()
    keyed = [(digest(style, s.path, s.text), s) for s in tree.cpp()]
    return check_all(Cache(cache_folder, "format"), keyed, format_one)
