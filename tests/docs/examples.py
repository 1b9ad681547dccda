"""Find the examples of the documentation: the fenced Python blocks of the README and of every page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Example", "blocks", "examples"]

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
]
_FENCE = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Example:
    """One fenced block.

    Attributes:
        page: The file it is in.
        line: The line of that file on which its code begins, counted from 1.
        language: ``python``, or ``pycon`` for a session with what it prints.
        code: The code.
    """

    page: Path
    line: int
    language: str
    code: str

    @property
    def needs_airflow(self) -> bool:
        """Whether it imports Airflow: then it is a DAG file, or what a test of one uses."""
        return bool(re.search(r"^(from|import) airflow\b", self.code, re.MULTILINE))

    @property
    def file(self) -> str | None:
        """The file of the repository that the block shows, or a part of; None for code of the page's own."""
        named = re.match(r"# (dags/\S+\.py)\n", self.code)
        return named and named[1]

    @property
    def place(self) -> str | None:
        """The file that the reader is to put it into, as its first line says; None for one that says nothing."""
        named = re.match(r"# ((?:tests|dags_folder)/\S+\.py)\n", self.code)
        return named and named[1]

    @property
    def is_plain(self) -> bool:
        """Whether it runs by itself, without Airflow."""
        return not self.needs_airflow and self.place is None

    @property
    def name(self) -> str:
        """Where it is, as an editor takes it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def examples(page: Path) -> list[Example]:
    """Return the examples of a page, in order."""
    return [example for example in blocks(page) if example.file is None]


def blocks(page: Path) -> list[Example]:
    """Return the examples of a page, and what it shows of files of the repository, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Example(page, text.count("\n", 0, found.start()) + 2, found[1], found[2]) for found in _FENCE.finditer(text)
    ]
