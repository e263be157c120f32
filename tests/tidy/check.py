#!/usr/bin/env python3
"""The tree's own rules. `check.py` runs every check, `check.py NAME...` some; each is reported by name."""

import argparse
import sys
from pathlib import Path

import compiled
import structure
import text
from tree import Tree

CHECKS = {
    "include-edges": structure.include_edges,
    "own-header-first": structure.own_header_first,
    "restricted-headers": structure.restricted_headers,
    "raw-mapping": structure.raw_mapping,
    "tables": structure.tables,
    "format-purity": structure.format_purity,
    "headers-alone": compiled.headers_alone,
    "clang-format": compiled.clang_format,
    "licence": text.licence,
    "sizes": text.sizes,
    "unfinished": text.unfinished,
}
CACHED = ("headers-alone", "clang-format")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--cache", type=Path, help="folder for remembered answers")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CHECKS))
    options = parser.parse_args()
    unknown = set(options.names) - set(CHECKS)
    if unknown:
        parser.error(f"no such check: {', '.join(sorted(unknown))}")

    tree = Tree(options.root)
    failed = False
    for name in options.names or CHECKS:
        arguments = (options.cache,) if name in CACHED else ()
        complaints = CHECKS[name](tree, *arguments)
        failed |= bool(complaints)
        print(f"{'FAILED' if complaints else 'ok':8}{name}")
        for complaint in complaints:
            print(f"        {complaint}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
