"""Pages are true about the repository: what they name is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.examples import PAGES, ROOT, Example, blocks
from tests.docs.tables import TABLES, updated

if TYPE_CHECKING:
    from pathlib import Path

#: A file or a folder of the repository, as a page names it; what is built is not there at first.
_PATH = re.compile(r"`((?:airflow_joblib|dags|docs(?!/_build)|tests|\.ci|\.github)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_are_there(page: Path) -> None:
    """A file or folder of the repository that a page names exists."""
    missing = [path for path in _PATH.findall(page.read_text(encoding="utf-8")) if not (ROOT / path).exists()]
    assert not missing


SHOWN = [block for page in PAGES for block in blocks(page) if block.file is not None]


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.name)
def test_files_are_shown_as_they_are(block: Example) -> None:
    """A block that begins with the name of a file of the repository is a part of that file."""
    assert block.file is not None
    code = block.code.split("\n", 1)[1]
    assert f"\n{code}" in (ROOT / block.file).read_text(encoding="utf-8")


def test_every_example_dag_is_shown() -> None:
    """Each DAG of ``dags/`` is shown on a page."""
    assert {block.file for block in SHOWN} == {f"dags/{file.name}" for file in (ROOT / "dags").glob("*.py")}


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    """A table that says what the code says is made from it; ``python -m tests.docs.tables`` does so."""
    text = page.read_text(encoding="utf-8")
    assert updated(text, TABLES[page]()) == text


def test_pages_read_well_in_the_repository() -> None:
    """No page has a directive in the place of code, a file or a table: only the built pages would show those."""
    for page in PAGES:
        assert not re.search(r"^```\{(?!toctree|eval-rst|include)", page.read_text(encoding="utf-8"), re.MULTILINE), (
            page
        )
