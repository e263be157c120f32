"""One run of the lab: starts its hosts, relays the command's output, watches over time, decides how it ended."""

import selectors
import subprocess
import time
from contextlib import ExitStack

from labkit import verdict
from labkit.verdict import BROKEN, HANG, Verdict

READY = b"lab: ready\n"
# What is written so far onto the disks, backtraces of all CPUs, blocked tasks.
SYSRQ = "slw"
END_SECONDS = 30


class Session:
    """`output(bytes)` gets what host1's command prints; `relay` is the terminal of a shell, or None; `status_of(host)`
    is the text of the status file which a host left."""

    def __init__(self, hosts, boot_limit, limit, output, status_of, relay=None):
        self.hosts, self.first = hosts, hosts[0]
        self.boot_limit, self.limit = boot_limit, limit
        self.output, self.status_of, self.relay = output, status_of, relay
        self.selector = selectors.DefaultSelector()
        self.unread = {host: b"" for host in hosts}  # of those that have not said READY
        self.running = {}                            # host: how many of its sockets are open
        self.started = time.monotonic()
        self.ready_at = None

    def run(self):
        with ExitStack() as stack:
            stack.callback(self.selector.close)
            for host in self.hosts:
                stack.callback(host.kill)
                host.connect()
                self.selector.register(host.job, selectors.EVENT_READ, (self._job_said, host))
                self.selector.register(host.qmp, selectors.EVENT_READ, (self._qmp_said, host))
                self.running[host] = 2
            for host in self.hosts:
                host.ask("cont")
            return self._watch()

    def _watch(self):
        deadline = self.started + self.boot_limit
        while True:
            for key, _ in self.selector.select(max(0.0, deadline - time.monotonic())):
                heard, host = key.data
                heard(host)
            if not self.running[self.first]:
                return self._after_the_command()
            for host in self.hosts[1:]:
                if not self.running[host]:
                    return verdict.of_ended_host(host.name, host.ended(), None, host.console())
            if self.ready_at is None and not self.unread:
                self.ready_at = time.monotonic()
                deadline = self.ready_at + self.limit
                if self.relay:
                    self.relay.open(self.first.job)
                    self.selector.register(self.relay.source, selectors.EVENT_READ, (self._typed, None))
            if time.monotonic() > deadline:
                return self._hang()

    def _typed(self, _):
        if not self.relay.forward():
            self.selector.unregister(self.relay.source)

    def _read(self, host, stream):
        """What came; nothing, once, where the other end is gone."""
        try:
            chunk = stream.recv(1 << 16)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self.selector.unregister(stream)
            self.running[host] -= 1
            if not self.running[host]:
                host.process.wait()
        return chunk

    def _job_said(self, host):
        chunk = self._read(host, host.job)
        if host in self.unread:
            self.unread[host] += chunk
            _, found, chunk = self.unread[host].partition(READY)
            if not found:
                return
            del self.unread[host]
        if host is self.first and chunk:
            self.output(chunk)

    def _qmp_said(self, host):
        host.heard(self._read(host, host.qmp))

    def _after_the_command(self):
        status = verdict.read_status(self.status_of(self.first))
        ended = verdict.of_ended_host(self.first.name, self.first.ended(), status, self.first.console())
        for host in self.hosts[1:] if not ended.reason else []:
            try:
                host.job.sendall(b"end\n")
                host.process.wait(END_SECONDS)
            except (subprocess.TimeoutExpired, ConnectionError):
                return Verdict(BROKEN, f"{host.name} did not end within {END_SECONDS} s of the command's end")
        return ended

    def _hang(self):
        for host in self.hosts:
            if self.running[host]:
                host.press_sysrq(SYSRQ)
        if self.unread:
            names = ", ".join(sorted(host.name for host in self.unread))
            return Verdict(HANG, f"{names} did not boot within {self.boot_limit} s")
        return Verdict(HANG, f"the command did not end within {self.limit} s")
