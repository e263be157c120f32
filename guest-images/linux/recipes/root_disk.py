"""root-VERSION.ext4: the root disk of the workloads. It holds no modules, so one file serves every kernel."""

import shutil

import guest
import initramfs
import packages
from store import artifact, need, recipes, run

STRESS = "stress-ng"
SIZE = "256M"


def build(folder):
    need(mke2fs="e2fsprogs", readelf="binutils")
    root = folder / "scratch/root"
    root.mkdir(parents=True)
    initramfs.busybox(root)
    guest.install(root)
    packages.Gathering(root, folder / "scratch/packages").add(STRESS, "usr/bin/stress-ng")
    (root / "sbin").mkdir()
    (root / "sbin/init").symlink_to("/penumbra/start")
    run("mke2fs", "-q", "-t", "ext4", "-L", "penumbra-root", "-E", "root_owner=0:0,lazy_itable_init=0", "-d", root,
        folder / "root.ext4", SIZE)
    shutil.rmtree(folder / "scratch")


def make():
    inputs = [*recipes("root_disk", "initramfs", "guest", "packages"), *guest.SOURCES, *packages.inputs(initramfs.BUSYBOX, STRESS), SIZE]
    return artifact("root", inputs, build) / "root.ext4"
