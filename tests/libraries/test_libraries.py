"""Each cell of the documentation's table of libraries: which workers a fan-out has, and that its results are right."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.libraries.cells import FORKED, FRESH, documented, run_cell
from tests.libraries.places import ENVIRONMENTS, PLACES
from tests.libraries.uses import LIBRARIES

if TYPE_CHECKING:
    from pathlib import Path

TABLE = documented()
#: Those that the other tests need as well, so that they are there.
QUICK = {"NumPy", "pandas"}
CELLS = [
    pytest.param(library, place, id=f"{library}-{place}", marks=() if library in QUICK else pytest.mark.nightly)
    for library in LIBRARIES
    for place in PLACES
]


def test_the_table_has_every_cell() -> None:
    """The documentation says of each library and place which workers there are, and has no other."""
    assert list(TABLE) == list(LIBRARIES)
    for row in TABLE.values():
        assert list(row) == list(PLACES)
        assert set(row.values()) <= {FORKED, FRESH}


@pytest.mark.parametrize(("library", "place"), CELLS)
def test_library(library: str, place: str, tmp_path: Path) -> None:
    """The workers are those of the table, and compute what a loop does."""
    needs(LIBRARIES[library][0])
    assert run_cell(library, (place,), "script", tmp_path) == [TABLE[library][place]]


@pytest.mark.nightly
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("environment", list(ENVIRONMENTS)[1:])
def test_library_in_an_environment(environment: str, library: str, tmp_path: Path) -> None:
    """The same holds beside other threads: one fan-out before the task's body uses the library, and one after."""
    needs(LIBRARIES[library][0], *(("ipykernel", "nbclient") if environment == "notebook" else ()))
    before_and_after = PLACES[2], PLACES[1]
    wanted = [TABLE[library][place] for place in before_and_after]
    assert run_cell(library, before_and_after, environment, tmp_path) == wanted


def needs(*modules: str) -> None:
    """Skip the test where one of the modules isn't installed."""
    if missing := [module for module in modules if find_spec(module) is None]:
        pytest.skip(f"{', '.join(missing)} not installed; make test-libraries does")
