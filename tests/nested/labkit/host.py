"""One host of a lab: a qemu process with its sockets. Nothing here waits longer than it is told to."""

import json
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from labkit.files import ROOT_ID
from labkit.verdict import LabError

# One thread for all CPUs: qemu 7.2's threads may keep running code that another of them has just patched, and the lab's
# kernel patches its own (jump labels, each time a first VM appears), so that it dies or hangs now and then. One thread
# is no slower, either.
ACCELERATOR = "tcg,thread=single"
# TCG offers the first ones less of an EPYC and would say so each time. cx16: qemu 7.2 takes CMPXCHG16B's flags from an
# operation whose result it has overwritten, and when a nested page fault leaves the guest just then, a pointer is what
# lands in the guest's RFLAGS: double faults and hangs wherever the allocator meets a page that is out.
CPU = "EPYC,+svm,+npt,-topoext,-nrip-save,-xsavec,-rdseed,-sha-ni,-fxsr-opt,-misalignsse,-3dnowprefetch,-osvw,-cx16"
# A periodic tick: qemu sometimes loses an interrupt of a host that runs a nested guest. One was seen pending in the
# APIC with nothing asked of the processor, which went on once asked; a bit changed without a lock would explain it. A
# one-shot timer lost so is never set again, and the host stands still; a later tick brings up what an earlier one lost.
KERNEL_WORDS = "console=ttyS0 panic=-1 oops=panic mitigations=off sysrq_always_enabled no_timer_check tsc=reliable " \
               f"nohz=off highres=off root=PARTUUID={ROOT_ID:08x}-01 rootwait rw init=/init"

SYSRQ_SILENCE, SYSRQ_SECONDS = 1.5, 8


@dataclass(frozen=True)
class Shape:
    """What all hosts of a lab have in common."""
    kernel: Path
    modules: Path | None
    memory_mb: int
    cpus: int
    nodes: int
    hosts: int
    append: str


def memory_words(shape):
    words = ["-m", f"{shape.memory_mb}M", "-smp", f"{shape.cpus},sockets={shape.nodes}"]
    for node in range(shape.nodes if shape.nodes > 1 else 0):
        megabytes = shape.memory_mb // shape.nodes
        count = shape.cpus // shape.nodes
        words += ["-object", f"memory-backend-ram,id=node{node},size={megabytes}M",
                  "-numa", f"node,nodeid={node},memdev=node{node},cpus={node * count}-{node * count + count - 1}"]
    return words


def drive_words(name, image, mode):
    return ["-drive", f"if=none,id={name},file={image},format=raw,{mode}",
            "-device", f"nvme,drive={name},serial={name}"]


def network_words(shape, number, wire):
    if shape.hosts == 1:
        return []
    end = "server=on" if number == 1 else "server=off"
    return ["-netdev", f"stream,id=wire,{end},addr.type=unix,addr.path={wire}",
            "-device", f"virtio-net-pci,netdev=wire,mac=52:54:00:00:00:0{number},romfile="]


class Host:
    def __init__(self, shape, number, folder, root, out, wire):
        self.name = f"host{number}"
        self.folder = folder
        self.out = out
        self.how = None
        self.console_file = folder / "console.log"
        self.errors = open(folder / "qemu.log", "w+b")
        qemu = shutil.which("qemu-system-x86_64")
        if not qemu:
            raise LabError("no qemu-system-x86_64: ./x setup")
        words = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
                 "-accel", ACCELERATOR, "-cpu", CPU, *memory_words(shape), "-kernel", shape.kernel,
                 "-append", f"{KERNEL_WORDS} lab.host={number} {shape.append}".strip(),
                 "-chardev", f"socket,id=console,path={folder}/console,server=on,wait=off,logfile={self.console_file}",
                 "-chardev", f"socket,id=job,path={folder}/job,server=on,wait=off",
                 "-serial", "chardev:console", "-serial", "chardev:job",
                 "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
                 *drive_words("root", root, "snapshot=on"), *drive_words("out", out, "cache=unsafe")]
        if shape.modules:
            words += drive_words("modules", shape.modules, "snapshot=on")
        words += network_words(shape, number, wire)
        # Whatever ends this process ends qemu too.
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, words)], stdin=subprocess.DEVNULL,
                                        stdout=self.errors, stderr=self.errors, start_new_session=True)

    def connect(self, seconds=20):
        self.job = self._socket("job", seconds)
        self.qmp = self._socket("qmp", seconds)
        self.inbox = b""
        self.qmp.settimeout(seconds)
        self.ask("qmp_capabilities")

    def _socket(self, name, seconds):
        deadline = time.monotonic() + seconds
        while True:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(self.folder / name))
                return made
            except OSError as error:
                made.close()
                if self.process.poll() is not None:
                    raise LabError(f"qemu ended at once: {self.said()}") from error
                if time.monotonic() > deadline:
                    raise LabError(f"qemu opened no {name} socket in {seconds} s: {self.said()}") from error
            time.sleep(0.01)

    def ask(self, command, **arguments):
        self.qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    def heard(self, chunk):
        """Takes what QMP said; remembers how the machine ended."""
        *lines, self.inbox = (self.inbox + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line) if line.strip() else {}
            if message.get("event") == "SHUTDOWN" and self.how is None:
                self.how = message["data"]["reason"]

    def ended(self):
        """Once the process is gone: the reason QMP gave, or that it gave none."""
        return self.how or f"died: status {self.process.poll()}; {self.said()}"

    def press_sysrq(self, keys):
        """Makes the kernel tell on its console what it is doing, as far as it still can: each answer until it falls
        silent, SYSRQ_SECONDS at most."""
        with self._socket("console", 5) as console:
            for key in keys:
                self.ask("chardev-send-break", id="console")
                time.sleep(0.2)
                console.sendall(key.encode())
                console.settimeout(SYSRQ_SILENCE)
                deadline = time.monotonic() + SYSRQ_SECONDS
                try:
                    while time.monotonic() < deadline and console.recv(1 << 16):
                        pass
                except OSError:
                    continue

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def console(self):
        return self.console_file.read_text(errors="replace") if self.console_file.exists() else ""

    def said(self):
        self.errors.flush()
        return (self.folder / "qemu.log").read_text(errors="replace").strip() or "it said nothing"
