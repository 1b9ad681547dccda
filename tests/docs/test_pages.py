"""Pages are true about the repository: what they name is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.examples import PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: A file or a folder of the repository, as a page names it.
_PATH = re.compile(r"`((?:airflow_joblib|dags|docs|tests|\.ci|\.github)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_are_there(page: Path) -> None:
    """A file or folder of the repository that a page names exists."""
    missing = [path for path in _PATH.findall(page.read_text(encoding="utf-8")) if not (ROOT / path).exists()]
    assert not missing
