"""The source tree as the checks see it: which files there are, their code without comments, and their includes."""

import re
from functools import cached_property
from pathlib import Path

PRODUCTION = ("base", "notifier-bridge", "shadow-mmu", "vmm", "guest-images")
FOLDERS = PRODUCTION + ("tests", "bench")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)
TOKEN = re.compile(
    r'//(?:\\\n|[^\n])*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.S)


def blank(match):
    """Keeps line numbers and the quotes, drops the words."""
    text = match.group(0)
    lines = "\n" * text.count("\n")
    return lines if text.startswith("/") else text[0] + text[-1] + lines if text[0] != "R" else '""' + lines


class Source:
    def __init__(self, root, path):
        self.file = path
        self.path = path.relative_to(root).as_posix()
        self.folder = self.path.split("/")[0]

    @cached_property
    def text(self):
        return self.file.read_text(encoding="utf-8", errors="replace")

    @cached_property
    def code(self):
        return TOKEN.sub(blank, self.text)

    @cached_property
    def includes(self):
        """(line, '<' or '"', name) for each include."""
        return [(self.text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2)) for m in INCLUDE.finditer(self.text)]

    def line_of(self, offset):
        return self.code.count("\n", 0, offset) + 1


class Tree:
    def __init__(self, root):
        self.root = Path(root).resolve()
        self.sources = [Source(self.root, path) for path in self.files((".cpp", ".hpp", ".S", ".h", ".c"))]
        self.by_path = {source.path: source for source in self.sources}

    def files(self, suffixes):
        return [path for folder in FOLDERS for path in sorted((self.root / folder).rglob("*"))
                if path.suffix in suffixes and path.is_file()]

    def cpp(self, folders=FOLDERS, suffixes=(".cpp", ".hpp")):
        return [s for s in self.sources if s.folder in folders and s.path.endswith(suffixes)]

    def closure(self, source):
        """The source and every file of this tree it includes, in a fixed order."""
        found, queue = {}, [source]
        while queue:
            now = queue.pop()
            if now.path not in found:
                found[now.path] = now
                queue += [self.by_path[name] for _, _, name in now.includes if name in self.by_path]
        return [found[path] for path in sorted(found)]
