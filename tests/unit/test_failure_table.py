"""The table of failures: where it fails, and what the user gets, on each local backend.

The same table in words is ``docs/reference/failures.md``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import NotPicklableError, ParallelTaskError, parallel_task
from tests.unit.helpers import LOCAL, PROCESSES, note, notes, worker_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: What the items of every run here are, where nothing else is said.
ITEMS = range(6)


@dataclass(frozen=True)
class Raises:
    """The run ends with an exception.

    Attributes:
        kind: Its type, to the letter.
        text: Part of its message.
        note: Part of its first note; None for no note at all.
        ran: Whether an item may have run.
    """

    kind: type[BaseException]
    text: str = ""
    note: str | None = "Raised by item 3 "
    ran: bool = True


@dataclass(frozen=True)
class Returns:
    """The run ends well, with every result, and says a word in the log.

    Attributes:
        warns: Part of a warning; None for no warning at all.
    """

    warns: str | None = None


@dataclass
class Setting:
    """What a case is given: the backend, a folder, whether the function is ``async``; and what notes that items ran."""

    backend: str
    folder: Path
    asynchronous: bool = False

    def run(self, function: Callable[..., Any], items: Any = ITEMS, **options: Any) -> Any:
        """Run the function on the items, three of which are before the one that fails."""
        ran = self.folder / "ran"

        def noting(item: Any, **resources: Any) -> Any:
            note(ran)
            return function(item, **resources)

        async def waiting(item: Any, **resources: Any) -> Any:
            await asyncio.sleep(0.001)
            return noting(item, **resources)

        called: Any = waiting if self.asynchronous else noting
        called.__signature__ = inspect.signature(function)
        return parallel_task(n_jobs=2, backend=self.backend, **options)(called)(items)


class Unpicklable:
    def __getstate__(self) -> Any:
        raise ConnectionError("no state")


class CannotLoadElsewhere:
    """Loads in the process that made it, and in no other one."""

    def __reduce__(self) -> Any:
        return _load_at_home, (os.getpid(),)


def _load_at_home(home: int) -> CannotLoadElsewhere:
    if os.getpid() != home:
        raise ConnectionError("not here")
    return CannotLoadElsewhere()


def pickling_an_item(setting: Setting) -> Any:
    setting.run(lambda item: 0, [0, 1, 2, Unpicklable(), 4])
    return None


def unpickling_an_item(setting: Setting) -> Any:
    setting.run(lambda item: 0, [0, 1, 2, CannotLoadElsewhere(), 4])
    return None


def in_the_function(setting: Setting) -> Any:
    def fail(item: int) -> int:
        if item == 3:
            raise LookupError("no such thing")
        return item

    return setting.run(fail)


def in_a_retry_wait(setting: Setting, number: int = signal.SIGINT) -> Any:
    failed = setting.folder / "failed"

    def fail(item: int) -> int:
        if item == 3:
            note(failed)
            raise LookupError
        return item

    def interrupt() -> None:
        until = time.monotonic() + 60
        while not notes(failed) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    return setting.run(fail, item_retries=1, item_retry_delay=200)


class Terminated(BaseException):
    """As what a task raises for SIGTERM: no ``Exception``."""


def sigterm_in_a_retry_wait(setting: Setting) -> Any:
    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        return in_a_retry_wait(setting, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def in_set_up(setting: Setting) -> Any:
    def connect() -> None:
        raise ConnectionError("no route")

    return setting.run(lambda item, conn: item, per_worker={"conn": connect})


def in_tear_down(setting: Setting) -> Any:
    @contextmanager
    def connect() -> Iterator[None]:
        yield
        raise ConnectionError("lost")

    return setting.run(lambda item, conn: item, per_worker={"conn": connect})


def pickling_a_result(setting: Setting) -> Any:
    setting.run(lambda item: {"a": [threading.Lock()]} if item == 3 else item)
    return None


def unpickling_a_result(setting: Setting) -> Any:
    setting.run(lambda item: CannotLoadElsewhere() if item == 3 else item)
    return None


class OwnError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def pickling_an_exception(setting: Setting) -> Any:
    def fail(item: int) -> int:
        if item == 3:
            raise OwnError("locked")
        return item

    return setting.run(fail)


def worker_killed(setting: Setting) -> Any:
    killed = setting.folder / "killed"

    def die_once(item: int) -> int:
        if item == 3 and not notes(killed):
            note(killed)
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    return setting.run(die_once)


def checkpoint_nowhere(setting: Setting) -> Any:
    """A file is where the folder should be."""
    (setting.folder / "taken").touch()
    return setting.run(_slow, checkpoint=str(setting.folder / "taken" / "below"))


def checkpoint_read_only(setting: Setting) -> Any:
    with mounted(setting.folder / "disk", "size=1m"):
        subprocess.run(["mount", "-o", "remount,ro", setting.folder / "disk"], check=True)
        return setting.run(_slow, checkpoint=str(setting.folder / "disk"))


def checkpoint_vanishes(setting: Setting) -> Any:
    where = setting.folder / "kept"

    def work(item: int) -> int:
        if item == 4:
            shutil.rmtree(where, ignore_errors=True)
        return _slow(item)

    return setting.run(work, checkpoint=str(where))


def disk_full(setting: Setting) -> Any:
    """Results take more than the disk has."""
    with mounted(setting.folder / "disk", "size=64k"):
        results = setting.run(lambda item: (_slow(item), os.urandom(1 << 17)), checkpoint=str(setting.folder / "disk"))
    return [number for number, _ in results]


def _slow(item: int) -> int:
    time.sleep(0.15)
    return item


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a small disk in memory, which takes root; skip where that can't be."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no disk of a known size can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


NO_NOTE = None
SET_UP = "Raised while per_worker 'conn' was set up in worker "
NOT_WRITTEN = "could not be written, and the run goes on"
#: Where it fails: what the user gets with processes, and with threads or in sequence.
TABLE: dict[Callable[[Setting], Any], tuple[Raises | Returns, Raises | Returns]] = {
    pickling_an_item: (Raises(NotPicklableError, "item 3", NO_NOTE, ran=False), Returns()),
    unpickling_an_item: (Raises(ConnectionError, "not here"), Returns()),
    in_the_function: (Raises(LookupError, "no such thing"),) * 2,
    in_a_retry_wait: (Raises(KeyboardInterrupt, note=NO_NOTE),) * 2,
    sigterm_in_a_retry_wait: (Raises(Terminated, note=NO_NOTE),) * 2,
    in_set_up: (Raises(ConnectionError, "no route", SET_UP, ran=False),) * 2,
    in_tear_down: (
        Raises(ParallelTaskError, "a worker did not leave its per_worker resources", NO_NOTE),
        Raises(ConnectionError, "lost", NO_NOTE),
    ),
    pickling_a_result: (Raises(NotPicklableError, "result of item 3"), Returns()),
    unpickling_a_result: (Raises(ConnectionError, "not here"), Returns()),
    pickling_an_exception: (Raises(ParallelTaskError, "OwnError: locked"), Raises(OwnError, "locked")),
    worker_killed: (Returns("was ended by SIGKILL while it ran item 3"),) * 2,
    checkpoint_nowhere: (Returns(NOT_WRITTEN),) * 2,
    checkpoint_read_only: (Returns(NOT_WRITTEN),) * 2,
    checkpoint_vanishes: (Returns(),) * 2,
    disk_full: (Returns(NOT_WRITTEN),) * 2,
}

#: Fresh workers differ in what has to travel: with them the other cases, and asynchronous items, are for the night.
FRESH_BY_DAY = {pickling_an_item, unpickling_an_item, in_the_function, pickling_a_result, unpickling_a_result}
CASES = [
    pytest.param(
        where,
        asynchronous,
        backend,
        id=f"{where.__name__}-{kind}-{backend}",
        marks=[pytest.mark.nightly] if night else [],
    )
    for where in TABLE
    for kind, asynchronous in (("plain", False), ("async", True))
    for backend in LOCAL
    for night in [backend == "loky" and (asynchronous or where not in FRESH_BY_DAY)]
]


@pytest.mark.slow
@pytest.mark.parametrize(("where", "asynchronous", "backend"), CASES)
def test_what_the_user_gets(
    where: Callable[[Setting], Any],
    asynchronous: bool,
    backend: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each failure gives what the table says, of a plain function and of an asynchronous one, and no worker stays."""
    if where is worker_killed and backend not in PROCESSES:
        pytest.skip("a thread's end is the task's")
    caplog.set_level(logging.WARNING, logger="airflow_joblib")
    inherited = backend == "multiprocessing" and where is unpickling_an_item
    expected = TABLE[where][backend not in PROCESSES or inherited]
    setting = Setting(backend, tmp_path, asynchronous)
    if isinstance(expected, Raises):
        with pytest.raises(expected.kind, match=re.escape(expected.text) or None) as caught:
            where(setting)
        assert type(caught.value) is expected.kind
        written = getattr(caught.value, "__notes__", [])
        assert [expected.note in line for line in written] == [True] if expected.note else not written
        assert expected.ran or not notes(tmp_path / "ran")
    else:
        assert where(setting) in (None, list(ITEMS))
        said = [line for line in caplog.messages if "a plain loop would have" not in line]
        assert any(expected.warns in line for line in said) if expected.warns else not said
    assert not worker_processes()
