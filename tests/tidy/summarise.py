#!/usr/bin/env python3
"""Adds up JUnit files written by ctest. Prints each failure with the end of what it printed and each skip with its
reason; the last line is "passed failed skipped" as three numbers."""

import re
import sys
import xml.etree.ElementTree as ET


def skip_reason(case):
    """Why a test was skipped, or None where it failed to start. gtest prints "file:line: Skipped", then the reason."""
    skipped = case.find("skipped")
    message = skipped.get("message", "") if skipped is not None else ""
    if case.get("status") == "disabled" or message == "Disabled":
        return "disabled"
    if not message.startswith("SKIP_"):
        return None
    found = re.search(r": Skipped\n(.*?)\n*\[", case.findtext("system-out") or "", re.S)
    return " ".join(found.group(1).split()) or "no reason given" if found else message


def last_words(case, lines=30, columns=240):
    """What a failed test printed from its first failed expectation on, or else at its end; bounded."""
    said = (case.findtext("system-out") or "").splitlines()
    first = next((at for at, line in enumerate(said) if ": Failure" in line or "WARNING: " in line), len(said) - lines)
    return [f"    {line[:columns]}" for line in said[max(first, 0):][:lines]]


def main(paths):
    passed = failed = skipped = 0
    for path in paths:
        for case in ET.parse(path).getroot().iter("testcase"):
            reason = skip_reason(case)
            if reason is not None:
                skipped += 1
                print(f"SKIPPED  {case.get('name')}: {reason}")
            elif case.get("status") == "run" and case.find("failure") is None:
                passed += 1
            else:
                failed += 1
                print(f"FAILED   {case.get('name')} after {float(case.get('time') or 0):.1f} s")
                print(*last_words(case), sep="\n")
    print(passed, failed, skipped)


if __name__ == "__main__":
    main(sys.argv[1:])
