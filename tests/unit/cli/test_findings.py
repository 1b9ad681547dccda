"""Findings: what silences one, and how they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_joblib.cli.findings import CODES, Finding, Place, not_silenced, page
from airflow_joblib.cli.formats import FORMATS

ONE = Finding("dags/f.py", Place(2, 5, 3), "AJ101", "Wrong: 100 %.")


@pytest.mark.parametrize(
    "comment",
    ["# noqa", "# noqa: AJ101", "#noqa:AJ101", "# NOQA: aj101", "# noqa: E501, AJ101", "# noqa: AJ201 AJ101 - reason"],
)
@pytest.mark.parametrize("line", [2, 3])
def test_silenced(comment: str, line: int) -> None:
    """A comment in the first or last line of what was found silences it."""
    source = ["a = 1", "b = (", "    2)"]
    source[line - 1] += f"  {comment}"
    assert not not_silenced([ONE], "\n".join(source))


@pytest.mark.parametrize(
    "source",
    [
        "a\nb = f(g(1),\n    2)(\n    3\n)  # noqa: AJ101",
        "a\nb = [c(\n    2),\n    3,\n]  # noqa: AJ101",
        "a\nwith (c(\n    2),\n    d(\n)):  # noqa: AJ101\n    pass",
    ],
)
def test_silenced_behind_the_last_bracket(source: str) -> None:
    """A comment behind the last bracket of the statement, or of its head, silences it."""
    assert not not_silenced([ONE], source)
    assert not_silenced([ONE], f"{source.replace('AJ101', 'AJ102')}") == [ONE]
    assert not_silenced([ONE], f"{source.replace('  # noqa: AJ101', '')}\nz = 1  # noqa: AJ101") == [ONE]


@pytest.mark.parametrize(
    "source",
    ["a = 1  # noqa\nb = 2\n", "a\nb  # noqa: AJ102\n", "a\nb = '# noqa'\n", "a\nb  # noqa: AJ1\n", "a\nb = (\n", ""],
)
def test_not_silenced(source: str) -> None:
    """Another line, another code, and a text that only looks like the comment, silence nothing."""
    assert not_silenced([ONE], source) == [ONE]


def test_each_once_in_order() -> None:
    """What was found twice is there once, and all is in the order of the file."""
    first = Finding("dags/f.py", Place(1, 1, 1), "AJ202", "Wrong.")
    assert not_silenced([ONE, first, ONE], "") == [first, ONE]


def test_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line each, as linters write it, with the path seen from the current folder."""
    monkeypatch.chdir(tmp_path)
    inside = Finding(str(tmp_path / "f.py"), Place(2, 5, 3), "AJ101", "Wrong.")
    assert FORMATS["text"]([ONE, inside]) == "dags/f.py:2:5: AJ101 Wrong: 100 %.\nf.py:2:5: AJ101 Wrong.\n"


def test_json() -> None:
    """JSON has the page about the code too."""
    (row,) = json.loads(FORMATS["json"]([ONE]))
    assert row == {
        "file": "dags/f.py",
        "line": 2,
        "column": 5,
        "end_line": 3,
        "code": "AJ101",
        "message": "Wrong: 100 %.",
        "page": "reference/checks/aj101",
    }
    assert json.loads(FORMATS["json"]([])) == []


def test_github() -> None:
    """GitHub's commands have what they would misread escaped."""
    odd = Finding("a,b:c.py", Place(2, 5, 3), "AJ101", "Wrong: 100 %.")
    assert FORMATS["github"]([odd]) == (
        "::error file=a%2Cb%3Ac.py,line=2,col=5,endLine=3,title=AJ101::AJ101 Wrong: 100 %25.\n"
    )


def test_every_code_has_its_page() -> None:
    """The documentation has a page about each code, which the table of codes leads to."""
    docs = Path(__file__).parents[3] / "docs"
    for code in CODES:
        assert (docs / f"{page(code)}.md").exists()
        assert f"{code.lower()}.md" in (docs / "reference" / "checks" / "index.md").read_text()
