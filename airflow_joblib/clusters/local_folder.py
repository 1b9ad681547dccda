"""The folder of a local cluster for its sockets, files and logs, which goes with the task, however that ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_joblib.clusters import local_sweeper
from airflow_joblib.system.isolated_start import process

if TYPE_CHECKING:
    from contextlib import ExitStack

__all__ = ["OwnFolder"]

#: Seconds for the sweeper to end processes and remove the folder.
_PATIENCE = 15.0


class OwnFolder:
    """A folder, and a process beside the task that removes it when the task ends.

    Args:
        engine: Of which engine it is.
        base: Where it is made.
        undo: Where its end is put.

    Attributes:
        path: Where it is.
        done: Whether the cluster has ended; what is left of it otherwise is killed.
    """

    def __init__(self, engine: str, base: str, undo: ExitStack) -> None:
        self.path = os.path.realpath(tempfile.mkdtemp(prefix=f"airflow-joblib-{engine}-", dir=base))
        undo.callback(shutil.rmtree, self.path, ignore_errors=True)
        self.done = False
        self._sweeper = subprocess.Popen(  # noqa: S603 - our own
            [sys.executable, "-I", "-S", local_sweeper.__file__, self.path, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=process.visible(os.environ),
        )
        undo.callback(self._leave)

    def _leave(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._sweeper.communicate(local_sweeper.DONE if self.done else local_sweeper.GIVEN_UP, _PATIENCE)
