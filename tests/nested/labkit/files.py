"""What goes into a lab and comes out of it: staging folders, their closure of shared libraries, ext4 images."""

import fcntl
import os
import re
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

from labkit.verdict import LabError

REPOSITORY = Path(__file__).resolve().parents[3]
GUEST = REPOSITORY / "tests/nested/guest"
BUSYBOX = Path("/bin/busybox")
LINKS = {"sbin": "bin", "usr": ".", "lib64": "lib", "var": "."}
FOLDERS = "bin lib dev proc sys run tmp root out etc/lab with".split()
# Unpacked, an image may grow this much beyond what it holds.
ROOM_MB = 3072
OUT_MB = 2048
ROOT_ID = 0x6C616221


def call(words, **more):
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    if done.returncode != 0:
        raise LabError(f"{shlex.join(map(str, words))}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout


def link(source, target):
    """The same file under another name; a copy where file systems differ."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError:
        pass
    except OSError:
        shutil.copy2(source, target)


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries(text):
    """The files that `ldd` names; a missing one is an error."""
    missing = re.findall(r"^\s*(\S+) => not found", text, re.M)
    if missing:
        raise LabError(f"shared libraries not found: {', '.join(missing)}")
    return [Path(path) for path in re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", text, re.M)]


def add_tree(source, target):
    for path in [source] if source.is_file() else sorted(source.rglob("*")):
        if path.is_file():
            link(path, target / path.relative_to(source) if path != source else target)


def build_output(build):
    """The parts of a build that run in the lab; the binary must be there, the rest is what was built."""
    if not (build / "penumbra").is_file():
        raise LabError(f"{build} holds no penumbra: ./x build lab")
    found = [build / "penumbra", *sorted(path for path in build.glob("tests/*")
                                           if path.suffix == "" and os.access(path, os.X_OK))]
    found += [path for path in sorted(build.glob("guest-images/**/*")) if "CMake" not in str(path.relative_to(build))
              and path.suffix not in (".cmake", ".o", ".a", ".ninja")]
    return [path for path in found if path.is_file() and "[" not in path.name]


def stage_root(root, build, inputs, settings, command):
    """Fills `root` with all that the lab's root file system holds. Build output keeps its absolute paths inside."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    if not BUSYBOX.is_file():
        raise LabError(f"no {BUSYBOX}: ./x setup")
    link(BUSYBOX, root / "bin/busybox")
    for applet in call([BUSYBOX, "--list"]).split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    link(GUEST / "init", root / "init")
    for tool in GUEST.iterdir():
        if tool.name != "init":
            link(tool, root / "bin" / tool.name)

    names = [path.name for path in inputs]
    if len(set(names)) != len(names):
        raise LabError(f"two inputs of one name: {' '.join(sorted(names))}")
    programs = build_output(build)
    for path in programs:
        link(path, root / path.relative_to("/"))
    for path in inputs:
        add_tree(path, root / "with" / path.name)
        programs += [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    add_libraries(root, programs)
    add_settings(root, build, settings, command)


def add_libraries(root, programs):
    elf = [path for path in programs if os.access(path, os.X_OK) and is_elf(path)]
    for program in elf:
        found = subprocess.run(["ldd", program], capture_output=True, text=True)  # fails for a static one
        for library in libraries(found.stdout):
            link(library, root / re.sub("^/(usr/)?", "", str(library)))


def add_settings(root, build, settings, command):
    etc = root / "etc"
    values = settings | {
        "PATH": f"{build}:{build}/tests:/with:/bin", "OUT": "/out/files", "HOME": "/root", "TMPDIR": "/tmp",
        "LAB_ROOT": str(REPOSITORY), "LAB_BUILD": str(build)}
    exports = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in values.items())
    (etc / "lab/environment").write_text(exports)
    (etc / "profile").write_text(f". /etc/lab/environment\ncd {shlex.quote(str(REPOSITORY))}\nPS1='lab:\\w# '\n")
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n10.9.8.1 host1\n10.9.8.2 host2\n")
    (root / str(REPOSITORY).lstrip("/")).mkdir(parents=True, exist_ok=True)
    if not command:
        (etc / "lab/interactive").touch()
    line = command[0] if len(command) == 1 else f"exec {shlex.join(command)}"
    (etc / "lab/job").write_text(f". /etc/lab/environment\nmkdir -p $OUT\ncd \"$LAB_ROOT\"\n{line}\n")


def make_image(image, folder, room_mb, label, offset=0):
    """An ext4 image of a folder's contents, owned by root inside, sparse outside."""
    used = int(call(["du", "-sm", folder]).split()[0])
    call(["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-m", "0",
          "-E", f"root_owner=0:0,lazy_itable_init=1,offset={offset}",
          "-d", folder, image, f"{used + used // 8 + room_mb}M"])


def make_root_image(image, folder):
    """A disk with one partition that the kernel finds as PARTUUID=ROOT_ID-01, in whatever order disks turn up."""
    offset = 1 << 20
    make_image(image, folder, ROOM_MB, "root", offset)
    with open(image, "r+b") as disk:
        sectors = disk.seek(0, os.SEEK_END) // 512
        entry = struct.pack("<B3sB3sII", 0, bytes(3), 0x83, bytes(3), offset // 512, sectors - offset // 512)
        disk.seek(440)
        disk.write(struct.pack("<IH", ROOT_ID, 0) + entry + bytes(48) + b"\x55\xaa")


def modules_image(modules):
    """The modules tree as an image, made once for each tree."""
    image = modules.parent / f"{modules.name}.ext4"
    with open(image.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists() or image.stat().st_mtime < (modules / "modules.dep").stat().st_mtime:
            new = image.with_suffix(".new")
            make_image(new, modules, 32, "modules")
            new.rename(image)
    return image


def extract(image, target):
    """Copies the out image's files to `target`; mends the image first where the lab did not end in order."""
    subprocess.run(["e2fsck", "-fy", image], capture_output=True)
    target.mkdir(parents=True, exist_ok=True)
    call(["debugfs", "-R", f"rdump /files {target}", image])
    found = target / "files"
    if found.is_dir():
        for path in found.iterdir():
            final = target / path.name
            shutil.rmtree(final, ignore_errors=True) if final.is_dir() else final.unlink(missing_ok=True)
            path.rename(final)
        found.rmdir()


def status_in(image):
    shown = subprocess.run(["debugfs", "-R", "cat /status", image], capture_output=True, text=True)
    return shown.stdout or None
