"""How loky's workers are started. Imports parts of loky, so it is imported once those are known to be there."""

from __future__ import annotations

import io
import os
import socket
import sys
from contextlib import ExitStack, suppress
from multiprocessing import util
from multiprocessing.context import set_spawning_popen
from typing import TYPE_CHECKING, Any

from joblib.externals.loky.backend import popen_loky_posix, reduction, resource_tracker, spawn

from airflow_joblib.system.isolated_start import handover, process, trackers

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["IsolatedPopen"]

#: What the new process runs.
_PROGRAM = "airflow_joblib.system.isolated_start.loky_worker"


def _close_all(files: Mapping[int, int]) -> None:
    for file in files.values():
        os.close(file)


class _Given:
    """A descriptor that a worker has by the same number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def detach(self) -> int:
        """Return it."""
        return self._number


class IsolatedPopen(popen_loky_posix.Popen):  # type: ignore[misc]
    """Starts a worker that gets what it needs when nobody else can look into it any more.

    Attributes:
        pid: Its process id.
        sentinel: Can be read when it has ended.
    """

    DupFd = _Given

    def __init__(self, process_obj: Any) -> None:  # not loky's own, which fails where a DAG file has closed a stream
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
        self.returncode = None
        self._start(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Note a descriptor that the worker needs by that number."""
        self._needed.append(fd)
        return fd

    def _start(self, process_obj: Any) -> None:
        self._needed: list[int] = []
        data, tracked = self._pickled(process_obj)
        with ExitStack() as undo:
            ours, theirs = socket.socketpair()
            for end in (ours, theirs):
                end.settimeout(None)  # whatever socket.setdefaulttimeout() was: the worker waits on its end as it is
            undo.callback(ours.close)
            with theirs:
                self.sentinel, alive = os.pipe()
                undo.callback(os.close, self.sentinel)
                files = {alive: alive}
                undo.callback(_close_all, files)
                files |= {number: os.dup(number) for number in {*self._needed, *tracked}}
                environment = {**os.environ, **(getattr(process_obj, "env", None) or {})}
                line = theirs.fileno()
                arguments = "--process-name", str(process_obj.name), "--pipe", str(line)
                self.pid = process.start(_PROGRAM, *arguments, keep=line, environment=environment)
            handover.hand_over(ours, environment, files, data)
            undo.pop_all()
        util.Finalize(self, os.close, (self.sentinel,))

    def _pickled(self, process_obj: Any) -> tuple[bytes, list[int]]:
        """Return what loky's program reads, and the descriptors by which it reaches the trackers."""
        tracker: Any = resource_tracker._resource_tracker.getfd()  # noqa: SLF001
        trackers.tracker("multiprocessing")
        file = io.BytesIO()
        set_spawning_popen(self)  # pyright: ignore[reportArgumentType] - typed as those of the standard library
        try:
            prepared: Any = spawn.get_preparation_data(process_obj.name, getattr(process_obj, "init_main_module", True))
            reduction.dump(prepared, file)
            reduction.dump(process_obj, file)
        finally:
            set_spawning_popen(None)
        return file.getvalue(), [tracker, *([prepared["mp_tracker_fd"]] if "mp_tracker_fd" in prepared else [])]
