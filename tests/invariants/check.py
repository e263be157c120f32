#!/usr/bin/env python3
"""Holds docs/invariants.md to its word: every test that it links exists, runs and passes, and fails with a planted bug
of its invariant. Prints one line per complaint, and what there is."""

import argparse
import fnmatch
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

NO_SUCH_PLANT = 86  # the exit status of tests/support/planted_process.cpp
EXCEPTION = "cannot apply"
QUOTED = re.compile(r"`([^`]+)`")


@dataclass
class Rules:
    invariants: int = 55
    most_exceptions: int = 12
    least_mutants: int = 30


@dataclass
class Row:
    number: int
    text: str
    tests: list = field(default_factory=list)
    mutants: list = field(default_factory=list)
    reason: str = ""


def parse(text):
    """The rows `| number | invariant | tests | mutants |`; an exception has EXCEPTION and its reason instead."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or not cells[0].isdigit():
            continue
        if len(cells) != 4:
            raise ValueError(f"row {cells[0]} has {len(cells)} cells instead of 4")
        if cells[2] == EXCEPTION:
            rows.append(Row(int(cells[0]), cells[1], reason=cells[3]))
        else:
            rows.append(Row(int(cells[0]), cells[1], QUOTED.findall(cells[2]), QUOTED.findall(cells[3])))
    return rows


def form(rows, rules):
    """What is wrong with the table itself."""
    bad = []
    numbers = [row.number for row in rows]
    if numbers != list(range(1, rules.invariants + 1)):
        bad.append(f"the rows are not numbered 1 to {rules.invariants}, in order")
    exceptions = [row for row in rows if row.reason]
    if len(exceptions) > rules.most_exceptions:
        bad.append(f"{len(exceptions)} exceptions, at most {rules.most_exceptions}")
    bad += [f"{row.number}: an exception needs a reason" for row in exceptions if len(row.reason.split()) < 6]
    for row in rows:
        if row.reason:
            continue
        if not row.text:
            bad.append(f"{row.number}: does not say what it is")
        if not row.tests:
            bad.append(f"{row.number}: no test")
        if not row.mutants:
            bad.append(f"{row.number}: no mutant")
    mutants = {mutant for row in rows for mutant in row.mutants}
    if len(mutants) < rules.least_mutants:
        bad.append(f"{len(mutants)} different mutants, at least {rules.least_mutants}")
    return bad


def listed(output):
    """Full names from --gtest_list_tests."""
    names, suite = set(), ""
    for line in output.splitlines():
        word = line.split("#")[0].rstrip()
        if word and not word.startswith(" ") and word.endswith("."):
            suite = word
        elif word.startswith("  ") and suite:
            names.add(suite + word.strip())
    return names


class Programs:
    """The test programs, by tier."""

    def __init__(self, paths, timeout):
        self.paths, self.timeout = paths, timeout

    def run(self, tier, arguments, plant=None, runs=1):
        """(status, output); status None: it did not end in the time for so many runs."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GTEST_") and k != "PENUMBRA_PLANT"}
        if plant:
            environment["PENUMBRA_PLANT"] = plant
        process = subprocess.Popen([self.paths[tier], *arguments], env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   start_new_session=True)
        try:
            output, _ = process.communicate(timeout=self.timeout * runs)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None, ""

    def names(self):
        return {f"{tier}.{name}" for tier in self.paths for name in listed(self.run(tier, ["--gtest_list_tests"])[1])}

    def passed(self, tier, names):
        """Of those names, which ran to their end and passed, without a planted bug."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            self.run(tier, [f"--gtest_filter={':'.join(sorted(names))}", f"--gtest_output=json:{report}"], runs=10)
            if not report.exists():
                return set()
            suites = json.loads(report.read_text())["testsuites"]
        return {f"{suite['name']}.{test['name']}" for suite in suites for test in suite["testsuite"]
                if test["status"] == "RUN" and test["result"] == "COMPLETED" and not test.get("failures")}

    def notices(self, test, mutant):
        """Whether the test fails with the mutant: also by dying or by not coming to an end. None: no such mutant."""
        tier, name = test.split(".", 1)
        status, _ = self.run(tier, [f"--gtest_filter={name}"], mutant)
        return None if status == NO_SUCH_PLANT else status != 0


def tier_of(test):
    return test.split(".", 1)[0]


def unmutated(rows, programs):
    """Complaints about tests that do not exist, do not run or fail: of each kind, where a * stands for them."""
    linked = sorted({test for row in rows for test in row.tests})
    there = programs.names()
    meant = {test: fnmatch.filter(there, test.replace("[", "[[]")) for test in linked}
    bad = [f"{test}: there is no such test" for test in linked if not meant[test]]
    for tier in programs.paths:
        mine = sorted({name.split(".", 1)[1] for names in meant.values() for name in names if tier_of(name) == tier})
        passed = programs.passed(tier, mine) if mine else set()
        bad += [f"{tier}.{name}: did not run, or failed, without any bug" for name in mine if name not in passed]
    return bad


def mutated(rows, programs, jobs):
    """Complaints about mutants that none of their row's tests notice, and tests that notice none of their row's."""
    pairs = sorted({(test, mutant) for row in rows for test in row.tests for mutant in row.mutants})
    with ThreadPoolExecutor(jobs) as pool:
        results = dict(zip(pairs, pool.map(lambda pair: programs.notices(*pair), pairs)))
    bad = sorted({f"{mutant}: there is no such planted bug" for (_, mutant), seen in results.items() if seen is None})
    for row in rows:
        bad += [f"{row.number}: {mutant} survives {', '.join(row.tests)}" for mutant in row.mutants
                if not any(results[test, mutant] or results[test, mutant] is None for test in row.tests)]
        bad += [f"{row.number}: {test} survives {', '.join(row.mutants)}" for test in row.tests
                if not any(results[test, mutant] or results[test, mutant] is None for mutant in row.mutants)]
    return bad


def check(text, programs, jobs, rules=None):
    """(complaints, what there is). No step is taken after one that failed: it could not say anything useful."""
    rows = parse(text)
    bad = form(rows, rules or Rules())
    unknown = sorted({tier_of(test) for row in rows for test in row.tests} - set(programs.paths))
    bad += [f"{tier}: no test program of that name was given" for tier in unknown]
    if not bad:
        bad = unmutated(rows, programs)
    if not bad:
        bad = mutated(rows, programs, jobs)
    tested = [row for row in rows if not row.reason]
    tests = {test for row in tested for test in row.tests}
    mutants = {mutant for row in tested for mutant in row.mutants}
    return bad, (f"{len(rows)} invariants: {len(tested)} tested by {len(tests)} tests, "
                 f"{len(mutants)} mutants killed, {len(rows) - len(tested)} exceptions")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="docs/invariants.md")
    parser.add_argument("--program", action="append", default=[], metavar="TIER=PATH", help="a tier's test program")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=20, help="seconds of a run; a mutant that needs more is noticed")
    options = parser.parse_args()
    programs = Programs(dict(program.split("=", 1) for program in options.program), options.timeout)
    begin = time.monotonic()
    bad, summary = check(options.table.read_text(), programs, options.jobs)
    for complaint in bad:
        print(complaint)
    print("FAILED" if bad else f"{summary} ({time.monotonic() - begin:.0f} s)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
