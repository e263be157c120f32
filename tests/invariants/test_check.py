#!/usr/bin/env python3
"""Proves that check.py can fail: a good table of a made-up test program passes, and each thing that may be wrong with
either is told."""

import stat
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from check import Programs, Rules, check, listed, parse

# Looks like a googletest program: what becomes of each test, alone and with each planted bug.
PROGRAM = '''#!{python}
import fnmatch, json, os, sys, time
TESTS = {tests}
arguments = dict(a[2:].split("=", 1) for a in sys.argv[1:] if "=" in a)
if "--gtest_list_tests" in sys.argv:
    print("Running main() from somewhere")
    for suite in sorted({{name.split(".")[0] for name in TESTS}}):
        print(suite + ".  # TypeParam = int")
        for name in TESTS:
            if name.startswith(suite + "."):
                print("  " + name.split(".")[1] + "  # GetParam() = 1")
    sys.exit(0)
plant = os.environ.get("PENUMBRA_PLANT", "")
if plant == "unknown":
    sys.exit(86)
failed, report = False, []
patterns = arguments["gtest_filter"].split(":")
for name in (name for name in TESTS if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)):
    what = TESTS[name].get(plant, "passes")
    if what == "dies":
        os.abort()
    if what == "hangs":
        time.sleep(60)
    suite, test = name.split(".")
    entry = {{"name": test, "status": "RUN", "result": "SKIPPED" if what == "skips" else "COMPLETED"}}
    if what == "fails":
        failed = True
        entry["failures"] = [{{"failure": "so"}}]
    report.append({{"name": suite, "testsuite": [entry]}})
if "gtest_output" in arguments:
    open(arguments["gtest_output"].split(":", 1)[1], "w").write(json.dumps({{"testsuites": report}}))
sys.exit(1 if failed else 0)
'''
TESTS = {"A.One": {"a": "fails", "b": "dies"}, "A.Two": {"b": "fails", "c": "fails", "h": "hangs"}, "A.Deaf": {},
         "C/0.Same": {}, "C/1.Same": {"c": "fails"},
         "B/0.Skipped": {"": "skips"}, "B/0.Broken": {"": "fails", "a": "fails"}}
GOOD = """# Table

| no | invariant | tests | mutants |
|---|---|---|---|
| 1 | first | `unit.A.One` | `a`, `b` |
| 2 | second | `unit.A.One`, `unit.A.Two` | `b` and `c` |
| 3 | third | cannot apply | nothing here has anything of the sort |
"""
RULES = Rules(invariants=3, most_exceptions=1, least_mutants=3)


class CheckTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        program = Path(folder.name) / "test_unit"
        program.write_text(PROGRAM.format(python=sys.executable, tests=repr(TESTS)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.programs = Programs({"unit": str(program)}, timeout=3)

    def complaints(self, text, rules=RULES):
        self.bad, self.summary = check(text, self.programs, 2, rules)
        return self.bad

    def complains(self, old, new, says, rules=RULES):
        self.assertIn(old, GOOD)
        self.assertTrue(any(says in line for line in self.complaints(GOOD.replace(old, new), rules)), self.bad)

    def test_good(self):
        self.assertEqual(self.complaints(GOOD), [])
        self.assertEqual(self.summary, "3 invariants: 2 tested by 2 tests, 3 mutants killed, 1 exceptions")

    def test_a_hang_is_noticed(self):
        self.assertEqual(self.complaints(GOOD.replace("`b` and `c`", "`b`, `c` and `h`")), [])

    def test_numbers(self):
        self.complains("| 2 | second", "| 4 | second", "not numbered")
        self.complains("| 3 | third", "| 2 | third", "not numbered")

    def test_exceptions(self):
        self.complains("| 3 | third", "| 3 | third", "1 exceptions, at most 0", Rules(3, 0, 3))
        self.complains("nothing here has anything of the sort", "no", "needs a reason")

    def test_row_without_test_or_mutant(self):
        self.complains("`unit.A.One` | `a`", " | `a`", "1: no test")
        self.complains("`a`, `b` |", " |", "1: no mutant")
        self.complains("| first |", "| |", "1: does not say what it is")
        with self.assertRaises(ValueError):
            parse("| 1 | two | three |")

    def test_few_mutants(self):
        self.complains("first", "first", "3 different mutants, at least 4", Rules(3, 1, 4))

    def test_one_of_several_kinds_is_enough_for_a_mutant_but_all_have_to_pass(self):
        self.assertEqual(self.complaints(GOOD.replace("`unit.A.Two`", "`unit.C/*.Same`")), [])
        self.complains("`unit.A.Two`", "`unit.B/*.*`", "unit.B/0.Skipped: did not run")
        self.complains("`unit.A.Two`", "`unit.D/*.Same`", "unit.D/*.Same: there is no such test")

    def test_no_such_test(self):
        self.complains("`unit.A.Two`", "`unit.A.Three`", "unit.A.Three: there is no such test")
        self.complains("`unit.A.Two`", "`sim.A.Two`", "sim: no test program")

    def test_does_not_run(self):
        self.complains("`unit.A.Two`", "`unit.B/0.Skipped`", "unit.B/0.Skipped: did not run")
        self.complains("`unit.A.Two`", "`unit.B/0.Broken`", "unit.B/0.Broken: did not run, or failed")

    def test_survivors(self):
        self.complains("`b` and `c`", "`b`, `c` and `d`", "2: d survives unit.A.One, unit.A.Two")
        self.complains("`unit.A.Two`", "`unit.A.Two`, `unit.A.Deaf`", "2: unit.A.Deaf survives b, c")

    def test_no_such_mutant(self):
        self.complains("`b` and `c`", "`c` and `unknown`", "unknown: there is no such planted bug")

    def test_list_of_tests(self):
        output = "Running main()\nA/0.  # TypeParam = X\n  One\n  Two/1  # GetParam() = {1}\nB.\n  One\n"
        self.assertEqual(listed(output), {"A/0.One", "A/0.Two/1", "B.One"})


if __name__ == "__main__":
    unittest.main()
