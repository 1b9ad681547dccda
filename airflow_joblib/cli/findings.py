"""What a check finds: one record for each, and what silences it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CODES", "Finding", "Place", "not_silenced", "page"]

#: Every code with what it finds.
CODES: Final = {
    "AJ101": "joblib.Parallel in a task",
    "AJ102": "a pool or process of multiprocessing in a task",
    "AJ103": "a ProcessPoolExecutor in a task",
    "AJ201": "an object that can't reach a worker",
    "AJ202": "a context parameter that can't reach a worker",
    "AJ203": "an option that is invalid or misspelt",
    "AJ301": "options that hold less than they say",
    "AJ901": "a file that can't be loaded",
}
_NOQA = re.compile(r"#\s*noqa\b(?P<codes>\s*:\s*[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)?", re.IGNORECASE)
_CODE = re.compile(r"[A-Z]+[0-9]+")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file.

    Attributes:
        line: Line, from 1 on.
        column: Column, from 1 on.
        end_line: Line in which what is there ends.
    """

    line: int = 1
    column: int = 1
    end_line: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong in a file.

    Attributes:
        file: Path of the file.
        place: Where in it.
        code: One of :data:`CODES`.
        message: What is wrong there, and what to do, in one line.
    """

    file: str
    place: Place
    code: str
    message: str


def page(code: str) -> str:
    """Return the page of the documentation about a code, as a path below its root."""
    return f"reference/checks/{code.lower()}"


def not_silenced(findings: Iterable[Finding], source: str) -> list[Finding]:
    """Return those findings, in order and each once, that no ``# noqa`` in the source silences."""
    silenced = _silenced(source)
    ends = _ends(source) if silenced else {}
    return sorted({finding for finding in findings if not _is_silenced(finding, silenced, ends)})


def _is_silenced(finding: Finding, silenced: Mapping[int, set[str]], ends: Mapping[int, set[int]]) -> bool:
    place = finding.place
    lines = {place.line, place.end_line, *ends.get(place.line, ())}
    return any({"", finding.code} & silenced[line] for line in lines if line in silenced)


def _ends(source: str) -> dict[int, set[int]]:
    """Return by line where the expressions and simple statements of several lines end that it is in."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return found
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr | ast.stmt):
            continue
        body = getattr(node, "body", None)
        if isinstance(body, list):  # what has a block ends with its head
            after = min(each.lineno for each in ast.walk(body[0]) if isinstance(each, ast.expr | ast.stmt))
            for line in range(node.lineno, after):
                found[line].update(range(line, after))
        else:
            for line in range(node.lineno, node.end_lineno or node.lineno):
                found[line].add(node.end_lineno or node.lineno)
    return found


def _silenced(source: str) -> dict[int, set[str]]:
    """Return the codes that are silenced in each line; all of them are as the empty text."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for line, comment in _comments(source):
        for match in _NOQA.finditer(comment):
            codes = match["codes"]
            found[line] |= {""} if codes is None else set(_CODE.findall(codes.upper()))
    return found


def _comments(source: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    try:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        found.extend((token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT)
    except (tokenize.TokenError, SyntaxError):  # what came before the error counts
        pass
    return found
