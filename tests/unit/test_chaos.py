"""Everything goes wrong at once, and every result is right.

``CHAOS_SEEDS=10`` runs ten seeds; two are run where nothing is said.
"""

from __future__ import annotations

import os
import pickle
import random
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from airflow_joblib.checkpoint import Checkpoint, call_key, outside_airflow
from tests.harness.processes import marked
from tests.harness.settings import MARKER
from tests.unit.chaos_task import FAILS, ITEMS, WORKERS, fates, result
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = range(int(os.environ.get("CHAOS_SEEDS", "2")))
ROOT = Path(__file__).parents[2]
#: SIGKILLs of a worker in one try of the task.
WORKERS_KILLED = 4


class Chaos:
    """One run of the task-like process, in several tries."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        self.backend = ("multiprocessing", "loky")[seed % 2]
        self.random = random.Random(seed)
        self.marker = secrets.token_hex(8)
        (folder / "once").mkdir()

    def runs(self) -> Counter[int]:
        """How often each item has begun."""
        return self._counted("begun")

    def ends(self) -> Counter[int]:
        """How often each item has ended well."""
        return self._counted("ended")

    def _counted(self, name: str) -> Counter[int]:
        path = self.folder / name
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start a try of the task, with something that kills its workers now and then; it is over at the end."""
        command = [sys.executable, "-m", "tests.unit.chaos_task", str(self.seed), self.backend, str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            environment = {**os.environ, MARKER: self.marker, "PYTHONWARNINGS": "ignore"}
            task = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        killer = threading.Thread(target=self._kill_workers, args=(task,))
        killer.start()
        try:
            yield task
        finally:
            task.kill()
            task.wait()
            killer.join()

    def _kill_workers(self, task: subprocess.Popen[bytes]) -> None:
        """Kill a worker at random now and then: at most a few, each once many items have begun since."""
        for _ in range(WORKERS_KILLED):
            wanted = self.runs().total() + self.random.randrange(50, 300)
            while self.runs().total() < wanted:
                if task.poll() is not None:
                    return
                time.sleep(0.05)
            with suppress(psutil.Error, IndexError):
                self.random.choice(self._workers(task.pid)).kill()

    def _workers(self, task: int) -> list[psutil.Process]:
        """Return the worker processes: the task's children, or those of the template that it forks them from."""
        children = psutil.Process(task).children()
        if self.backend == "multiprocessing":
            return [worker for template in children for worker in template.children()]
        return [child for child in children if "tracker" not in " ".join(child.cmdline())]

    def kill_task(self, share: float) -> set[int]:
        """Kill the task once so many items have ended; gives those that its checkpoint holds at that moment."""
        with self.started() as task:
            wanted = share * ITEMS
            assert eventually(lambda: self.ends().total() >= wanted or task.poll() is not None, 400), self.log()
            task.kill()
            assert task.wait() == -9, self.log()
        assert eventually(lambda: not marked(self.marker), 60)
        return self.flushed()

    def flushed(self) -> set[int]:
        """Return the items that the checkpoint holds."""
        arguments = {"folder": str(self.folder), "seed": self.seed}
        folder = outside_airflow(str(self.folder / "kept"), "__main__.work")
        checkpoint = Checkpoint(folder, call_key("__main__.work", arguments))
        checkpoint.load()
        return {item for item in range(ITEMS) if checkpoint.take(item) is not None}

    def log(self) -> str:
        return (self.folder / "log").read_text()[-5000:]


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
def test_chaos(seed: int, tmp_path: Path) -> None:
    """Workers and the task are killed, items raise, hang and kill: every result is right, what was kept runs once."""
    chaos = Chaos(seed, tmp_path)
    kept: dict[int, int] = {}
    for share in (chaos.random.uniform(0.1, 0.4), chaos.random.uniform(0.5, 0.8)):
        flushed = chaos.kill_task(share)
        assert flushed >= kept.keys(), "what was kept is not lost"
        runs = chaos.runs()
        kept = {item: runs[item] for item in flushed}
    assert len(kept) > ITEMS // 10
    began = chaos.runs()
    with chaos.started() as task:
        assert task.wait(900) == 0, chaos.log()
    assert eventually(lambda: not marked(chaos.marker), 60)
    check(chaos, kept, began)
    assert not list((tmp_path / "kept").rglob("*.items"))


def check(chaos: Chaos, kept: dict[int, int], began: Counter[int]) -> None:
    """Compare with what must be."""
    results, records = pickle.loads((chaos.folder / "results").read_bytes())
    expected = fates(chaos.seed)
    failed = {record["index"]: record for record in records}
    runs, ends = chaos.runs(), chaos.ends()
    assert {item: runs[item] for item in kept} == kept, "what was finished and flushed runs no more"
    for item, fate in expected.items():
        if fate in FAILS:
            assert results[item] is None
            assert failed.pop(item)["error_type"].rpartition(".")[2] in FAILS[fate]
    for item, record in failed.items():  # the test itself has killed its worker twice
        assert record["error_type"].endswith("WorkerLostError"), record
        assert runs[item] - began[item] >= 2
    good = [item for item in range(ITEMS) if expected.get(item) not in FAILS and item not in failed]
    assert len(good) >= ITEMS - len(expected) - 3 * WORKERS_KILLED
    assert [results[item] for item in good] == [result(item) for item in good]
    assert all(ends[item] >= 1 for item in good)
    again = sum(times > 1 for item, times in ends.items() if item not in expected)
    assert again < ITEMS // 2, f"{again} finished items have run again, with {WORKERS} workers"
