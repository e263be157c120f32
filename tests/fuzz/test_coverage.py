#!/usr/bin/env python3
"""Test of `coverage`: what it reads in fuzzers and in llvm-cov's answers. No fuzzer is run."""

import contextlib
import io
import tempfile
import unittest
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

loader = SourceFileLoader("coverage", str(Path(__file__).with_name("coverage")))
coverage = module_from_spec(spec_from_loader("coverage", loader))
loader.exec_module(coverage)

FUZZER = """// Any bytes.
//
// covers: vmm/a*.cpp vmm/b.cpp
// covers: vmm/c.cpp
// leaves: vmm/d.cpp: opens the host's file
#include "x.hpp"
// covers: vmm/e.cpp
"""


def export(**branches):
    """As llvm-cov answers: by file name, [line, column, -, -, times true, times false]."""
    def covered(regions):
        return sum((region[4] > 0) + (region[5] > 0) for region in regions)
    return {"data": [{"files": [
        {"filename": f"/somewhere/build/../vmm/{name}.cpp", "branches": regions,
         "summary": {"branches": {"count": 2 * len(regions), "covered": covered(regions)}}}
        for name, regions in branches.items()]}]}


class Coverage(unittest.TestCase):
    def test_reads_the_first_comment_alone(self):
        self.assertEqual(coverage.declared(FUZZER),
                         (["vmm/a*.cpp", "vmm/b.cpp", "vmm/c.cpp"], {"vmm/d.cpp": "opens the host's file"}))

    def test_wants_a_reason_for_what_is_left(self):
        with self.assertRaises(coverage.Trouble):
            coverage.declared("// leaves: vmm/d.cpp\n")

    def test_finds_sources_and_those_that_nobody_names(self):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / coverage.FOLDERS[0]).mkdir(parents=True)
            for name in ("a1", "a2", "b"):
                (root / coverage.FOLDERS[0] / f"{name}.cpp").touch()
            found = coverage.matching(f"{coverage.FOLDERS[0]}/a*.cpp", root)
            self.assertEqual(found, [f"{coverage.FOLDERS[0]}/a1.cpp", f"{coverage.FOLDERS[0]}/a2.cpp"])
            self.assertEqual(coverage.nobodys(set(found), root), [f"{coverage.FOLDERS[0]}/b.cpp"])
            with self.assertRaises(coverage.Trouble):
                coverage.matching("vmm/none.cpp", root)

    def test_takes_the_numbers_of_that_source(self):
        answer = export(b=[[1, 9, 1, 12, 5, 0], [2, 9, 2, 12, 1, 1]], bb=[[1, 9, 1, 12, 0, 0]])
        self.assertEqual(coverage.branches_of(answer, "vmm/b.cpp"), (3, 4))
        self.assertIsNone(coverage.branches_of(answer, "vmm/c.cpp"))
        self.assertEqual(coverage.missed_of(answer, "vmm/b.cpp"), [(1, 9, "false")])

    def test_a_branch_of_a_template_is_reached_in_any_of_its_forms(self):
        answer = export(b=[[1, 9, 1, 12, 5, 0], [1, 9, 1, 12, 0, 2]])
        self.assertEqual(coverage.missed_of(answer, "vmm/b.cpp"), [])

    def test_tells_apart_what_is_enough(self):
        taken, missed = [1, 9, 1, 12, 1, 1], [9, 9, 9, 12, 0, 1]
        answer = export(enough=[taken] * 3 + [missed] * 2, poor=[taken] * 2 + [missed] * 2)
        with contextlib.redirect_stdout(io.StringIO()) as told:
            poor = coverage.show("x_fuzz", ["vmm/enough.cpp", "vmm/poor.cpp"], answer, missed=False)
        self.assertEqual(poor, ["vmm/poor.cpp"])
        self.assertIn("80.0 %", told.getvalue())
        with contextlib.redirect_stdout(io.StringIO()), self.assertRaises(coverage.Trouble):
            coverage.show("x_fuzz", ["vmm/absent.cpp"], answer, missed=False)


if __name__ == "__main__":
    unittest.main()
