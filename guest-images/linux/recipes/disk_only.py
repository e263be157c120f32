"""disk-only.img: a whole disk with Debian on it, as a machine that is given nothing but a disk gets it."""

import os
import shutil
import struct

import packages
from store import LINUX, RecipeError, artifact, need, recipes, run

KERNELS = ["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"]
INCLUDE = [*KERNELS, "grub-pc-bin", "grub2-common", "initramfs-tools", "busybox-static"]
SOURCES = ["deb http://deb.debian.org/debian bookworm main",
           "deb http://deb.debian.org/debian-security bookworm-security main"]
LEFT_OUT = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*",
            "/lib/modules/*/kernel/drivers/net/ethernet/*", "/lib/modules/*/kernel/drivers/infiniband/*"]
UUID = "5ca1ab1e-0000-4000-8000-70656e756d62"
MIB = 768
START_MIB = 1


def essential_hook():
    """Small initial RAM disks: made when the kernels are installed, which comes after this hook."""
    return ('mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"; '
            'printf "MODULES=list\\nRESUME=none\\n" >"$1/etc/initramfs-tools/conf.d/small"; '
            'printf "virtio_pci\\nvirtio_mmio\\nvirtio_blk\\n" >"$1/usr/share/initramfs-tools/modules.d/virtio"; '
            f'printf "UUID={UUID} / ext4 errors=remount-ro 0 1\\n" >"$1/etc/fstab"')


def install(tree):
    proxy = run("apt-config", "shell", "proxy", "Acquire::http::Proxy").decode().partition("=")[2].strip().strip("'")
    options = [f'--aptopt=Acquire::http::Proxy "{proxy}"'] if proxy else []
    options += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--aptopt=Apt::Install-Recommends false",
        "--dpkgopt=force-unsafe-io", *options, f"--include={','.join(INCLUDE)}", f"--essential-hook={essential_hook()}",
        "bookworm", tree, *SOURCES)


def configure_grub(tree):
    """GRUB's own grub-mkconfig, with a grub-probe that knows a disk which is not there yet."""
    probe, saved = tree / "usr/sbin/grub-probe", tree / "usr/sbin/grub-probe.saved"
    probe.rename(saved)
    probe.write_text((LINUX / "disk-only/grub-probe").read_text(encoding="ascii").replace("@UUID@", UUID), encoding="ascii")
    probe.chmod(0o755)
    shutil.copy(LINUX / "disk-only/grub", tree / "etc/default/grub")
    by_uuid = tree / "dev/disk/by-uuid" / UUID
    by_uuid.parent.mkdir(parents=True)
    by_uuid.touch()
    (tree / "boot/grub").mkdir(exist_ok=True)
    run("chroot", tree, "grub-mkconfig", "-o", "/boot/grub/grub.cfg")
    shutil.rmtree(tree / "dev/disk")
    saved.rename(probe)


def partition_table():
    """A master boot record with one bootable Linux partition, and no code."""
    sectors_per_mib = 2048
    no_geometry = b"\xfe\xff\xff"
    entry = b"\x80" + no_geometry + b"\x83" + no_geometry + struct.pack(
        "<II", START_MIB * sectors_per_mib, (MIB - START_MIB) * sectors_per_mib)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def build(folder):
    if os.geteuid() != 0:
        raise RecipeError("a disk with Debian needs chroot; cure: run it as root")
    need(mmdebstrap="mmdebstrap", mke2fs="e2fsprogs")
    tree, image = folder / "tree", folder / "disk-only.img"
    install(tree)
    configure_grub(tree)
    (tree / "sbin/init").unlink(missing_ok=True)
    shutil.copy(LINUX / "disk-only/init", tree / "sbin/init")
    with open(image, "wb") as file:
        file.write(partition_table())
        file.truncate(MIB << 20)
    run("mke2fs", "-q", "-t", "ext4", "-U", UUID, "-L", "debian", "-E", f"offset={START_MIB << 20},lazy_itable_init=0",
        "-d", tree, image, f"{(MIB - START_MIB) << 10}k")
    shutil.rmtree(tree)


def make():
    inputs = [*recipes("disk_only"), LINUX / "disk-only", *packages.inputs(*INCLUDE), *packages.inputs("base-files")]
    return artifact("disk-only", inputs, build) / "disk-only.img"
