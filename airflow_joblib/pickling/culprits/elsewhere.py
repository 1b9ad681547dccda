"""Where in a call, or an item, lies what a worker could not load, though the task could: a fresh process tries it.

::

    the search for culprits ── a part, pickled ──► fresh process: loads it
                            ◄── the error, if any ──┘     the same as the worker's? then it is entered, or blamed

Runs only after a run has failed by that. Only the worker's own error counts: whatever else goes wrong in a process that
is no worker names nobody.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from airflow_joblib.system import isolation
from airflow_joblib.system.isolated_start import process
from airflow_joblib.system.isolated_start.handover import read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_joblib.exceptions import Culprit
    from airflow_joblib.pickling.culprits.containers import Child

__all__ = ["find_elsewhere"]

_LENGTH = 8
#: Seconds for a fresh process to load a part.
_PATIENCE = 10.0


def find_elsewhere(roots: Iterable[Child], error: BaseException) -> Culprit | None:
    """Return the first object whose loading in a fresh process raises what it has raised in a worker.

    Args:
        roots: Values by the name that a path begins with.
        error: What it has raised there.
    """
    from airflow_joblib.pickling.culprits.search import find_all_culprits  # late: few runs fail by that

    try:
        with _Fresh(_text(error)) as fresh:
            return next(iter(find_all_culprits(roots, fresh.fails)), None)
    except Exception:  # noqa: BLE001 - the error itself is known, and more than a path is not to be had
        return None


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class _Fresh:
    """A process that loads parts. They are sent when nobody else can look into it any more."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted

    def __enter__(self) -> Self:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._line.settimeout(_PATIENCE)
            theirs.settimeout(None)
            self._pid = process.start(__name__, str(theirs.fileno()), keep=theirs.fileno())
        self.fails(pickle.dumps(sys.path))
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()
        with suppress(ChildProcessError, ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)  # what it loads may never end
            os.waitpid(self._pid, 0)

    def fails(self, data: bytes) -> bool:
        """Return whether to load a part raises what is looked for."""
        _send(self._line, data)
        return _receive(self._line).decode() == self._wanted


def _send(line: socket.socket, data: bytes) -> None:
    line.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def _receive(line: socket.socket) -> bytes:
    return read(line, int.from_bytes(read(line, _LENGTH), "big"))


class _Loader(pickle.Unpickler):
    """Loads a part, with nothing in the place of what has a path already."""

    def persistent_load(self, number: Any) -> object:
        return type("Elsewhere", (), {})() if number else None


def _serve(line: socket.socket) -> None:
    sys.path[:] = pickle.loads(_receive(line))  # noqa: S301 - from the task
    _send(line, b"")
    with suppress(EOFError):  # the search is over
        while True:
            _send(line, _tried(_receive(line)).encode(errors="replace"))


def _tried(data: bytes) -> str:
    try:
        _Loader(io.BytesIO(data)).load()
    except BaseException as error:  # noqa: BLE001 - of the user's code
        return _text(error)
    return ""


if __name__ == "__main__":
    isolation.end_with_parent()
    if sys.argv[1] == process.CLOSED:
        isolation.close_to_others()
    _serve(socket.socket(fileno=int(sys.argv[2])))
