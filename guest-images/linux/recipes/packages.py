"""Debian's packages: downloaded by apt, which checks their hashes against the signed index, and unpacked, never installed."""

import re
import shutil
import tempfile
from pathlib import Path

from store import STORE, RecipeError, locked, need, run

LIBRARIES = "lib/x86_64-linux-gnu"
FOLDER = STORE / "packages"
known_versions = {}


def versions(names):
    """{name: the version that apt would take now}. apt is slow to start, so it is asked for many at once."""
    need(apt_cache="apt")
    missing = [name for name in names if name not in known_versions]
    if missing:
        told = run("apt-cache", "policy", *missing).decode()
        known_versions.update(re.findall(r"^(\S+):\n.*\n  Candidate: (?!\(none\))(\S+)$", told, re.M))
    for name in names:
        if name not in known_versions:
            raise RecipeError(f"apt knows no package {name}; cure: apt-get update, on Debian 12 with bookworm-security")
    return {name: known_versions[name] for name in names}


def inputs(*names):
    return [f"{name}={version}" for name, version in versions(names).items()]


def file_of(name):
    return FOLDER / f"{name}_{versions([name])[name].replace(':', '%3a')}.deb"


def fetch(names):
    """Downloads what is not yet in build/linux/packages, in one go."""
    versions(names)
    with locked("packages"):
        missing = [name for name in names if not file_of(name).exists()]
        if not missing:
            return
        FOLDER.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=STORE) as work:
            wanted = [f"{name}={versions([name])[name]}" for name in missing]
            run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *wanted, cwd=work)
            for name in missing:
                next(Path(work).glob(f"{name}_*.deb")).rename(file_of(name))


def unpack(name, folder):
    fetch([name])
    Path(folder).mkdir(parents=True, exist_ok=True)
    run("dpkg-deb", "-x", file_of(name), folder)


def dependencies(name):
    """Names only, the first of alternatives."""
    told = run("dpkg-deb", "-f", file_of(name), "Depends").decode()
    return [re.match(r"[a-z0-9.+-]+", item.strip()).group() for item in told.split(",") if item.strip()]


def needed_libraries(binary):
    return re.findall(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]", run("readelf", "-d", binary).decode())


class Gathering:
    """Copies binaries of packages into a root folder, with the shared libraries they are linked to."""

    def __init__(self, root, scratch):
        self.root, self.scratch = Path(root), Path(scratch)

    def tree(self, package):
        folder = self.scratch / package
        if not folder.is_dir():
            unpack(package, folder)
        return folder

    def add(self, package, path):
        source = self.tree(package) / path
        self.install(source, self.root / path)
        queue, seen = [(package, library) for library in needed_libraries(source)], set()
        while queue:
            owner, library = queue.pop()
            if library not in seen:
                seen.add(library)
                owner, file = self.find(owner, library)
                self.install(file, self.root / LIBRARIES / library)
                queue += [(owner, name) for name in needed_libraries(file)]
        self.install(self.tree("libc6") / LIBRARIES / "ld-linux-x86-64.so.2", self.root / "lib64/ld-linux-x86-64.so.2")

    def find(self, owner, library):
        """(package, file) of the package that holds the library: the owner, or one that it depends on."""
        around = list(dict.fromkeys([owner, "libc6", *dependencies(owner)]))
        fetch(around)
        for package in around:
            for folder in (LIBRARIES, f"usr/{LIBRARIES}"):
                file = self.tree(package) / folder / library
                if file.exists():
                    return package, file
        raise RecipeError(f"neither {owner} nor a package that it depends on holds {library}")

    @staticmethod
    def install(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.resolve(), target)
        target.chmod(0o755)
