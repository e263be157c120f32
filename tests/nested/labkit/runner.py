"""Runs jobs in labs of their own, several at a time, and counts their checks."""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labkit import job_file, results
from labkit.files import REPOSITORY
from labkit.options import KERNELS
from labkit.verdict import LabError

NESTED = REPOSITORY / "tests/nested"
LOGS = REPOSITORY / "build/nested"
LOG_TAIL = 25


class Runner:
    def __init__(self):
        self.lock = threading.Lock()
        self.counts = dict.fromkeys((results.PASSED, results.FAILED, results.SKIPPED), 0)
        self.provided = {}

    def provide(self, command):
        """Runs a command that makes inputs, once, and returns the paths it prints."""
        key = tuple(command)
        if key not in self.provided:
            done = subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            if done.returncode != 0:
                raise LabError(f"{' '.join(command)} ended with status {done.returncode}")
            self.provided[key] = done.stdout.split()
        return self.provided[key]

    def inputs_of(self, job):
        paths = job.inputs + [path for command in job.providers for path in self.provide(command)]
        if missing := [path for path in paths if not (REPOSITORY / path).exists()]:
            raise LabError(f"{job.name} needs {' '.join(missing)}, not built")
        return [f"--with={REPOSITORY / path}" for path in paths]

    def run(self, job, kernel, inputs):
        folder = LOGS / f"{job.name}-{kernel}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        begin = time.monotonic()
        with open(folder / "output.txt", "wb") as output, open(folder / "lab.txt", "wb") as errors:
            status = subprocess.run(
                [NESTED / "lab", f"--kernel={kernel}", f"--out={folder / 'out'}", f"--with={job.path}",
                 *inputs, *job.lab_words(), "--", "sh", f"/with/{job.path.name}"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=errors).returncode
        seconds = time.monotonic() - begin
        said, faults = ((folder / name).read_text(errors="replace") for name in ("output.txt", "lab.txt"))
        xml = [path.read_text(errors="replace") for path in sorted((folder / "out").glob("*.xml"))]
        self.report(job, kernel, results.of_job(status, said, xml, job.expected, faults), seconds, folder, said, faults)

    def report(self, job, kernel, checks, seconds, folder, said, faults):
        with self.lock:
            count = {outcome: sum(check.outcome == outcome for check in checks) for outcome in self.counts}
            for outcome, number in count.items():
                self.counts[outcome] += number
            for check in checks:
                if check.outcome != results.PASSED:
                    print(f"{check.outcome.upper():8} nested.{job.name}.{check.name} on {kernel}: {check.why}")
            if count[results.FAILED]:
                for line in (said + faults).splitlines()[-LOG_TAIL:]:
                    print(f"    {line}")
            numbers = ", ".join(f"{number} {outcome}" for outcome, number in count.items())
            print(f"nested {job.name} on {kernel}: {numbers}, {seconds:.0f} s ({folder.relative_to(REPOSITORY)})",
                  flush=True)

    def refuse(self, job, error):
        with self.lock:
            self.counts[results.FAILED] += 1
            print(f"FAILED   nested.{job.name}: {error}", flush=True)


def parse(words):
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument("--kernel", choices=KERNELS, help="this kernel only")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1,
                        help="labs at a time (default: one per CPU)")
    parser.add_argument("--counts", type=Path, help="file for 'passed failed skipped'")
    parser.add_argument("--ci", action="store_true", help="only what CI has the time for (`ci=` in the jobs' headers)")
    parser.add_argument("--list", action="store_true", help="only name the jobs")
    parser.add_argument("jobs", nargs="*", metavar="JOB")
    return parser.parse_args(words)


def main(words):
    options = parse(words)
    runner = Runner()
    try:
        jobs = job_file.load(NESTED / "jobs", options.jobs)
    except LabError as error:
        print(f"nested: {error}", file=sys.stderr)
        return 2
    if options.list:
        for job in jobs:
            print(f"{job.name:20} {','.join(job.kernels):10} {job.settings['limit']} s")
        return 0
    # The longest first, so that the last ones to end are short.
    jobs.sort(key=lambda job: -int(job.settings["limit"]))
    with ThreadPoolExecutor(max(1, options.at_once)) as pool:
        runs = []
        for job in jobs:
            kernels = [kernel for kernel in job.kernels if options.kernel in (None, kernel)]
            if options.ci and job.ci_kernels is not None:
                late = [kernel for kernel in kernels if kernel not in job.ci_kernels]
                kernels = [kernel for kernel in kernels if kernel in job.ci_kernels]
                if late:
                    print(f"nested {job.name}: not in CI on {', '.join(late)}; ./x test nested {job.name}")
            if not kernels:
                continue
            try:
                inputs = runner.inputs_of(job)
            except LabError as error:
                runner.refuse(job, error)
                continue
            runs += [pool.submit(runner.run, job, kernel, inputs) for kernel in kernels]
        for each in runs:
            each.result()
    if options.counts:
        options.counts.write_text(" ".join(map(str, runner.counts.values())) + "\n")
    return 1 if runner.counts[results.FAILED] else 0
