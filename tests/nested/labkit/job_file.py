"""A job: a shell script in jobs/, whose first comment lines say what it needs. See README.md for the words."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from labkit.options import KERNELS
from labkit.verdict import LabError

SETTINGS = {"kernels": None, "limit": r"[1-9]\d*", "boot-limit": r"[1-9]\d*", "memory": r"[1-9]\d*[MG]",
            "cpus": r"[1-9]\d*", "nodes": r"[1-4]", "hosts": r"[12]"}
HEADER = re.compile(r"#\s*(lab(?:-\w+)?):\s*(.*\S)\s*$")


@dataclass
class Job:
    name: str
    path: Path
    kernels: tuple = KERNELS
    ci_kernels: tuple | None = None  # those that CI has the time for; None: all of `kernels`
    settings: dict = field(default_factory=dict)  # options of `lab` by name
    inputs: list = field(default_factory=list)    # paths from the repository root
    providers: list = field(default_factory=list) # commands that print further paths
    append: str = ""
    expected: tuple | None = None                 # (status, words) where the lab itself is tested

    def lab_words(self):
        """The options of `lab` that the header asks for."""
        words = [f"--{name}={value}" for name, value in self.settings.items()]
        return words + ([f"--append={self.append}"] if self.append else [])


def header_lines(text):
    """(key, value) of each header in the comments that open the file."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        if found := HEADER.match(line):
            yield found.groups()


def parse(path, text):
    job = Job(path.stem, path)
    for key, value in header_lines(text):
        if key == "lab":
            for word in value.split():
                _setting(job, word)
        elif key == "lab-with":
            job.inputs += shlex.split(value)
        elif key == "lab-provide":
            job.providers.append(shlex.split(value))
        elif key == "lab-append":
            job.append = value
        elif key == "lab-expect":
            status, _, words = value.partition(" ")
            if not status.isdigit():
                raise LabError(f"{path.name}: lab-expect: STATUS WORDS, not {value!r}")
            job.expected = (int(status), words)
        else:
            raise LabError(f"{path.name}: no such header: {key}")
    if "limit" not in job.settings:
        raise LabError(f"{path.name}: its header has no limit=SECONDS")
    return job


def _setting(job, word):
    name, _, value = word.partition("=")
    if name == "kernels" and set(value.split(",")) <= set(KERNELS):
        job.kernels = tuple(value.split(","))
    elif name == "ci" and (value == "none" or set(value.split(",")) <= set(KERNELS)):
        job.ci_kernels = () if value == "none" else tuple(value.split(","))
    elif SETTINGS.get(name) and re.fullmatch(SETTINGS[name], value):
        job.settings[name] = value
    else:
        raise LabError(f"{job.path.name}: bad setting {word!r}; there are {' '.join(SETTINGS)}")


def load(folder, names):
    """The jobs of the folder, or those named."""
    found = {path.stem: path for path in sorted(folder.glob("*.sh"))}
    if unknown := [name for name in names if name not in found]:
        raise LabError(f"no such job: {' '.join(unknown)} (there are: {' '.join(found)})")
    return [parse(found[name], found[name].read_text()) for name in names or found]
