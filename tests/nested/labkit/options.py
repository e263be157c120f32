"""The lab's command line."""

import argparse
import os
from pathlib import Path

KERNELS = ("6.1", "6.12")
USAGE = "lab [--kernel 6.1|6.12|IMAGE] [--nodes N] [--hosts N] [OPTION]... [-- COMMAND...]"
EPILOG = """Without COMMAND: a shell. One word after -- is a line for the shell, several are run as they are.
Exit status: the command's own; 124 a limit passed (a hang, or too slow); 125 the lab itself broke (panic, oops, init or
qemu died, set-up failed); 2 bad use. For the last three, standard error says what happened, with the console's tail."""


def megabytes(text):
    scale = {"M": 1, "G": 1024}.get(text[-1:].upper())
    if scale is None or not text[:-1].isdigit() or int(text[:-1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512M or 2G")
    return int(text[:-1]) * scale


def number(least, most):
    def parse(text):
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)
    return parse


def existing(text):
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path.absolute()


def parser():
    made = argparse.ArgumentParser(prog="lab", usage=USAGE, epilog=EPILOG,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--kernel", default="6.12", help="the lab's kernel: 6.1, 6.12 (default), or an image of your own")
    made.add_argument("--modules", type=existing, help="the /lib/modules/RELEASE tree of a kernel of your own")
    made.add_argument("--nodes", type=number(1, 4), default=1, help="NUMA nodes, sharing memory and CPUs evenly")
    made.add_argument("--hosts", type=number(1, 2), default=1,
                      help="2: host1 runs the command, `lab-on host2 CMD` there")
    made.add_argument("--memory", type=megabytes, default=2048, help="of each host (default 2G)")
    made.add_argument("--cpus", type=number(1, 16), default=2, help="of each host (default 2)")
    made.add_argument("--with", type=existing, action="append", default=[], dest="inputs", metavar="PATH",
                      help="a file or folder to be found at /with/NAME inside (may be repeated)")
    made.add_argument("--out", type=Path, help="folder for what the command wrote below $OUT")
    made.add_argument("--append", default="", help="more words for the kernel's command line")
    made.add_argument("--limit", type=number(1, 86400), help="seconds for the command (default 600; a shell has none)")
    made.add_argument("--boot-limit", type=number(1, 86400), default=90, help="seconds for the boot (default 90)")
    made.add_argument("--build", type=Path, help="the build to run (default build/lab)")
    made.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    return made


def parse(words):
    """Everything after the first `--` is the command, whatever it looks like."""
    cut = words.index("--") if "--" in words else len(words)
    tool = parser()
    options = tool.parse_args(words[:cut])
    if options.command:
        tool.error(f"the command goes after --: -- {' '.join(options.command)}")
    options.command = words[cut + 1:]
    if cut < len(words) and not options.command:
        tool.error("no command after --")
    if options.kernel not in KERNELS and not os.path.isfile(options.kernel):
        tool.error(f"--kernel {options.kernel}: neither {' nor '.join(KERNELS)} nor a file")
    if options.cpus % options.nodes or options.memory % options.nodes:
        tool.error(f"--cpus and --memory must be multiples of --nodes {options.nodes}")
    if options.limit is None:
        options.limit = 600 if options.command else 86400
    options.limit *= patience()
    options.boot_limit *= patience()
    return options


def patience():
    """By what factor this machine is busier than the limits were made for: LAB_PATIENCE, 1 where it is not set."""
    text = os.environ.get("LAB_PATIENCE", "1")
    return int(text) if text.isdigit() and 1 <= int(text) <= 100 else 1
