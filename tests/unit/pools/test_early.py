"""The early template: when there is one, when workers are forked from it, and what they have."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import ParallelTaskError
from airflow_joblib.pools import early
from tests.unit.helpers import run_python, task, worker_processes
from tests.unit.pools.threads import NATIVE, parent, used_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_joblib.options.options import Defaults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are for Linux")

STATE: dict[str, str] = {}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Leave no template to the next test."""
    yield
    early.close_early()


class TestUse:
    """When workers are forked from it, and what they have."""

    def test_native_threads(self) -> None:
        """After a native thread has started workers have what was there before, and by name what they are sent."""
        code = f"""{NATIVE}
STATE, UNSET = "before", object()

class Point:
    def __init__(self, x):
        self.x = x

def shifted(number):
    return lambda: number + 1

@parallel_task(n_jobs=2, batch_size=1)
def look(item, point, text):
    number, unset, shift = item
    same = type(point) is Point and unset is UNSET and shift.__globals__ is globals()
    return same, STATE, os.environ["SET"], text, Point(shift()), os.getppid()

look.fork_early()
STATE, os.environ["SET"] = "after", "late"
use_threads()
found = look.map([(number, UNSET, shifted(number)) for number in range(4)], Point(1), text="t" * 3)
assert [each[:4] for each in found] == [(True, "before", "late", "ttt")] * 4, found
assert [each[4].x for each in found] == [1, 2, 3, 4] and {{type(each[4]) for each in found}} == {{Point}}
assert len({{each[5] for each in found}}) == 1 and found[0][5] != os.getpid()
"""
        said = run_python(code).stderr
        assert "look: workers are forked from what this process was before the task's arguments were loaded" in said
        assert "would lose the thread 'python'" in said
        assert "What has been set since" in said

    def test_process_that_is_closed_to_others(self) -> None:
        """The call reaches workers, as closed as the task, where nobody may look into the task's files."""
        code = f"""{NATIVE}
import numpy
isolation.close_to_others()

@parallel_task(n_jobs=2)
def look(item, array):
    return isolation.open_to_others(), array.sum(), array.flags.writeable

look.fork_early()
use_threads()
print(set(look.map(range(4), numpy.ones(1 << 20))))
"""
        pytest.importorskip("numpy")
        assert run_python(code).stdout == "{(False, np.float64(1048576.0), False)}\n"

    def test_the_latest_safe_fork_goes_first(self, caplog: pytest.LogCaptureFixture) -> None:
        """Where a fork is safe when the run begins, workers have all that was set until then, and one process less."""
        caplog.set_level("INFO", logger="airflow_joblib")
        look = task(lambda _: (STATE.get("set"), os.getppid()), backend="auto")
        look.fork_early()
        (template,) = worker_processes()
        STATE["set"] = "late"
        found = look.map(range(2))
        assert {state for state, _ in found} == {"late"}
        assert template.pid not in {pid for _, pid in found}
        assert not worker_processes()
        assert "workers are forked from this process as it stands" in caplog.text

    def test_one_run_after_another(self) -> None:
        """As long as nobody closes it the next run of the task has it too."""
        look = task(parent, backend="auto")
        look.fork_early()
        (template,) = worker_processes()
        with used_thread():
            assert set(look.map(range(4)) + look.map(range(4))) == {template.pid}
        early.close_early()
        assert not worker_processes()

    def test_a_run_within_a_run(self) -> None:
        """A run whose items another one makes gets workers of its own, and takes no template from that one."""
        look = task(parent, backend="auto", batch_size=1)
        look.fork_early()
        (template,) = worker_processes()

        def draw() -> Iterator[int]:
            for number in range(20):
                if number == 10:
                    assert template.pid not in look.map(range(4))
                yield number

        with used_thread():
            assert set(look.map(draw())) == {template.pid}

    def test_asked_for_the_task_as_it_stands(self) -> None:
        """``backend="multiprocessing"`` forks late in any case."""
        look = task(parent, backend="auto")
        look.fork_early()
        (template,) = worker_processes()
        with used_thread():
            assert template.pid not in look.override(backend="multiprocessing").map(range(4))
        assert not worker_processes()

    def test_what_was_set_since_is_named(self, tmp_path: Path) -> None:
        """An object that workers would know by a name that was set since is an error with that name, not None."""
        code = f"""{NATIVE}
UNSET = None

@parallel_task(n_jobs=2)
def look(item):
    return item

look.fork_early()
use_threads()
LATER = object()
print(look.map([LATER, LATER]))
"""
        done = run_python(code, check=False)
        assert done.returncode == 1
        assert "has no attribute 'LATER'" in done.stderr


class TestNone:
    """When none is forked."""

    @pytest.mark.parametrize(
        "options",
        [{"backend": name} for name in ("threading", "sequential", "loky", "multiprocessing", "dask")]
        + [{"n_jobs": 1}],
        ids=str,
    )
    def test_it_would_serve_nobody(self, options: dict[str, Any]) -> None:
        """There is none where workers are no forks, are forked late in any case, or where there are none."""
        task(abs, **{"backend": "auto", **options}).fork_early()
        assert not worker_processes()

    def test_another_start_method(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor where the user has asked for another way to start processes."""
        monkeypatch.setenv("JOBLIB_START_METHOD", "spawn")
        task(abs, backend="auto").fork_early()
        assert not worker_processes()

    def test_another_platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor elsewhere than on Linux."""
        monkeypatch.setattr(sys, "platform", "darwin")
        task(abs, backend="auto").fork_early()
        assert not worker_processes()

    def test_threads_were_there_before(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nor where the DAG file has used threads when it was loaded: then workers are fresh ones."""
        caplog.set_level("INFO", logger="airflow_joblib")
        look = task(parent, backend="auto")
        with used_thread():
            look.fork_early()
            assert not worker_processes()
            assert set(look.map(range(2))) == {os.getpid()}
        assert "workers are fresh processes (loky)" in caplog.text

    def test_what_fails_is_the_runs(self) -> None:
        """What goes wrong before the run is no error yet: the run will say it."""

        def broken() -> Defaults:
            raise ParallelTaskError("no Airflow that is known")

        early.fork_early("f", task(abs).options, broken, lambda: None)
        assert not worker_processes()
