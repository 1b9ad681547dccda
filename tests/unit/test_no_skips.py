"""What ``--no-skips`` makes of a test that skips, and which tests are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.nightly
#: Without the options of the session that these tests are a part of.
PLAIN = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}

WHOLE = """
import pytest
pytest.importorskip("no_such_package", reason="not installed")
"""
SINGLE = """
import pytest

@pytest.fixture
def needed():
    pytest.importorskip("no_such_package", reason="not installed")

def test_package(needed): pass

@pytest.mark.server
def test_server(): pytest.skip("no server")

@pytest.mark.server
@pytest.mark.skipif(True, reason="no tool")
def test_tool(): pass

@pytest.mark.skipif(True, reason="a later Python")
def test_later(): pass

def test_threads(): pytest.skip("not for threads")
"""


MARKED = """
import pytest

@pytest.mark.slow
def test_slow(): pass

@pytest.mark.nightly
def test_nightly(): pass

def test_other(): pass
"""


def run(folder: Path, *flags: str) -> str:
    """Run the two files, and return what pytest says last."""
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = server\n")
    (folder / "test_whole.py").write_text(WHOLE)
    (folder / "test_single.py").write_text(SINGLE)
    command = [sys.executable, "-m", "pytest", "--quiet", "--continue-on-collection-errors", *flags, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=PLAIN)
    return done.stdout.splitlines()[-1]


def test_what_is_missing_fails(tmp_path: Path) -> None:
    """A missing server, tool or package is a failure, for a whole file too; what isn't for this machine may skip."""
    assert run(tmp_path, "--no-skips").startswith("1 failed, 2 skipped, 3 errors in ")


def test_all_may_skip(tmp_path: Path) -> None:
    """Without the option nothing fails."""
    assert run(tmp_path).startswith("6 skipped in ")


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [(["."], 1), (["test_marked.py"], 3), (["-m", "not nightly", "."], 2), (["-m", "nightly", "."], 1)],
)
def test_what_is_slow(tmp_path: Path, arguments: list[str], passed: int) -> None:
    """Slow tests and those for the night are left out of a folder, unless a file or marks are named."""
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    nightly\n    slow\n")
    (tmp_path / "test_marked.py").write_text(MARKED)
    command = [sys.executable, "-m", "pytest", "--quiet", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=PLAIN)
    assert done.stdout.splitlines()[-1].startswith(f"{passed} passed")
