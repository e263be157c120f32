"""How a run of the lab ended, as an exit status and as words."""

import re
from dataclasses import dataclass

BAD_USE = 2
HANG = 124
BROKEN = 125

TAIL_LINES = 60
CAUSES = (
    (re.compile(r"Kernel panic - not syncing: (.*)"), "the lab's kernel panicked: {}"),
    (re.compile(r"(Oops: .*|BUG: .*|general protection fault.*)"), "the lab's kernel failed: {}"),
)
WARNING = re.compile(r"(?:WARNING: CPU: .*|BUG: .*|rcu: INFO: .* detected .*stall.*|INFO: task .* blocked for more.*)")
CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[a-zA-Z])|\r")


@dataclass(frozen=True)
class Verdict:
    """`status` is the command's own, HANG or BROKEN; `reason` says why where it is not the command's."""
    status: int
    reason: str = ""


class LabError(Exception):
    """The lab cannot be set up: the words name cause and cure."""


def lines_of(console):
    return [CONTROL.sub("", line) for line in console.split("\n")]


def tail(console, lines=TAIL_LINES):
    return [line for line in lines_of(console) if line.strip()][-lines:]


def cause_of_reset(console):
    """Why a lab that nobody asked to reboot did so, as its console tells."""
    text = "\n".join(lines_of(console))
    for pattern, words in CAUSES:
        found = pattern.search(text)
        if found:
            return words.format(found.group(1).strip())
    return "the lab reset itself without a panic (a triple fault, or a command that rebooted it)"


def warnings(console):
    """The kernel's complaints that did not end it, each once."""
    found = [match.group(0).strip() for line in lines_of(console) if (match := WARNING.search(line))]
    return list(dict.fromkeys(found))


def read_status(text):
    """The status which the lab's init wrote after the command, or None."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,3}\n?", text) else None


def of_ended_host(name, how, status, console):
    """`how` is qemu's reason for SHUTDOWN, or 'died: ...' where it gave none."""
    if how.startswith("died"):
        return Verdict(BROKEN, f"{name}: qemu {how}")
    if how == "guest-shutdown" and status is not None:
        return Verdict(status)
    if how == "guest-shutdown":
        return Verdict(BROKEN, f"{name} switched itself off without a status for the command")
    return Verdict(BROKEN, f"{name}: {cause_of_reset(console)}")
