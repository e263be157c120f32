"""Puts a lab together from its options, runs it, reports."""

import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from labkit import files, options as command_line, verdict
from labkit.host import Host, Shape
from labkit.session import Session
from labkit.terminal import Terminal
from labkit.verdict import BROKEN, LabError, Verdict

SLOWNESS = 8  # of the emulated host, for tests/support/pace.hpp


def say(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


def kernel_of(options):
    """(kernel file, modules image or None)."""
    if options.kernel in command_line.KERNELS:
        fetched = subprocess.run([files.REPOSITORY / "guest-images/linux/fetch-kernel", options.kernel],
                                 stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        if fetched.returncode != 0:
            raise LabError(f"no kernel {options.kernel}: see above")
        folder = Path(fetched.stdout.strip())
        return folder / "vmlinux", files.modules_image(folder / "modules")
    return Path(options.kernel).absolute(), files.modules_image(options.modules) if options.modules else None


def report_fault(hosts, ended, warnings):
    if ended.reason:
        for host in hosts:
            say(f"--- the end of {host.name}'s console:")
            for line in verdict.tail(host.console()):
                print(f"    {line}", file=sys.stderr)
        say(f"{'HANG' if ended.status == verdict.HANG else 'BROKEN'}: {ended.reason}")
    elif warnings:
        for text in warnings[:10]:
            say(f"the kernel said: {text}")


def keep(options, hosts):
    """What came back goes to --out, each further host's into a folder of its name; the consoles too."""
    if not options.out:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for index, host in enumerate(hosts):
        target = options.out if index == 0 else options.out / host.name
        files.extract(host.out, target)
        shutil.copyfile(host.console_file, target / "console.log")


def run_in(folder, options):
    terminal = None if options.command else Terminal()
    build = (options.build or files.REPOSITORY / "build/lab").absolute()
    kernel, modules = kernel_of(options)
    settings = {"LAB_HOSTS": options.hosts, "LAB_KERNEL": options.kernel, "LAB_MODULES": "yes" if modules else "no",
                "PENUMBRA_TEST_SLOWNESS": SLOWNESS} | (terminal.settings() if terminal else {})
    files.stage_root(folder / "root", build, options.inputs, settings, options.command)
    files.make_root_image(folder / "root.img", folder / "root")
    shape = Shape(kernel, modules, options.memory, options.cpus, options.nodes, options.hosts, options.append)
    hosts = []
    try:
        for number in range(1, options.hosts + 1):
            home = folder / str(number)
            (home / "empty").mkdir(parents=True)
            files.make_image(home / "out.img", home / "empty", files.OUT_MB, "out")
            hosts.append(Host(shape, number, home, folder / "root.img", home / "out.img", folder / "wire"))
        session = Session(hosts, options.boot_limit, options.limit, write_output,
                          lambda host: files.status_in(host.out), terminal)
        try:
            ended = session.run()
        finally:
            if terminal:
                terminal.close()
    finally:
        for host in hosts:
            host.kill()
    finish(options, hosts, session, ended)
    return ended.status


def write_output(chunk):
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def finish(options, hosts, session, ended):
    keep(options, hosts)
    report_fault(hosts, ended, [text for host in hosts for text in verdict.warnings(host.console())])
    now = time.monotonic()
    booted = session.ready_at or now
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    say(f"kernel {options.kernel}: boot {booted - session.started:.1f} s, command {now - booted:.1f} s "
        f"({used.ru_utime + used.ru_stime:.0f} s of CPU time), status {ended.status}")


def interrupted(number, _):
    raise SystemExit(128 + number)


def main(words):
    options = command_line.parse(words)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, interrupted)
    try:
        with tempfile.TemporaryDirectory(prefix="lab-") as folder:
            return run_in(Path(folder), options)
    except LabError as error:
        say(f"BROKEN: {error}")
        return BROKEN
