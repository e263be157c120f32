"""Checks of who may include whom, and of which file may call what. Each returns a list of complaints."""

import re

from tree import PRODUCTION

BRIDGE_FOR_TABLES = {f"notifier-bridge/{name}.hpp" for name in ("subscriber", "invalidation", "interval_subscription")}
FREESTANDING = set("""algorithm array atomic bit cfloat climits compare concepts cstdarg cstddef cstdint initializer_list
    limits new numbers span tuple type_traits utility version immintrin.h nmmintrin.h x86intrin.h""".split())
RAW_MAPPING = re.compile(r"(?<![\w.>])(mmap|mremap|madvise|process_madvise)\s*\(")
RAW_MAPPING_FILES = re.compile(
    r"base/mapped_region\.|notifier-bridge/source/|vmm/memory/(guest_ram|window)\.|guest-images/linux/")
TABLE_NAMES = re.compile(r"\b(Ept|Shadow|Device|Io)Table\b|\b(ept|shadow|device|io)_table\b")
NOT_IN_FORMAT = re.compile(r"^(base/(mutex|log|thread|mapped_region)\.hpp|mutex|memory|vector|map|unordered_map|string|"
                           r"functional|thread|condition_variable|spdlog/.*|fmt/.*)$")


def may_include(source, name):
    """Whether the rule of the source's folder allows a file of this tree."""
    target = name.split("/")[0]
    if source.folder == "base":
        return target == "base"
    if source.folder == "notifier-bridge":
        return target in ("base", "notifier-bridge")
    if source.folder == "shadow-mmu":
        return target in ("base", "shadow-mmu") or name in BRIDGE_FOR_TABLES
    if source.folder == "vmm":
        return target in ("base", "notifier-bridge", "shadow-mmu", "vmm") or name.startswith("guest-images/common/")
    if source.folder == "guest-images":
        own = "guest-images/linux/" if source.path.startswith("guest-images/linux/") else "guest-images/common/"
        return name.startswith(own)
    return True


def include_edges(tree):
    bad = []
    for source in tree.sources:
        for line, quote, name in source.includes:
            where = f"{source.path}:{line}"
            in_tree = name in tree.by_path
            if quote == '"' and not in_tree:
                bad.append(f'{where}: "{name}" is not a path from the repository root')
            elif quote == "<" and in_tree:
                bad.append(f"{where}: <{name}> is a file of this tree: include it with quotes")
            elif in_tree and not may_include(source, name):
                bad.append(f"{where}: {source.folder} may not include {name}")
            elif (quote == "<" and source.folder == "guest-images" and name not in FREESTANDING
                  and not source.path.startswith("guest-images/linux/")):
                bad.append(f"{where}: guest images are freestanding, <{name}> is not")
    return bad


def own_header_first(tree):
    bad = []
    for source in tree.cpp(suffixes=(".cpp",)):
        own = source.path[:-4] + ".hpp"
        if own in tree.by_path and (not source.includes or source.includes[0][2] != own):
            bad.append(f"{source.path}: its own header comes first")
    return bad


def restricted_headers(tree):
    allowed = {"linux/kvm.h": r"vmm/kvm/", "linux/userfaultfd.h": r"notifier-bridge/source/userfaultfd\.[^/]*$"}
    return [f"{source.path}:{line}: <{name}> belongs to {allowed[name]}"
            for source in tree.cpp(PRODUCTION) for line, _, name in source.includes
            if name in allowed and not re.match(allowed[name], source.path)]


def raw_mapping(tree):
    return [f"{source.path}:{source.line_of(call.start())}: raw {call.group(1)}(); use base/mapped_region.hpp"
            for source in tree.cpp(PRODUCTION) if not RAW_MAPPING_FILES.match(source.path)
            for call in RAW_MAPPING.finditer(source.code)]


def table_of(path):
    found = re.match(r"shadow-mmu/tables/(ept|shadow|device|io)(_table|/)", path)
    return found.group(1) if found else None


def tables(tree):
    """Tables do not know each other, and the bridge knows none of them."""
    bad = []
    for source in tree.cpp(("shadow-mmu", "notifier-bridge")):
        mine = table_of(source.path)
        if mine:
            bad += [f"{source.path}:{line}: one table may not include another ({name})"
                    for line, _, name in source.includes if table_of(name) not in (None, mine)]
        if source.folder == "notifier-bridge":
            bad += [f"{source.path}:{source.line_of(m.start())}: the bridge may not name {m.group(0)}"
                    for m in TABLE_NAMES.finditer(source.code)]
    return bad


def format_purity(tree):
    return [f"{source.path}:{line}: shadow-mmu/format holds bits only, not {name}"
            for source in tree.cpp(("shadow-mmu",)) if source.path.startswith("shadow-mmu/format/")
            for line, _, name in source.includes if NOT_IN_FORMAT.match(name)]
