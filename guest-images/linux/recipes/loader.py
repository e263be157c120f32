"""loader: what a machine boots that was given only a disk."""

import shutil

import initramfs
from store import LINUX, artifact, kernel, kernel_inputs, need, recipes, run

KERNEL = "6.12"
MODULES = ["virtio_pci", "virtio_mmio", "virtio_blk"]
# Loaded only for a disk that needs them: some take a second to test which of their methods is the fastest.
FILE_SYSTEMS = {"ext4": ["ext4"], "xfs": ["xfs"], "btrfs": ["btrfs"], "vfat": ["vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1"]}
COMMAND_LINE = "console=ttyS0 quiet panic=-1"


def compile_loader(target):
    need(ccache="ccache")
    objects = target.parent / "objects"
    objects.mkdir(parents=True)
    for source in sorted((LINUX / "loader").glob("*.cpp")):
        run("ccache", "g++", "-std=c++23", "-O2", "-ffunction-sections", f"-I{LINUX.parents[1]}", "-c", source,
            "-o", objects / f"{source.stem}.o")
    run("g++", "-static", "-s", "-Wl,--gc-sections", *sorted(objects.glob("*.o")), "-o", target)


def make():
    source = kernel(KERNEL)

    def build(folder):
        root = folder / "scratch/root"
        root.mkdir(parents=True)
        compile_loader(folder / "scratch/init")
        shutil.copy(folder / "scratch/init", root / "init")
        initramfs.modules(root, source, MODULES)
        for name, wanted in FILE_SYSTEMS.items():
            initramfs.modules(root, source, wanted, f"order-{name}")
        initramfs.archive(root, folder / "initrd")
        shutil.copy(source / "vmlinuz", folder / "vmlinuz")
        (folder / "cmdline").write_text(f"{COMMAND_LINE}\n", encoding="ascii")
        shutil.rmtree(folder / "scratch")

    inputs = [*recipes("loader", "initramfs"), LINUX / "loader", *kernel_inputs(source)]
    return artifact("loader", inputs, build)
