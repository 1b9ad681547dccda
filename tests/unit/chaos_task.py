"""A process like that of a task, for the chaos test: a fan-out with a checkpoint, in which everything goes wrong.

``python -m tests.unit.chaos_task SEED BACKEND FOLDER`` writes the results, and the records of the failed items, to
``FOLDER/results``. What goes wrong with an item follows from the seed.
"""

from __future__ import annotations

import logging
import os
import pickle
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from airflow_joblib import parallel_task
from airflow_joblib.fan_out.host import Host

ITEMS = 2000
WORKERS = 4
LIMIT = 1.5
#: How many items do what.
HOW_MANY = {
    "raises once": 60,
    "raises": 20,
    "raises what can't travel once": 20,
    "raises what can't travel": 10,
    "kills once": 3,
    "kills": 1,
    "hangs once": 4,
    "hangs": 1,
    "hangs and blocks": 1,
}
#: Those that fail for good, with the names of what their records may say.
FAILS = {
    "raises": ("LookupError",),
    "raises what can't travel": ("ParallelTaskError",),
    "kills": ("WorkerLostError",),
    "hangs": ("ItemTimeoutError", "WorkerLostError"),
    "hangs and blocks": ("ItemTimeoutError", "WorkerLostError"),
}


def fates(seed: int) -> dict[int, str]:
    """Return what goes wrong, by item."""
    names = [name for name, number in HOW_MANY.items() for _ in range(number)]
    return dict(zip(random.Random(seed).sample(range(ITEMS), len(names)), names, strict=True))


def result(item: int) -> tuple[int, str]:
    """Return what an item's result must be."""
    return item * item, f"item {item}"


class CannotTravelError(Exception):
    """Can't be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def is_first(folder: str, item: int) -> bool:
    """Tell, once, that an item has not been here before."""
    try:
        os.close(os.open(f"{folder}/once/{item}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def append(path: str, text: str) -> None:
    """Append to a file, whole, whoever else does."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, text.encode())
    os.close(file)


def suffer(fate: str) -> None:
    """Go wrong."""
    if fate == "raises":
        raise LookupError("no such thing")
    if fate == "raises what can't travel":
        raise CannotTravelError("locked")
    if fate == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "hangs and blocks":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(600)


def work(item: int, folder: str, seed: int) -> tuple[int, str]:
    """Handle one item, and note when it begins and when it ends."""
    append(f"{folder}/begun", f"{item}\n")
    time.sleep(0.008)  # so that the run takes some seconds, and the last one, which is not kept, is not all of it
    fate = fates(seed).get(item, "")
    if fate.endswith(" once"):
        if is_first(folder, item):
            suffer(fate.removesuffix(" once"))
    elif fate:
        suffer(fate)
    append(f"{folder}/ended", f"{item}\n")
    return result(item)


def main(seed: int, backend: str, folder: str) -> None:
    """Run them all."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    records: list[Any] = []
    Host.publish_failures = lambda _, found: records.extend(found)  # type: ignore[assignment, method-assign]
    fanned = parallel_task(
        n_jobs=WORKERS,
        backend=backend,
        item_retries=3,
        item_retry_delay=0.05,
        item_timeout=LIMIT,
        max_failures=ITEMS // 4,
        checkpoint=f"{folder}/kept",
    )(work)
    results = fanned(range(ITEMS), folder=folder, seed=seed)
    Path(folder, "results.new").write_bytes(pickle.dumps((results, records)))
    Path(folder, "results.new").rename(Path(folder, "results"))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
