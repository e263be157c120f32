#!/usr/bin/env python3
"""Tests of what the lab and its job runner decide without booting anything."""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from labkit import files, host, job_file, options, results, verdict  # noqa: E402
from labkit.results import FAILED, PASSED, SKIPPED, Check  # noqa: E402

PANIC = "[ 1.0] x\r\n[ 2.0] Kernel panic - not syncing: sysrq triggered crash\r\n[ 3.0] Kernel Offset: disabled\r\n"
GTEST_XML = """<testsuites><testsuite name="S">
<testcase name="A" status="run" classname="S"/>
<testcase name="B" status="run" classname="S"><failure message="f.cpp:1&#10;Value of: x"/></testcase>
<testcase name="C" status="run" classname="S"><skipped message="f.cpp:188&#10;no /dev/kvm"/></testcase>
<testcase name="D" status="notrun" classname="S"/></testsuite></testsuites>"""
GTEST_DIED = """\x1b[0;32m[ RUN      ] \x1b[mS.A
\x1b[0;32m[       OK ] \x1b[mS.A (12 ms)
[ RUN      ] S.B
[  FAILED  ] S.B (1 ms)
[ RUN      ] S/P.C/0
Segmentation fault
"""


def raises(error, call, *words):
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            call(*words)
    except error:
        return True
    return False


def test_verdict():
    ended = verdict.of_ended_host
    assert ended("host1", "guest-shutdown", 7, "") == verdict.Verdict(7)
    assert "without a status" in ended("host1", "guest-shutdown", None, "").reason
    panicked = ended("host1", "guest-reset", None, PANIC)
    assert panicked.status == 125 and panicked.reason == "host1: the lab's kernel panicked: sysrq triggered crash"
    assert ended("host1", "guest-reset", 0, "fine").status == 125, "a reset after the status was written is no success"
    died = ended("host2", "died: status -9; it said nothing", 0, "")
    assert died.status == 125 and "host2: qemu died: status -9" in died.reason
    assert [verdict.read_status(text) for text in ("0\n", "137\n", "", None, "x", "1 2")] == [0, 137] + [None] * 4
    assert verdict.tail(PANIC, 2) == ["[ 2.0] Kernel panic - not syncing: sysrq triggered crash",
                                      "[ 3.0] Kernel Offset: disabled"]
    warned = "[1] WARNING: CPU: 0 PID: 9 at arch/x86/kvm/x.c:1\n" * 2 + "[2] fine\n"
    assert verdict.warnings(warned) == ["WARNING: CPU: 0 PID: 9 at arch/x86/kvm/x.c:1"]


def test_options():
    parsed = options.parse(["--kernel", "6.1", "--memory", "3G", "--", "ls", "--limit", "--"])
    assert (parsed.kernel, parsed.memory, parsed.command) == ("6.1", 3072, ["ls", "--limit", "--"])
    assert (parsed.limit, parsed.hosts, parsed.nodes, parsed.cpus) == (600, 1, 1, 2)
    assert options.parse([]).command == [] and options.parse([]).limit > 3600
    for bad in (["ls"], ["--"], ["--kernel", "/no/file"], ["--memory", "2"], ["--memory", "0M"], ["--nodes", "3"],
                ["--limit", "0"], ["--hosts", "3"], ["--with", "/no/file", "--", "ls"]):
        assert raises(SystemExit, options.parse, bad), bad


def test_job_file():
    text = ("#!/bin/sh\n# What it shows.\n# lab: kernels=6.12 limit=60 memory=1G hosts=2\n# lab-with: a/b c\n"
            "# lab-provide: tool 6.1\n# lab-append: numa=off\n# lab-expect: 125 some words\n\necho\n# lab: bad\n")
    job = job_file.parse(Path("/jobs/name.sh"), text)
    assert (job.name, job.kernels, job.inputs, job.providers) == ("name", ("6.12",), ["a/b", "c"], [["tool", "6.1"]])
    assert job.lab_words() == ["--limit=60", "--memory=1G", "--hosts=2", "--append=numa=off"]
    assert job.expected == (125, "some words")
    assert job_file.parse(Path("x.sh"), "# lab: limit=9\n").kernels == ("6.1", "6.12")
    for word, in_ci in (("", None), (" ci=none", ()), (" ci=6.12", ("6.12",))):
        assert job_file.parse(Path("x.sh"), f"# lab: limit=9{word}\n").ci_kernels == in_ci
    for bad in ("", "# lab: kernels=6.1\n", "# lab: limit=0\n", "# lab: limit=9 kernels=5.4\n", "# lab: limit=9 ci=5.4\n", "# lab-what: x\n",
                "# lab: limit=9 sped=1\n", "# lab: limit=9\n# lab-expect: soon\n", "\n# lab: limit=9\n"):
        assert raises(verdict.LabError, job_file.parse, Path("x.sh"), bad), bad
    with tempfile.TemporaryDirectory() as folder:
        for name in "ab":
            (Path(folder) / f"{name}.sh").write_text("# lab: limit=9\n")
        assert [job.name for job in job_file.load(Path(folder), [])] == ["a", "b"]
        assert [job.name for job in job_file.load(Path(folder), ["b"])] == ["b"]
        assert raises(verdict.LabError, job_file.load, Path(folder), ["c"])


def test_repository_jobs():
    assert job_file.load(Path(__file__).parent / "jobs", [])


def test_results():
    lines = "ok one\nnot ok two: it broke\r\nskip three: not here\nskip four\nbook ok\n ok five\n"
    assert results.of_lines(lines) == [Check("one", PASSED), Check("two", FAILED, "it broke"),
                                       Check("three", SKIPPED, "not here"), Check("four", SKIPPED, "no reason given")]
    assert results.of_gtest_xml(GTEST_XML) == [
        Check("S.A", PASSED), Check("S.B", FAILED, "f.cpp:1 Value of: x"), Check("S.C", SKIPPED, "no /dev/kvm"),
        Check("S.D", SKIPPED, "disabled")]
    assert results.of_gtest_output(GTEST_DIED) == [
        Check("S.A", PASSED), Check("S.B", FAILED, "see the log"), Check("S/P.C/0", FAILED, "it did not end")]


def outcomes(*words):
    return [(check.name, check.outcome) for check in results.of_job(*words)]


def test_job_results():
    assert outcomes(0, "ok one\n", [], None, "") == [("one", PASSED)]
    assert outcomes(0, "", [], None, "") == [("checks", FAILED)]
    assert outcomes(3, "ok one\n", [], None, "") == [("one", PASSED), ("end", FAILED)]
    assert [outcome for _, outcome in outcomes(1, "", [GTEST_XML], None, "")] == [PASSED, FAILED, SKIPPED, SKIPPED]
    assert outcomes(0, "", ["<cut"], None, "") == [("results", FAILED)]
    assert outcomes(139, GTEST_DIED, [], None, "")[-1] == ("S/P.C/0", FAILED)
    hung = results.of_job(124, GTEST_DIED, [], None, "lab: HANG: the command did not end within 3 s\nlab: kernel\n")
    assert hung[-1] == Check("lab", FAILED, "lab: HANG: the command did not end within 3 s")
    assert outcomes(125, "", [], (125, "panicked"), "lab: BROKEN: the kernel panicked") == [("report", PASSED)]
    assert outcomes(124, "", [], (125, "panicked"), "panicked") == [("report", FAILED)]
    assert outcomes(125, "", [], (125, "panicked"), "lab: BROKEN: qemu died") == [("report", FAILED)]


def test_shape():
    two = host.Shape(Path("k"), None, 2048, 4, 2, 2, "")
    assert "node,nodeid=1,memdev=node1,cpus=2-3" in host.memory_words(two)
    assert "stream,id=wire,server=off,addr.type=unix,addr.path=w" in host.network_words(two, 2, "w")
    assert host.network_words(host.Shape(Path("k"), None, 2048, 4, 1, 1, ""), 1, "w") == []


def test_files():
    ldd = ("\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x2)\n"
           "\t/lib64/ld-linux-x86-64.so.2 (0x3)\n")
    assert [str(path) for path in files.libraries(ldd)] == ["/lib/x86_64-linux-gnu/libc.so.6",
                                                            "/lib64/ld-linux-x86-64.so.2"]
    assert raises(verdict.LabError, files.libraries, "\tlibx.so => not found\n")
    with tempfile.TemporaryDirectory() as folder:
        assert raises(verdict.LabError, files.build_output, Path(folder))
        tree = Path(folder) / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "sub/file").write_text("x")
        files.make_root_image(Path(folder) / "disk", tree)
        with open(Path(folder) / "disk", "rb") as disk:
            sector = disk.read(512)
            assert sector[510:] == b"\x55\xaa" and int.from_bytes(sector[440:444], "little") == files.ROOT_ID
            disk.seek((1 << 20) + 1024 + 56)
            assert disk.read(2) == b"\x53\xef", "the partition holds ext4"


def main():
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"ok {name}")


if __name__ == "__main__":
    main()
