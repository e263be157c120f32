"""tiny-kernel: a Linux kernel that boots where ring 0 is interpreted, slowly and incompletely, and user mode has no system calls."""

import os
import re
import shutil

import initramfs
import packages
from store import LINUX, RecipeError, artifact, need, recipes, run

PACKAGE = "linux-source-6.1"
FILL_MIB = (16, 32, 64, 96, 128, 192, 256, 384)
FILL_FLAGS = ("-std=c++23 -O2 -ffreestanding -nostdlib -static -fno-stack-protector -fno-exceptions -mgeneral-regs-only "
              "-mcmodel=large -Wl,--build-id=none -s").split()


def source_tree(folder):
    packages.fetch([PACKAGE])
    archive = f"./usr/src/{PACKAGE}.tar.xz"
    with open(folder / "source.tar", "wb") as unpacked:
        unpacked.write(run("dpkg-deb", "--fsys-tarfile", packages.file_of(PACKAGE)))
    run("tar", "-xf", folder / "source.tar", "-C", folder, archive)
    (folder / "source.tar").unlink()
    run("tar", "-xJf", folder / archive, "-C", folder, "-X", LINUX / "tiny/sources-left-out")
    (folder / archive).unlink()
    return folder / PACKAGE


def configure(tree):
    wanted = LINUX / "tiny/config"
    run("make", "-s", f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig", cwd=tree)
    made = set((tree / ".config").read_text(encoding="ascii").splitlines())
    asked = re.findall(r"^CONFIG_\w+=y$", wanted.read_text(encoding="ascii"), re.M)
    lost = [line for line in asked if line not in made]
    if lost:
        raise RecipeError(f"the kernel's configuration does not take {' '.join(lost)}")


def compile_kernel(tree):
    # Objects are found again wherever the tree lies, and whenever it was unpacked.
    environment = {**os.environ, "CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1", "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
                   "KBUILD_BUILD_USER": "penumbra", "KBUILD_BUILD_HOST": "penumbra", "KBUILD_BUILD_VERSION": "1"}
    jobs = os.cpu_count() or 1
    run("make", "-s", f"-j{jobs}", "CC=ccache gcc", "HOSTCC=ccache gcc", "vmlinux", "bzImage", cwd=tree, env=environment)


def initial_ram_disk(folder, target):
    """/fill-MIB fills that much memory; /init is the smallest but one."""
    root = folder / "root"
    root.mkdir()
    for mib in FILL_MIB:
        run("g++", *FILL_FLAGS, f"-DFILL_MIB={mib}", LINUX / "tiny/fill.cpp", "-o", root / f"fill-{mib}")
    (root / "init").symlink_to("fill-32")
    initramfs.plain_archive(root, target)


def root_disk(folder, target):
    """An ext2 root whose /sbin/init fills 32 MiB: reaching it takes reads from the disk."""
    tree = folder / "disk"
    (tree / "sbin").mkdir(parents=True)
    (tree / "dev").mkdir()
    shutil.copy(folder / "root/fill-32", tree / "sbin/init")
    run("mke2fs", "-q", "-t", "ext2", "-d", tree, target, "8M")


def build(folder):
    need(flex="flex", bison="bison", bc="bc", ccache="ccache", lz4="lz4", mke2fs="e2fsprogs", cpio="cpio")
    work = folder / "work"
    work.mkdir()
    tree = source_tree(work)
    configure(tree)
    compile_kernel(tree)
    run("strip", "-s", tree / "vmlinux", "-o", folder / "vmlinux")
    shutil.copy(tree / "arch/x86/boot/bzImage", folder / "bzImage")
    initial_ram_disk(work, folder / "initrd")
    root_disk(work, folder / "root.ext2")
    shutil.copy(LINUX / "tiny/cmdline", folder / "cmdline")
    shutil.rmtree(work)


def make():
    inputs = [*recipes("tiny_kernel"), LINUX / "tiny", *packages.inputs(PACKAGE)]
    return artifact("tiny-kernel", inputs, build)
