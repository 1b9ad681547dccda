"""What a unit test has every worker process do: write down that it is there, and be killed as it begins an item."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_joblib.worker.worker import current_item, put_around_items

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["InWorker", "begun", "kill_file"]

_WORKER, _KILL = "worker-", "kill-"


def kill_file(folder: Path, item: int) -> Path:
    """Return the file that stands for a worker to be killed: who removes it is the one."""
    return folder / f"{_KILL}{item}"


def begun(folder: Path) -> list[int]:
    """Return the process ids of all workers that were there, and of what they were forked from."""
    return [int(file.name.removeprefix(_WORKER)) for file in folder.glob(f"{_WORKER}*")]


@dataclass(frozen=True)
class InWorker:
    """The step that a worker process runs before its first item.

    Attributes:
        folder: Where workers write down that they are there, and where the files of :func:`kill_file` are.
        items: The items at whose beginning a worker is to be killed.
        test: Process id of the test.
    """

    folder: str
    items: frozenset[int]
    test: int = field(default_factory=os.getpid)

    def __call__(self) -> None:
        """Prepare this process."""
        if os.getpid() == self.test:  # a backend that runs "workers" in the test's own process
            return
        Path(self.folder, f"{_WORKER}{os.getpid()}").touch()
        if self._is_template(os.getppid()):
            Path(self.folder, f"{_WORKER}{os.getppid()}").touch()
        if self.items:
            put_around_items(self._killed)

    def _is_template(self, pid: int) -> bool:
        """Return whether a process was started by the test; what isn't has started the test, or adopts orphans."""
        with suppress(psutil.Error):
            return psutil.Process(pid).ppid() == self.test
        return False

    def _killed(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the function of one item, before which the process may be killed."""

        def run(item: Any) -> Any:
            index = current_item()
            if index in self.items and self._is_first(index):
                os.kill(os.getpid(), signal.SIGKILL)
            return function(item)

        return run

    def _is_first(self, item: int) -> bool:
        try:
            kill_file(Path(self.folder), item).unlink()
        except FileNotFoundError:  # another worker was killed
            return False
        return True
