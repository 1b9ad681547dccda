"""What `make matrix` runs on is what is promised, and what came of it is reported truly."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests import matrix

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = tomllib.loads((matrix.ROOT / "pyproject.toml").read_text())["project"]
README = (matrix.ROOT / "README.md").read_text()


def test_every_python_that_is_promised() -> None:
    """Each Python of the classifiers has an environment, and no other has; the first is the one that is required."""
    promised = [match[1] for line in PROJECT["classifiers"] if (match := re.search(r":: (3\.\d+)$", line))]
    assert {environment.python for environment in matrix.ENVIRONMENTS} == set(promised)
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_oldest_airflow_that_is_promised() -> None:
    """The first environment has the oldest Airflow that can be installed."""
    (needed,) = [name for name in PROJECT["dependencies"] if name.startswith("apache-airflow>=")]
    assert matrix.ENVIRONMENTS[0].airflow.startswith(needed.replace(">=", "=="))


def test_oldest_of_the_rest() -> None:
    """All that the project needs at run time is as old as can be in the environment ``oldest``."""
    needed = {name.split(">=")[0] for name in PROJECT["dependencies"]} - {"apache-airflow"}
    assert needed <= {bound.split("==")[0] for bound in matrix.lower_bounds()}


def test_table_of_the_readme() -> None:
    """The README has one row for each environment, with its versions."""
    rows = re.findall(r"^\| (\d\S*) \| (3\.\d+) \|", README, re.MULTILINE)
    wanted = [(re.split("[=>]=", each.airflow)[1], each.python) for each in matrix.ENVIRONMENTS]
    assert [(airflow.split("b")[0], python) for airflow, python in rows] == [
        (airflow.split("b")[0], python) for airflow, python in wanted
    ]


def test_quick_parts() -> None:
    """Whatever is run quickly is there, and no quick part is unknown to the whole."""
    named = [name for part in matrix.QUICK_PARTS.values() for name in part if name.startswith("tests/")]
    assert all((matrix.ROOT / name).exists() for name in named)
    assert matrix.QUICK_PARTS.keys() <= matrix.PARTS.keys()


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for environments in the place of the real one."""
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setattr(matrix, "BUILD", tmp_path / "build")
    return tmp_path / "build"


def test_missing_interpreter(build: Path) -> None:
    """An environment whose Python this machine lacks is skipped with a word, and is no failure."""
    result = matrix.Result(matrix.Environment("later", "3.99", "apache-airflow"), {"unit": ("-c", "")})
    result.fill()
    assert result.states == {"install": "skipped: no Python 3.99 here"}
    assert not result.is_failure
    assert not build.exists()


@pytest.mark.parametrize("must_pass", [True, False])
def test_failure(build: Path, must_pass: bool) -> None:
    """A part that fails is named with its log; it fails the whole where the environment has to pass."""
    result = matrix.Result(matrix.Environment("here", "3.11", "apache-airflow", must_pass=must_pass), {})
    (build / "here").mkdir(parents=True)
    result.states["demo"] = result._run("demo", ["sh", "-c", "echo why; exit 3"], ["sh", "-c", "echo never"])
    assert re.fullmatch(r"failed after 0\.0 min, see build/here/demo\.log", result.states["demo"])
    assert (build / "here" / "demo.log").read_text() == "why\n"
    assert result.is_failure is must_pass


def test_passed(build: Path) -> None:
    """What passed has its time."""
    result = matrix.Result(matrix.ENVIRONMENTS[0], {})
    (build / result.environment.name).mkdir(parents=True)
    assert result._run("unit", ["true"], ["true"]) == "passed, 0.0 min"
    assert not result.is_failure
