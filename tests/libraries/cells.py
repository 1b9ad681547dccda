"""The program behind a cell of the documentation's table of libraries.

A cell is one process: a file like a DAG's that imports a library, uses it in some places, and runs a fan-out whose
items use it. It writes which workers the run had and whether the results are those of a loop.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.libraries.places import ENVIRONMENTS, PLACES
from tests.libraries.uses import LIBRARIES

__all__ = ["FORKED", "FRESH", "documented", "run_cell"]

FORKED, FRESH = "forked", "fresh"
_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "libraries.md"
_CELL = """
import json
import logging
from pathlib import Path

from airflow_joblib import parallel_task


@parallel_task(n_jobs=2, batch_size=1)
def work(n):
    return use(n)


def cell():
    lines, found, right = [], [], []
    logger = logging.getLogger("airflow_joblib")
    logger.setLevel("INFO")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    for place in {places!r}:
        if place == "in the task's body":
            use(2)
        lines.clear()
        right.append(work.map([1, 2, 3]))
        found.append([line for line in lines if "workers are " in line])
    want = [use(n) for n in (1, 2, 3)]
    Path({result!r}).write_text(json.dumps([found, [each == want for each in right]]))


"""


def documented() -> dict[str, dict[str, str]]:
    """Return the documentation's table: by library and place, which workers there are."""
    lines = [line for line in _PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    (_, *columns), _rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows}


def run_cell(library: str, places: tuple[str, ...], environment: str, folder: Path) -> list[str]:
    """Run a cell in a process of its own; return for each place which workers there were.

    Args:
        library: One of `LIBRARIES`.
        places: Where it is used: see `PLACES`.
        environment: One of `ENVIRONMENTS`.
        folder: An empty one.
    """
    result = folder / "result.json"
    source = LIBRARIES[library][1] + _CELL.format(places=places, result=str(result))
    if places[0] == PLACES[0]:
        source += "use(1)\n"
    arguments, more = ENVIRONMENTS[environment](source, folder)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**_environment(), **more},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.exists(), f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    found, right = json.loads(result.read_text())
    assert all(right), f"wrong results: {done.stderr[-3000:]}"
    return [_workers(lines) for lines in found]


def _workers(lines: list[str]) -> str:
    (line,) = lines
    return FORKED if "workers are forked from this process as it stands" in line else FRESH


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST", "COV"))}
