"""Where images are kept: build/linux/NAME-KEY, KEY a hash of everything the image is made of."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

LINUX = Path(__file__).resolve().parents[1]
STORE = LINUX.parents[1] / "build" / "linux"
UNUSED_SECONDS = 24 * 3600  # versions not asked for this long go when a newer one is made

os.environ["PATH"] += ":/usr/sbin:/sbin"


class RecipeError(Exception):
    """What could not be made, why, and what to do about it."""


def run(*command, **options):
    """Runs a command; its output is shown only if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False, **options)
    if done.returncode:
        told = (done.stdout[-5000:] + done.stderr).decode(errors="replace").strip().splitlines()[-15:]
        raise RecipeError("\n  ".join([f"`{' '.join(map(str, command))}` gave status {done.returncode}", *told]))
    return done.stdout


def need(**tools):
    """need(tool="package"): complains about the tools that are not installed."""
    missing = {package for tool, package in tools.items() if shutil.which(tool.replace("_", "-")) is None}
    if missing:
        raise RecipeError(f"not installed: {' '.join(sorted(missing))}; cure: apt-get install them, or ./x setup")


@contextlib.contextmanager
def locked(name):
    STORE.mkdir(parents=True, exist_ok=True)
    with open(STORE / f".lock-{name}", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds the work done
        yield


def key_of(inputs):
    """inputs: text, and paths of files or folders, whose names, modes and contents count."""
    total = hashlib.sha256()
    for item in inputs:
        if not isinstance(item, Path):
            total.update(f"text {len(item)} {item}".encode())
            continue
        for path in [item] if item.is_file() else sorted(p for p in item.rglob("*") if p.is_file()):
            total.update(f"file {path.name} {path.stat().st_mode & 0o111} ".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def recipes(*names):
    """The recipes' own files, as inputs."""
    return [LINUX / "recipes" / f"{name}.py" for name in names]


def drop_unused(name, keep):
    for other in STORE.glob(f"{name}-{'[0-9a-f]' * 16}"):
        if other != keep and time.time() - other.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(other, ignore_errors=True)


def artifact(name, inputs, build):
    """The folder build/linux/NAME-KEY; build(folder) fills it when it is not there."""
    folder = STORE / f"{name}-{key_of(inputs)}"
    with locked(name):
        if not folder.is_dir():
            work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=STORE))
            try:
                work.chmod(0o755)
                build(work)
                work.rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            drop_unused(name, folder)
        os.utime(folder)
    return folder


def kernel(version):
    """Folder of Debian's cloud kernel 6.1 or 6.12: vmlinuz, vmlinux, modules/, release."""
    fetched = run(LINUX / "fetch-kernel", version).decode().splitlines()
    return Path(fetched[-1])


def kernel_inputs(folder):
    return [(folder / "release").read_text(encoding="ascii"), folder / "vmlinuz"]
