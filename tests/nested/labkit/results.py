"""What a job's output says about its checks."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
CHECK = re.compile(r"^(ok|not ok|skip) ([^\s:]+)(?:: ?(.*))?$", re.M)
COLOUR = re.compile(r"\x1b\[[0-9;]*m|\r")
GTEST = re.compile(r"^\[ +(RUN|OK|FAILED|SKIPPED) +\] ([^\s,]+)(?: \(\d+ ms\)|, where .*)?$", re.M)


@dataclass(frozen=True)
class Check:
    name: str
    outcome: str
    why: str = ""


def of_lines(output):
    """ok NAME, not ok NAME: why, skip NAME: why, each a line of its own."""
    outcomes = {"ok": PASSED, "not ok": FAILED, "skip": SKIPPED}
    return [Check(name, outcomes[word], (why or "").strip() or ("" if word == "ok" else "no reason given"))
            for word, name, why in CHECK.findall(COLOUR.sub("", output))]


def one_line(text, most=300):
    return " ".join(text.split())[:most]


def of_gtest_xml(text):
    checks = []
    for case in ET.fromstring(text).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        failures, skipped = case.findall("failure"), case.find("skipped")
        if failures:
            checks.append(Check(name, FAILED, one_line(" ".join(each.get("message", "") for each in failures))))
        elif skipped is not None or case.get("status") == "notrun":
            # The message says "file:line", then the reason.
            message = skipped.get("message", "") if skipped is not None else "disabled"
            checks.append(Check(name, SKIPPED, one_line(re.sub(r"^\S+:\d+\s*", "", message)) or "no reason given"))
        else:
            checks.append(Check(name, PASSED))
    return checks


def of_gtest_output(output):
    """What gtest printed before it died: the test that was running has failed."""
    checks, running = [], None
    for word, name in GTEST.findall(COLOUR.sub("", output)):
        if word == "RUN":
            running = name
        elif running == name:
            checks.append(Check(name, {"OK": PASSED, "FAILED": FAILED, "SKIPPED": SKIPPED}[word], "see the log"
                                if word != "OK" else ""))
            running = None
    return checks + ([Check(running, FAILED, "it did not end")] if running else [])


def of_job(status, output, xml_texts, expected, errors):
    """All checks of one run. A run that reports nothing, or that ended badly without a failed check, is a failure."""
    if expected is not None:
        return [_expectation(expected, status, output + errors)]
    checks = of_lines(output)
    for text in xml_texts:
        try:
            checks += of_gtest_xml(text)
        except ET.ParseError as error:
            checks.append(Check("results", FAILED, f"unreadable gtest results: {error}"))
    if not xml_texts:
        checks += of_gtest_output(output)
    if status != 0 and not any(check.outcome == FAILED for check in checks):
        checks.append(Check("end", FAILED, f"the job ended with status {status}: {last_words(errors)}"))
    elif status in (124, 125):
        checks.append(Check("lab", FAILED, last_words(errors)))
    return checks or [Check("checks", FAILED, "the job reported no check")]


def last_words(errors):
    said = [line for line in errors.splitlines() if re.match(r"lab: (HANG|BROKEN)", line)]
    return said[-1] if said else "no fault of the lab"


def _expectation(expected, status, said):
    wanted, words = expected
    if status != wanted:
        return Check("report", FAILED, f"status {status}, expected {wanted}: {last_words(said)}")
    if words not in said:
        return Check("report", FAILED, f"nothing says {words!r}")
    return Check("report", PASSED)
