#!/usr/bin/env python3
"""Proves that each check can fail: a tiny good tree passes, and one bad file at a time is caught."""

import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import compiled
import structure
import text
from tree import Tree

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "base/a.hpp": "#pragma once\n",
    "notifier-bridge/subscriber.hpp": '#pragma once\n\n#include "base/a.hpp"\n',
    "notifier-bridge/bridge.hpp": '#pragma once\n\n#include "notifier-bridge/subscriber.hpp"\n',
    "shadow-mmu/tables/ept_table.hpp": '#pragma once\n\n#include "notifier-bridge/subscriber.hpp"\n',
    "vmm/vm.hpp": "#pragma once\n",
    "vmm/vm.cpp": '#include "vmm/vm.hpp"\n\n#include "shadow-mmu/tables/ept_table.hpp"\n',
}


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        for name in ("LICENSE", ".clang-format"):
            shutil.copy(ROOT / name, self.root / name)
        for path, body in GOOD.items():
            self.write(path, body)

    def write(self, path, body):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body)

    def passes(self, check):
        self.assertEqual(check(Tree(self.root)), [])

    def fails(self, check, path, body, says=""):
        """The check passes without the file, and with it complains once, naming the file."""
        self.passes(check)
        before = (self.root / path).read_text() if (self.root / path).exists() else None
        self.write(path, body)
        complaints = check(Tree(self.root))
        self.assertEqual(len(complaints), 1, complaints)
        self.assertIn(path, complaints[0])
        self.assertIn(says, complaints[0])
        if before is None:
            (self.root / path).unlink()
        else:
            self.write(path, before)


class Structure(CheckTest):
    def test_include_edges(self):
        for path, name in (
                ("base/b.hpp", "vmm/vm.hpp"),
                ("notifier-bridge/b.cpp", "shadow-mmu/tables/ept_table.hpp"),
                ("shadow-mmu/b.hpp", "notifier-bridge/bridge.hpp"),
                ("shadow-mmu/c.hpp", "vmm/vm.hpp"),
                ("guest-images/b.cpp", "base/a.hpp")):
            self.fails(structure.include_edges, path, f'#include "{name}"\n', "may not include")
        self.fails(structure.include_edges, "vmm/b.hpp", '#include "vm.hpp"\n', "repository root")
        self.fails(structure.include_edges, "vmm/b.hpp", "#include <vmm/vm.hpp>\n", "quotes")
        self.fails(structure.include_edges, "guest-images/b.cpp", "#include <vector>\n", "freestanding")

    def test_vmm_and_guests_share_the_common_headers_only(self):
        self.write("guest-images/common/abi.hpp", "#include <cstdint>\n")
        self.write("vmm/b.cpp", '#include "guest-images/common/abi.hpp"\n')
        self.write("guest-images/b.cpp", '#include "guest-images/common/abi.hpp"\n')
        self.passes(structure.include_edges)
        self.write("guest-images/other.hpp", "")
        self.fails(structure.include_edges, "vmm/c.cpp", '#include "guest-images/other.hpp"\n')

    def test_own_header_first(self):
        self.fails(structure.own_header_first, "vmm/vm.cpp", '#include <vector>\n#include "vmm/vm.hpp"\n')

    def test_restricted_headers(self):
        self.write("vmm/kvm/vm.cpp", "#include <linux/kvm.h>\n")
        self.write("notifier-bridge/source/userfaultfd.cpp", "#include <linux/userfaultfd.h>\n")
        self.fails(structure.restricted_headers, "vmm/memory/b.cpp", "#include <linux/kvm.h>\n")
        self.fails(structure.restricted_headers, "vmm/kvm/b.cpp", "#include <linux/userfaultfd.h>\n")
        self.fails(structure.restricted_headers, "notifier-bridge/source/b.cpp", "#include <linux/userfaultfd.h>\n")

    def test_raw_mapping(self):
        self.write("base/mapped_region.cpp", "void* p = ::mmap(0, 1);\n")
        self.write("tests/unit/b.cpp", "void* p = mmap(0, 1);\n")
        self.write("vmm/d.cpp", '// mmap(0)\nauto s = "mmap(0)"; window.madvise(1);\n')
        self.fails(structure.raw_mapping, "vmm/b.cpp", "void* p = ::mmap(0, 1);\n", "vmm/b.cpp:1:")
        self.fails(structure.raw_mapping, "shadow-mmu/b.cpp", "\nint p = madvise (0, 1);\n", "shadow-mmu/b.cpp:2:")

    def test_tables(self):
        include_ept = '#include "shadow-mmu/tables/ept_table.hpp"\n'
        self.write("shadow-mmu/tables/ept_table.cpp", include_ept)
        self.fails(structure.tables, "shadow-mmu/tables/device_table.cpp", include_ept, "another")
        self.fails(structure.tables, "notifier-bridge/b.hpp", "class EptTable;\n", "may not name")

    def test_format_purity(self):
        self.fails(structure.format_purity, "shadow-mmu/format/x86.hpp", "#include <mutex>\n")


class Text(CheckTest):
    def test_file_size(self):
        self.write("vmm/b.cpp", "int x;\n" * text.FILE_LINES)
        self.fails(text.sizes, "vmm/c.cpp", "int x;\n" * (text.FILE_LINES + 1), "301 lines")

    def test_function_size(self):
        body = "    step();\n"
        self.write("vmm/b.cpp", "void f() {\n" + body * (text.FUNCTION_LINES - 2) + "}\n")
        long_body = body * (text.FUNCTION_LINES - 1) + "}\n"
        for head in ("void f() {\n", "Vm::Vm(int a) : a_{a}, b_(1) {\n", "template <class T>\nauto g(T t)\n    -> int {\n",
                     "namespace n {\nclass C final : public B {\npublic:\n    explicit C(int a) : a_{a} {\n"):
            tail = "};\n}\n" if "class C" in head else ""
            self.fails(text.sizes, "vmm/c.cpp", head + long_body + tail, "function of 7")

    def test_long_scopes_and_tables_are_no_functions(self):
        filler = "    int x;\n" * 100
        for head in ("namespace n {\n", "class CAPABILITY(\"m\") C {\n", "template <class T = decltype(f())>\nstruct S {\n",
                     "enum class E : std::uint8_t {\n", "constexpr int a[] = {\n", "extern \"C\" {\n"):
            self.write("vmm/b.cpp", head + filler + "};\n")
            self.passes(text.sizes)

    def test_unfinished(self):
        self.write("tests/unit/b.cpp", "// TODO\n")
        for word in ("// TODO: later", "// FIXME", "std::this_thread::sleep_for(1ms);", "usleep(1);"):
            self.fails(text.unfinished, "vmm/b.cpp", f"\n{word}\n", "vmm/b.cpp:2:")

    def test_licence(self):
        self.write("vmm/b.cpp", "// SPDX-License-Identifier: Apache-2.0\n")
        self.fails(text.licence, "vmm/c.cpp", "// SPDX-License-Identifier: GPL-2.0\n")
        self.fails(text.licence, "guest-images/common/b.ld", "/* MIT License */\n")
        self.fails(text.licence, "NOTICE", "")
        self.fails(text.licence, "LICENSE", "do what you like\n", "Apache-2.0")
        (self.root / "LICENSE").unlink()
        self.assertEqual(text.licence(Tree(self.root)), ["LICENSE is missing"])


class Compiled(CheckTest):
    def test_headers_alone(self):
        self.fails(compiled.headers_alone, "vmm/b.hpp", "#pragma once\ninline std::size_t n = 1;\n", "alone")

    def test_headers_alone_notices_a_changed_include(self):
        cache = self.root / "cache"
        self.write("vmm/b.hpp", '#pragma once\n#include "base/a.hpp"\ninline int b() { return a; }\n')
        self.write("base/a.hpp", "#pragma once\ninline int a = 1;\n")
        self.assertEqual(compiled.headers_alone(Tree(self.root), cache), [])
        self.write("base/a.hpp", "#pragma once\n")
        self.assertEqual(len(compiled.headers_alone(Tree(self.root), cache)), 1)

    def test_a_failure_is_not_remembered_as_a_pass(self):
        cache = self.root / "cache"
        self.write("vmm/b.hpp", "#pragma once\nnonsense\n")
        for _ in range(2):
            self.assertEqual(len(compiled.headers_alone(Tree(self.root), cache)), 1)

    @unittest.skipIf(shutil.which("clang-format-19") is None, "clang-format-19 is missing")
    def test_clang_format(self):
        self.fails(compiled.clang_format, "vmm/b.cpp", "int   x ;\n")


if __name__ == "__main__":
    unittest.main()
