"""Checks of single files: size, licence, words that mean unfinished work. Each returns a list of complaints."""

import hashlib
import re

from tree import PRODUCTION

FILE_LINES = 300
FUNCTION_LINES = 70
LICENCE_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
OTHER_LICENCE = re.compile(r"SPDX-License-Identifier:\s*(?!Apache-2\.0\b)\S+|\b(?:GNU (?:Lesser |Affero )?General Public"
                           r"|GPL-?[23v]|MIT License|BSD License|Mozilla Public|All rights reserved)\b", re.I)
UNFINISHED = re.compile(r"\b(TODO|FIXME|sleep_for|sleep_until|usleep|nanosleep)\b")
BRACE_OR_END = re.compile(r"[{};]")
SCOPE = re.compile(r"^(?:(?:template|requires|export|typedef|static|inline|constexpr|alignas\s*\([^)]*\)|\[\[[^]]*\]\])\s*)*"
                   r"(?:class|struct|union|enum|namespace|extern\s*\"\")\b")


def drop_preprocessor(code):
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", lambda m: "\n" * m.group(0).count("\n"), code, flags=re.M)


def drop_template_heads(text):
    """Without the <...> after each `template`, which may itself say class or hold parentheses."""
    out, at = "", 0
    for head in re.finditer(r"\btemplate\s*<", text):
        if head.start() < at:
            continue
        depth, end = 1, head.end()
        while end < len(text) and depth > 0:
            depth += {"<": 1, ">": -1}.get(text[end], 0)
            end += 1
        out, at = out + text[at:head.start()], end
    return out + text[at:]


def opens_function(statement):
    statement = drop_template_heads(re.sub(r"\b(public|private|protected)\s*:", "", statement)).strip()
    return ")" in statement and not statement.endswith("=") and not SCOPE.match(statement)


def functions(code):
    """(first line, lines) of each function body: a brace-matching guess that looks outermost functions only."""
    code = drop_preprocessor(code)
    depth, body_depth, start, first = 0, None, 0, 0
    for mark in BRACE_OR_END.finditer(code):
        at = mark.start()
        if mark.group() == "{":
            if body_depth is None and opens_function(code[start:at]):
                body_depth, first = depth, code.count("\n", 0, start + len(code[start:at]) - len(code[start:at].lstrip()))
            depth += 1
        elif mark.group() == "}":
            depth -= 1
            if body_depth == depth:
                body_depth = None
                if re.match(r"\s*[,{]", code[at + 1:at + 200]):
                    continue  # that was a member initialiser: the statement goes on
                yield first + 1, code.count("\n", 0, at) - first + 1
        if body_depth is None:
            start = at + 1


def sizes(tree):
    bad = []
    for source in tree.sources:
        lines = source.text.count("\n")
        if lines > FILE_LINES:
            bad.append(f"{source.path}: {lines} lines, at most {FILE_LINES}")
        bad += [f"{source.path}:{line}: function of {length} lines, at most {FUNCTION_LINES}"
                for line, length in functions(source.code) if length > FUNCTION_LINES]
    return bad


def unfinished(tree):
    return [f"{source.path}:{source.text.count(chr(10), 0, word.start()) + 1}: {word.group()}"
            for source in tree.sources if source.folder in PRODUCTION for word in UNFINISHED.finditer(source.text)]


def licence(tree):
    bad = []
    file = tree.root / "LICENSE"
    if not file.is_file():
        bad.append("LICENSE is missing")
    elif hashlib.sha256(file.read_bytes()).hexdigest() != LICENCE_SHA256:
        bad.append("LICENSE is not the unchanged text of Apache-2.0")
    if (tree.root / "NOTICE").exists():
        bad.append("NOTICE: Apache-2.0 would make every copy carry it")
    texts = [(s.path, s.text) for s in tree.sources]
    texts += [(p.relative_to(tree.root).as_posix(), p.read_text(errors="replace"))
              for p in tree.files((".py", ".sh", ".ld")) if "tests/tidy" not in p.as_posix()]
    bad += [f"{path}: names another licence: {found.group(0)}"
            for path, text in texts for found in OTHER_LICENCE.finditer(text)]
    return bad
