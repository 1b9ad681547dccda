"""An asynchronous function on a real cluster of each engine: its items run together in each worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.helpers import MARKS, on, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Source = Callable[[str], Any]

pytestmark = [*MARKS, pytest.mark.usefixtures("session")]


def test_results(source: Source, tmp_path: Path) -> None:
    """Results come in order, no more items than asked for run together in a worker, and a manager is left there."""
    module = source("""
import asyncio, os, threading
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

RUNNING = Counter()

@asynccontextmanager
async def client(folder):
    await asyncio.sleep(0)
    mine = asyncio.get_running_loop()
    yield mine
    assert asyncio.get_running_loop() is mine
    Path(folder, f"{os.getpid()}.{threading.get_ident()}").touch()

@parallel_task(concurrency=4, per_worker={"held": client}, **OPTIONS)
async def work(item, folder, held):
    here = os.getpid(), threading.get_ident()
    RUNNING[here] += 1
    together = RUNNING[here]
    assert asyncio.get_running_loop() is held
    await asyncio.sleep(0.01 * (item % 3))
    RUNNING[here] -= 1
    return 2 * item, together, here
""")
    results = module.work(range(60), folder=str(tmp_path))
    assert [result for result, _, _ in results] == [2 * item for item in range(60)]
    assert 1 < max(together for _, together, _ in results) <= 4
    assert {file.name for file in tmp_path.glob("*.[0-9]*")} == {f"{pid}.{thread}" for _, _, (pid, thread) in results}


def test_retries_failures_and_time_limits(source: Source) -> None:
    """Items are tried again, time out by cancellation, and fail for good, each by itself."""
    module = source("""
import asyncio, itertools

TRIES = {}

@parallel_task(item_retries=2, item_retry_delay=0.01, item_timeout=2, max_failures=2, label="item {}".format, **OPTIONS)
async def work(item):
    await asyncio.sleep(0.01)
    if item == 3:
        raise LookupError("always")
    if item == 5:
        await asyncio.sleep(60)
    return -item
""")
    run = module.work.override(item_retry_on=LookupError).run(range(12))
    assert run.results == [None if item in {3, 5} else -item for item in range(12)]
    kinds = {each["index"]: (each["item"], each["error_type"], each["tries"]) for each in run.failures}
    assert kinds == {
        3: ("item 3", "LookupError", 3),
        5: ("item 5", "airflow_joblib.exceptions.ItemTimeoutError", 1),
    }


def test_failure_cancels_what_runs(engine: str, source: Source, tmp_path: Path) -> None:
    """The first failure ends the run: what runs in any worker is cancelled, and its ``finally`` may await.

    Spark ends its other workers' processes, so there it is what runs beside the item that fails.
    """
    module = source("""
import asyncio
from pathlib import Path

@parallel_task(batch_size=2, **OPTIONS)
async def work(item, folder):
    if item == 0:
        while len(list(Path(folder).glob("*.began"))) < 3:
            await asyncio.sleep(0.01)
        raise LookupError("no luck")
    Path(folder, f"{item}.began").touch()
    try:
        await asyncio.sleep(120)
    finally:
        await asyncio.sleep(0.01)
        Path(folder, f"{item}.cancelled").touch()
""")
    with pytest.raises(LookupError, match="no luck") as caught:
        module.work(range(4), folder=str(tmp_path))
    assert "Raised by item 0 (0) on try 1" in caught.value.__notes__[0]
    cancelled = {"1.cancelled"} if engine == "spark" else {f"{item}.cancelled" for item in (1, 2, 3)}
    wait_until(lambda: cancelled <= {file.name for file in tmp_path.iterdir()}, 20)
    assert time.time() - (tmp_path / "1.began").stat().st_mtime < 60


def test_next_call_runs_the_rest(source: Source, tmp_path: Path) -> None:
    """A checkpoint keeps what has finished of items that run together."""
    module = source("""
import asyncio, os

@parallel_task(max_failures=1, **OPTIONS)
async def work(item, folder):
    with open(os.path.join(folder, "ran"), "a") as file:
        file.write(f"{item}\\n")
    await asyncio.sleep(0.01)
    if item == 30 and not os.path.exists(os.path.join(folder, "mended")):
        raise LookupError(item)
    return item
""")
    kept = module.work.override(checkpoint=str(tmp_path / "kept"))
    assert kept.map(range(40), folder=str(tmp_path)) == [None if item == 30 else item for item in range(40)]
    (tmp_path / "ran").unlink()
    (tmp_path / "mended").touch()
    assert kept.map(range(40), folder=str(tmp_path)) == list(range(40))
    assert (tmp_path / "ran").read_text().split() == ["30"]


def test_run_after_a_failure_is_right(source: Source, tmp_path: Path) -> None:
    """The checkpoint of a run that a failure has ended has each result in its place, and none of what was cancelled."""
    module = source("""
import asyncio
from pathlib import Path

@parallel_task(batch_size=4, concurrency=4, **OPTIONS)
async def work(item, folder):
    if item == 2 and not Path(folder, "mended").exists():
        await asyncio.sleep(0.2)
        raise LookupError(item)
    await asyncio.sleep(0.01 if item in {1, 3} else 30 * (not Path(folder, "mended").exists()))
    return 10 * item
""")
    kept = module.work.override(checkpoint=str(tmp_path / "kept"))
    with pytest.raises(LookupError):
        kept.map(range(4), folder=str(tmp_path))
    (tmp_path / "mended").touch()
    assert kept.map(range(4), folder=str(tmp_path)) == [0, 10, 20, 30]


@on("dask", "ray")
def test_next_chunk_joins(source: Source, tmp_path: Path) -> None:
    """On Dask and Ray items start as others end, whatever chunk those came with: one that lasts keeps none waiting."""
    module = source("""
import asyncio
from pathlib import Path

@parallel_task(batch_size=4, concurrency=4, item_timeout=60, **OPTIONS)
async def work(item, folder):
    if item < 8:  # of the first chunk of each worker
        while item % 4 == 0 and not Path(folder, "last").exists():
            await asyncio.sleep(0.01)
    elif item == 23:
        Path(folder, "last").touch()
    return item
""")
    assert module.work(range(24), folder=str(tmp_path)) == list(range(24))
