"""A dead worker costs only what was unfinished, and an item that kills is found: however it kills, on every pool."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import re
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import WorkerLostError
from tests.unit.helpers import PROCESSES, PROCESSES_BY_DAY, eventually, note, notes, task, worker_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

processes = pytest.mark.parametrize("backend", PROCESSES)
processes_by_day = pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(3)


def crash() -> None:
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


ENDS = {kill: "was ended by SIGKILL", leave: "left with exit code 3", crash: "was ended by SIGSEGV"}


#: Each end with forked workers, one with fresh ones by day.
ENDINGS = [
    pytest.param(backend, end, id=f"{backend}-{end.__name__}", marks=[pytest.mark.nightly] if night else [])
    for backend in PROCESSES
    for end in ENDS
    for night in [backend == "loky" and end is not kill]
]


@pytest.mark.parametrize(("backend", "end"), ENDINGS)
class TestOneItem:
    """One item of many ends its worker."""

    def test_once(self, backend: str, end: Callable[[], None], tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
        """What was finished stands, what was not runs again in fresh workers, and all results are right."""
        ran = tmp_path / "ran"

        def work(item: int) -> int:
            note(ran, item)
            if item == 25 and notes(ran).count("25") == 1:
                end()
            return -item

        assert task(work, backend=backend, batch_size=1)(range(40)) == [-item for item in range(40)]
        runs = Counter(notes(ran))
        assert set(runs) == set(map(str, range(40)))
        assert runs["25"] == 2
        again = [item for item, times in runs.items() if times > 1]
        assert len(again) <= 4, "only what was in hand and before the workers"
        lost = [message for message in log.messages if message.startswith("work: a worker process")]
        assert len(lost) == 1
        assert f"a worker process of the backend {backend!r} {ENDS[end]} while it ran item 25; " in lost[0]

    def test_twice(self, backend: str, end: Callable[[], None], published: list[Any]) -> None:
        """An item that kills twice is a failed item, which says how the process ended; the others stand."""

        def work(item: int) -> int:
            if item == 5:
                end()
            return -item

        results = task(work, backend=backend, max_failures=1, item_retries=3)(range(20))
        assert results == [None if item == 5 else -item for item in range(20)]
        ((record,),) = published
        assert (record["index"], record["item"], record["tries"]) == (5, "5", 2)
        assert record["error_type"] == "airflow_joblib.exceptions.WorkerLostError"
        assert record["message"].startswith(
            f"Item 5 (5) ended its worker process for the second time: the process {ENDS[end]}."
        )


class TestMany:
    """Workers die again and again."""

    @processes
    @pytest.mark.nightly
    def test_every_tenth_item_kills(self, backend: str, tmp_path: Path, published: list[Any]) -> None:
        """The run finishes, finds each of them, and never has more workers at work than were asked for."""
        ran = tmp_path / "ran"

        def work(item: int) -> int:
            note(ran, f"{os.getpid()} {len(siblings())}")
            if item % 10 == 9:
                kill()
            time.sleep(0.02)
            return item

        def siblings() -> list[int]:
            """Return the living workers: children of the task that have begun an item."""
            known = {int(line.split()[0]) for line in notes(ran)}
            return [pid for pid in known if Path(f"/proc/{pid}").exists() and not is_zombie(pid)]

        def is_zombie(pid: int) -> bool:
            try:
                return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            except OSError:
                return True

        results = task(work, backend=backend, n_jobs=3, max_failures=5)(range(50))
        assert results == [None if item % 10 == 9 else item for item in range(50)]
        ((*records,),) = published
        assert [record["index"] for record in records] == [9, 19, 29, 39, 49]
        assert max(int(line.split()[1]) for line in notes(ran)) <= 3
        assert not worker_processes()

    @processes_by_day
    def test_all_workers_at_once(self, backend: str, tmp_path: Path) -> None:
        """Every worker dies with an item of its own at the same moment: each item is blamed for its own."""
        ran = tmp_path / "ran"

        def work(item: int) -> int:
            note(ran, item)
            if item in {0, 1} and notes(ran).count(str(item)) == 1:
                eventually(lambda: {"0", "1"} <= set(notes(ran)), 60)
                kill()
            return item

        assert task(work, backend=backend, batch_size=1)(range(10)) == list(range(10))

    @processes_by_day
    def test_killed_from_outside(self, backend: str, tmp_path: Path) -> None:
        """Workers that something else kills, in mid-item or between two, cost no item and no result."""
        ran = tmp_path / "ran"

        def work(item: int) -> int:
            note(ran, os.getpid())
            time.sleep(0.05)
            return item

        def items() -> Iterator[int]:
            for item in range(60):
                if item in {20, 40}:
                    os.kill(int(notes(ran)[-1]), signal.SIGKILL)
                yield item

        assert task(work, backend=backend, batch_size=1)(items()) == list(range(60))

    @processes_by_day
    def test_idle_worker_dies_while_items_wait(self, backend: str, tmp_path: Path) -> None:
        """A worker dies while nothing runs and an item waits for its next try: that one runs in a fresh worker."""
        ran, pids = tmp_path / "ran", tmp_path / "pids"

        def work(item: int) -> int:
            note(pids, os.getpid())
            note(ran, item)
            if item == 3 and notes(ran).count("3") == 1:
                raise LookupError
            return item

        from threading import Thread

        def kill_all() -> None:
            assert eventually(lambda: len(notes(ran)) == 4, 120)
            time.sleep(0.5)
            for pid in set(notes(pids)):
                os.kill(int(pid), signal.SIGKILL)

        killer = Thread(target=kill_all)
        killer.start()
        try:
            fanned = task(work, backend=backend, batch_size=1, item_retries=1, item_retry_delay=3)
            assert fanned(range(4)) == [0, 1, 2, 3]
        finally:
            killer.join()


class TestAtStart:
    """Workers that end before they run anything."""

    @processes_by_day
    def test_set_up_leaves(self, backend: str, tmp_path: Path) -> None:
        """A resource whose set-up ends the process ends the run: no item is to blame, and nothing goes on for ever."""
        begun = tmp_path / "begun"

        def connect() -> None:
            note(begun)
            os._exit(7)

        with pytest.raises(WorkerLostError, match="left with exit code 7") as caught:
            task(lambda item, conn: item, backend=backend, per_worker={"conn": connect})(range(10))
        assert (caught.value.index, caught.value.exit_code) == (-1, 7)
        assert "per_worker" in str(caught.value)
        assert len(notes(begun)) <= 12
        assert not worker_processes()

    @processes
    def test_loading_leaves(self, backend: str) -> None:
        """The same for a shared argument that ends the process when it is loaded, which no fork does."""
        if backend == "multiprocessing":
            assert task(lambda item, other: item, backend=backend)([1, 2], other=LeavesWhenLoaded()) == [1, 2]
            return
        with pytest.raises(WorkerLostError, match="left with exit code 9") as caught:
            task(lambda item, other: item, backend=backend)(range(10), other=LeavesWhenLoaded())
        assert caught.value.index == -1

    @processes_by_day
    def test_item_leaves_when_loaded(self, backend: str) -> None:
        """An item that ends the process when it is loaded ends the run, too; a fork has the first ones without that."""
        items: Any = [1, 2, LeavesWhenLoaded(), 4]
        if backend == "multiprocessing":
            assert task(lambda item: 1, backend=backend, batch_size=1)(items) == [1] * 4
            items = ItemsOneByOne(LeavesWhenLoaded)
        with pytest.raises(WorkerLostError, match="left with exit code 9"):
            task(lambda item: 1, backend=backend, batch_size=1)(items)


class ItemsOneByOne:
    """Items that nobody has before they are drawn, the tenth of a kind of its own."""

    def __init__(self, tenth: Callable[[], object]) -> None:
        self.tenth = tenth

    def __iter__(self) -> Iterator[object]:
        yield from range(9)
        yield self.tenth()
        yield 11


class LeavesWhenLoaded:
    """Ends the process that loads it, unless that is the one that made it: the check up front loads, too."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["home"] != os.getpid():
            os._exit(9)
        self.__dict__.update(state)


class TestMemory:
    """A limit of memory."""

    @processes_by_day
    def test_address_space(self, backend: str) -> None:
        """Where Python itself sees the limit the item has a MemoryError, and the worker lives."""

        def grow(item: int) -> int:
            if item == 3:
                _, most = resource.getrlimit(resource.RLIMIT_AS)
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), most))
                try:
                    return len(b"x" * (1 << 30))
                finally:
                    resource.setrlimit(resource.RLIMIT_AS, (most, most))
            return item

        assert task(grow, backend=backend, max_failures=1)(range(6)) == [0, 1, 2, None, 4, 5]

    @processes_by_day
    def test_cgroup(self, backend: str, published: list[Any], small_group: Path) -> None:
        """Where the kernel kills the worker the item has failed, and its error says the memory it last had."""

        def grow(item: int) -> int:
            if item == 3:
                (small_group / "cgroup.procs").write_text(str(os.getpid()))
                held = []
                while True:
                    held.append(b"x" * (1 << 20))
                    time.sleep(0.01)
            return item

        assert task(grow, backend=backend, max_failures=1)(range(6)) == [0, 1, 2, None, 4, 5]
        ((record,),) = published
        found = re.search(r"was ended by SIGKILL\. It used (\d+) MiB of memory when last seen", record["message"])
        assert found, record["message"]
        # A forked worker's memory counts what it shares with this process.
        assert 20 < int(found[1]) < 400 + psutil.Process().memory_info().rss // (1 << 20)

    @pytest.fixture
    def small_group(self) -> Iterator[Path]:
        """A control group whose processes may use 200 MiB."""
        root, limit = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        if not root.exists():
            root, limit = Path("/sys/fs/cgroup"), "memory.max"
        group = root / f"airflow-joblib-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(200 << 20))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        yield group
        assert eventually(lambda: removed(group), 30)


def removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return not group.exists()
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="pids of Linux")
@processes
def test_nothing_is_left(backend: str, tmp_path: Path) -> None:
    """Neither shared memory nor open files are left of pools that were lost."""

    def files() -> int:
        gc.collect()  # joblib's pools are cycles
        return len(list(Path("/proc/self/fd").iterdir()))

    def work(item: int) -> int:
        if item == 2 and not notes(tmp_path / "killed"):
            note(tmp_path / "killed")
            kill()
        return item

    task(work, backend=backend)(range(2))
    before = files()
    task(work, backend=backend)(range(4))  # two pools
    assert eventually(lambda: files() <= before + 1)
