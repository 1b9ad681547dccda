"""The checkpoint of a run: whose results it keeps, and when they are written and gone."""

from __future__ import annotations

import functools
import sys
import threading
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import TooManyFailuresError, parallel_task
from tests.unit.helpers import PROCESSES, note, notes, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class AirflowSkipException(Exception):
    """As Airflow's own."""


AirflowSkipException.__module__ = "airflow.of_the_test"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__JOBLIB__CHECKPOINT_PATH", str(tmp_path / "kept"))


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "kept").rglob("*") if path.is_file()]


def task(function: Any, **options: Any) -> Any:
    return parallel_task(n_jobs=1, checkpoint=True, **options)(function)


def multiply(item: int, by: int) -> int:
    if by == 1 and item == 3:
        raise LookupError(item)
    return item * by


class Factor:
    def __init__(self, by: int) -> None:
        self.by = by

    def multiply(self, item: int) -> int:
        return multiply(item, self.by)

    def __call__(self, item: int) -> int:
        return multiply(item, self.by)


def closed(by: int) -> Any:
    return lambda item: multiply(item, by)


@pytest.mark.parametrize(
    "made",
    [
        lambda by: functools.partial(multiply, by=by),
        lambda by: Factor(by).multiply,
        Factor,
        closed,
    ],
    ids=["partial", "method", "callable object", "closure"],
)
def test_what_a_function_is_bound_to(made: Any) -> None:
    """Results of a function that is bound to something else are no results of this one."""
    with pytest.raises(LookupError):
        task(made(1)).map([1, 2, 3])
    assert task(made(10)).map([1, 2, 3]) == [10, 20, 30]


def test_functions_of_one_name() -> None:
    """Two functions of one name in one module have a checkpoint each."""

    class A:
        @staticmethod
        def load(item: int) -> str:
            if item == 3:
                raise LookupError(item)
            return f"A{item}"

    class B:
        @staticmethod
        def load(item: int) -> str:
            return f"B{item}"

    with pytest.raises(LookupError):
        task(A.load).map([1, 2, 3])
    assert task(B.load).map([1, 2]) == ["B1", "B2"]


def test_written_in_the_task_itself(tmp_path: Path) -> None:
    """Where the items run in the task's process, a finished one is written before the next begins."""
    seen: list[int] = []

    def look(item: int) -> int:
        import time

        seen.append(len(files(tmp_path)))
        time.sleep(0.3)
        return item

    assert task(look).map([1, 2, 3]) == [1, 2, 3]
    assert seen[0] == 0
    assert 0 < seen[1] < seen[2]
    assert files(tmp_path) == []


def test_all_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run all of whose items were skipped leaves nothing, also where an earlier try had skipped some."""
    for name in ("airflow", "airflow.of_the_test"):
        module: Any = ModuleType(name)
        module.AirflowSkipException = AirflowSkipException
        monkeypatch.setitem(sys.modules, name, module)
    failed = tmp_path / "failed"

    def skip(item: int) -> None:
        if item == 3 and not failed.exists():
            failed.touch()
            raise LookupError(item)
        raise AirflowSkipException(item)

    with pytest.raises(LookupError):
        task(skip, backend="threading").map([1, 2, 3])
    assert files(tmp_path)
    with pytest.raises(AirflowSkipException):
        task(skip, backend="threading").map([1, 2, 3])
    assert files(tmp_path) == []


def test_lazy_items_are_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What an earlier try has done of a lazy input is said in one line, and drawn in ever larger chunks."""
    ran = tmp_path / "ran"

    def run(item: int) -> int:
        note(ran, str(item))
        if item == 500 and len(notes(ran)) < 502:
            raise LookupError(item)
        return item

    with pytest.raises(LookupError):
        task(run).map(iter(range(600)))
    caplog.set_level("INFO", logger="airflow_joblib")
    assert task(run).map(iter(range(600))) == list(range(600))
    told = [line for line in caplog.messages if "by an earlier try" in line and "of the first" in line]
    assert len(told) == 1
    assert notes(ran).count("0") == 1


def test_each_item_is_digested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that finds what an earlier one has kept digests each item once, those that are left to run as well."""
    from airflow_joblib.checkpoint import digest

    digested: list[object] = []

    def counted(item: object) -> bytes:
        digested.append(item)
        return digest(item)

    monkeypatch.setattr("airflow_joblib.checkpoint.store.digest", counted)

    def run(item: int) -> int:
        if item > 1:
            raise LookupError(item)
        return item

    for items in ([0, 1, 2], [2, 3, 0]):
        digested.clear()
        with pytest.raises(LookupError):
            task(run).map(items)
        assert digested == items


@pytest.mark.parametrize("options", [{"max_failures": 3}, {"max_failures": 0.5, "fail_fast": False}])
@pytest.mark.parametrize("backend", ["sequential", "auto", "threading"])
def test_failed_items_alone(
    backend: str, options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a run that tolerates failures the next one runs the failed items alone; without any, nothing is kept."""
    caplog.set_level("INFO", logger="airflow_joblib")
    ran, mended = tmp_path / "ran", tmp_path / "mended"

    def run(item: int) -> int:
        note(ran, str(item))
        if item % 4 == 3 and not mended.exists():
            raise LookupError(item)
        return item * 10

    fan_out = parallel_task(n_jobs=2, backend=backend, checkpoint=True, batch_size=2, **options)(run)
    assert fan_out(range(12)) == [None if item % 4 == 3 else item * 10 for item in range(12)]
    (kept,) = {path.parent for path in files(tmp_path)}
    assert f"finished items stay in the checkpoint in {kept}. To run the 3 items that failed, clear" in caplog.text
    ran.unlink()
    assert fan_out(range(12)).count(None) == 3
    assert sorted(notes(ran)) == ["11", "3", "7"]
    ran.unlink()
    mended.touch()
    assert fan_out(range(12)) == [item * 10 for item in range(12)]
    assert sorted(notes(ran)) == ["11", "3", "7"]
    assert files(tmp_path) == []


def test_calls_with_other_items(tmp_path: Path) -> None:
    """A call that succeeds leaves what another one has kept, whose items it had not."""
    ran, mended = tmp_path / "ran", tmp_path / "mended"

    def run(item: str) -> str:
        note(ran, item)
        if item == "oslo" and not mended.exists():
            raise LookupError(item)
        return item

    fan_out = task(run, max_failures=1)
    assert fan_out(["lisbon", "oslo"]) == ["lisbon", None]
    assert fan_out(["tokyo", "osaka"]) == ["tokyo", "osaka"]
    assert fan_out(["tokyo", "osaka"]) == ["tokyo", "osaka"]  # which is no cache
    ran.unlink()
    mended.touch()
    assert fan_out(["lisbon", "oslo"]) == ["lisbon", "oslo"]
    assert notes(ran) == ["oslo"]
    assert files(tmp_path) == []


def test_ended_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is being ended does not wait for a search for old checkpoints."""
    searched: list[object] = []
    monkeypatch.setattr("airflow_joblib.checkpoint.remove_expired", lambda *given: searched.append(given))

    class TimedOut(BaseException):
        pass

    def end(item: int) -> int:
        if item == 2:
            raise TimedOut
        return item

    with pytest.raises(TimedOut):
        task(end, backend="sequential")([1, 2])
    assert not searched
    assert task(end, backend="sequential")([1]) == [1]
    assert len(searched) == 1


def test_all_run_and_then_fail(tmp_path: Path) -> None:
    """With fail_fast=False what has finished is kept, so the next try runs the failed items alone."""
    ran = tmp_path / "ran"

    def run(item: int) -> int:
        note(ran, str(item))
        if item in {0, 5} and len(notes(ran)) <= 8:
            raise LookupError(item)
        return item

    with pytest.raises(TooManyFailuresError, match="2 of 8"):
        task(run, fail_fast=False)(range(8))
    assert len(notes(ran)) == 8
    assert task(run, fail_fast=False)(range(8)) == list(range(8))
    assert notes(ran)[8:] == ["0", "5"]
    assert files(tmp_path) == []


class Deadly:
    """Ends the process that pickles it."""

    def __reduce__(self) -> Any:
        import os

        os._exit(3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", PROCESSES)
def test_result_that_ends_its_worker(backend: str) -> None:
    """An item whose result ends the worker when it is pickled is found, and costs no other one its result."""

    def give(item: int) -> object:
        return Deadly() if item == 5 else item

    results = parallel_task(n_jobs=2, backend=backend, max_failures=1)(give)(range(40))
    assert results == [None if item == 5 else item for item in range(40)]


ONE_LEFT = """
import os, sys
from airflow_joblib import WorkerLostError, parallel_task

folder, backend = os.environ["TRY"].split("|")

def run(item: int) -> int:
    if item == 9:
        if not os.path.exists(folder + "/failed"):
            open(folder + "/failed", "w").close()
            raise LookupError(item)
        os._exit(1)
    return item

try:
    parallel_task(n_jobs=1, checkpoint=True)(run).map(range(10))
except LookupError:
    print("failed", flush=True)
try:
    parallel_task(n_jobs=2, backend=backend, checkpoint=True)(run).map(range(10))
except WorkerLostError as error:
    print("lost", error.index, error.exit_code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", PROCESSES)
def test_one_item_left(backend: str, tmp_path: Path) -> None:
    """The only item that an earlier try has left runs in a worker process: it may be what ended the one before."""
    done = run_python(ONE_LEFT, {"TRY": f"{tmp_path}|{backend}"}, check=False)
    assert done.stdout.splitlines() == ["failed", "lost 9 1"], done.stderr
    assert done.returncode == 0
    assert "runs on 1 worker instead of 2: there is only one item left." in done.stderr


def test_storage_that_hangs_while_the_task_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that is killed does not wait long for a storage that does not answer, and says what may be lost."""
    from airflow_joblib.checkpoint import LocalFolder

    going = threading.Event()

    class Hangs(LocalFolder):
        slow = True

        def write(self, name: str, data: bytes) -> None:
            going.wait(60)

    class Terminated(BaseException):
        hasty = True

    def double(item: int) -> int:
        return 2 * item

    def items() -> Iterator[int]:
        yield from range(20)
        time.sleep(1)
        raise Terminated

    monkeypatch.setattr("airflow_joblib.checkpoint.outside_airflow", lambda *_: Hangs(tmp_path / "kept"))
    began = time.monotonic()
    with pytest.raises(Terminated):
        parallel_task(n_jobs=2, backend="threading", checkpoint=True)(double).map(items())
    going.set()
    assert time.monotonic() - began < 8
    assert "may lack the last finished items: TimeoutError: it was not written within 2 s" in caplog.text
