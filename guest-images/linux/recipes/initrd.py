"""initrd-VERSION: the initial RAM disk for Debian's cloud kernel as a guest."""

import shutil

import guest
import initramfs
import packages
from store import LINUX, artifact, kernel, kernel_inputs, recipes


def make(version):
    source = kernel(version)

    def build(folder):
        root = folder / "scratch/root"
        root.mkdir(parents=True)
        initramfs.busybox(root)
        initramfs.modules(root, source, initramfs.MODULES)
        guest.install(root)
        shutil.copy(LINUX / "initrd/init", root / "init")
        initramfs.archive(root, folder / "initrd")
        shutil.rmtree(folder / "scratch")

    inputs = [*recipes("initrd", "initramfs", "guest"), LINUX / "initrd", *guest.SOURCES, *kernel_inputs(source), *packages.inputs(initramfs.BUSYBOX)]
    return artifact(f"initrd-{version}", inputs, build) / "initrd"
