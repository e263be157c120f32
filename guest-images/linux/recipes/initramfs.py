"""What every initial RAM disk needs: busybox, a kernel's modules in the order of their loading, and the archive itself."""

import shutil

import packages
from store import RecipeError, need, run

MODULES = ("virtio_pci virtio_mmio virtio_blk virtio_net virtio_console virtio_balloon virtio_rng "
           "ext4 af_packet evdev button").split()
BUSYBOX = "busybox-static"


def busybox(root):
    """bin/busybox and a link for each applet."""
    packages.unpack(BUSYBOX, root.parent / "busybox")
    (root / "bin").mkdir(parents=True, exist_ok=True)
    target = root / "bin/busybox"
    shutil.copyfile(root.parent / "busybox/bin/busybox", target)
    target.chmod(0o755)
    for name in set(run(target, "--list").decode().split()) - {"busybox"}:
        (root / "bin" / name).symlink_to("busybox")


def load_order(kernel, wanted):
    """Paths below modules/, each after what it depends on. What is built into the kernel needs no loading."""
    def stem(path):
        return path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")

    needs = {}
    for line in (kernel / "modules/modules.dep").read_text(encoding="ascii").splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {stem(path): path for path in needs}
    builtin = {stem(path) for path in (kernel / "modules/modules.builtin").read_text(encoding="ascii").split()}
    order = []
    for name in wanted:
        if name not in by_name:
            if name not in builtin:
                raise RecipeError(f"{kernel}: neither a module nor built in: {name}")
            continue
        # modules.dep lists dependencies from the nearest to the farthest
        for path in [*reversed(needs[by_name[name]]), by_name[name]]:
            if path not in order:
                order.append(path)
    return order


def modules(root, kernel, wanted, order="order"):
    """lib/modules/*.ko, and their names in the order of loading in lib/modules/ORDER."""
    folder = root / "lib/modules"
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for path in load_order(kernel, wanted):
        shutil.copyfile(kernel / "modules" / path, folder / path.rsplit("/", 1)[-1])
        names.append(path.rsplit("/", 1)[-1])
    (folder / order).write_text("".join(f"{name}\n" for name in names), encoding="ascii")


def plain_archive(root, target):
    need(cpio="cpio")
    names = b"".join(str(path.relative_to(root)).encode() + b"\0" for path in [root, *sorted(root.rglob("*"))])
    cpio = run("cpio", "--quiet", "--null", "-o", "-H", "newc", "-R", "0:0", "--reproducible", cwd=root, input=names)
    target.write_bytes(cpio)


def archive(root, target):
    need(zstd="zstd")
    plain = target.with_suffix(".cpio")
    plain_archive(root, plain)
    run("zstd", "-q", "-9", "--rm", plain, "-o", target)
