"""Run a function in a process of its own for each file, some at a time, each with a limit of time.

::

    this process, which has loaded Airflow and has one thread
       └─ fork ─► child: load one file ─► its answer as JSON through a pipe ─► _exit
                    └─ hangs: killed with all it has started; exits or dies: no answer, and the exit code shows how
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import IO, TYPE_CHECKING, Any

from airflow_joblib.system import isolation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Outcome", "each_in_a_process"]

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call.

    Attributes:
        answer: What the function has returned, through JSON; None where it has not returned.
        trouble: Why it has not.
    """

    answer: Any
    trouble: str = ""


@dataclass(slots=True)
class _Child:
    key: str
    process: int
    answers: connection.Connection
    output: IO[bytes]
    until: float


def each_in_a_process(
    function: Callable[[str], Any], keys: Iterable[str], at_once: int, seconds: float
) -> Iterator[tuple[str, Outcome]]:
    """Yield what *function* returns for each of *keys*, as it comes.

    Args:
        function: Returns what JSON can hold.
        keys: Its arguments.
        at_once: Processes at a time.
        seconds: How long one may take.
    """
    waiting, running = list(keys)[::-1], list[_Child]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_start(function, waiting.pop(), time.monotonic() + seconds))
            first = min(child.until for child in running)
            connection.wait([child.answers for child in running], max(0.0, first - time.monotonic()))
            for child in [each for each in running if each.answers.poll() or time.monotonic() >= each.until]:
                running.remove(child)
                yield child.key, _end(child, seconds)
    finally:
        for child in running:
            _kill(child)


def _start(function: Callable[[str], Any], key: str, until: float) -> _Child:
    receiver, sender = connection.Pipe(duplex=False)
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        receiver.close()
        _run(function, key, sender, output)
    with suppress(OSError):  # it has done so itself, or has ended
        os.setpgid(process, process)
    sender.close()
    return _Child(key, process, receiver, output, until)


def _run(function: Callable[[str], Any], key: str, sender: connection.Connection, output: IO[bytes]) -> None:
    """Be the child: answer, and end without what would be done at exit."""
    code = 1
    try:
        isolation.end_with_parent()
        os.setpgid(0, 0)
        _redirect(output)
        sender.send_bytes(json.dumps(function(key)).encode())
        code = 0
    finally:
        os._exit(code)


def _redirect(output: IO[bytes]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - whatever the parent has in their places
    sys.stdout, sys.stderr = (
        open(number, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        for number in (1, 2)
    )


def _end(child: _Child, seconds: float) -> Outcome:
    """Take a child's answer, if it has given one, and see that it is gone."""
    if not child.answers.poll():
        _kill(child)
        return Outcome(None, f"it takes longer than {seconds:g} s")
    try:
        return Outcome(json.loads(child.answers.recv_bytes()))
    except (EOFError, OSError, ValueError):
        return Outcome(None, _how_it_ended(child))
    finally:
        _kill(child)


def _how_it_ended(child: _Child) -> str:
    with suppress(ChildProcessError):
        _, status = os.waitpid(child.process, 0)
        code = os.waitstatus_to_exitcode(status)
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"its process ends {how}{_last_line(child.output)}"
    return "its process ends"


def _last_line(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f", after {said[:_SHOWN]!r}" if said else ""


def _kill(child: _Child) -> None:
    """End a child with all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process, signal.SIGKILL)
    with suppress(ChildProcessError):  # it has been waited for
        os.waitpid(child.process, 0)
    child.answers.close()
    child.output.close()
