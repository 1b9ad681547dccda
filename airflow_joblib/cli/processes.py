"""Run a function in a process of its own for each file, some at a time, each with a limit of time.

::

    this process, which has loaded Airflow and has one thread
       └─ fork ─► keeper ─ fork ─► load one file ─► its answer as JSON through a pipe ─► _exit
                    └─ kills what the file has left; ends as the loader has ended, which shows what came of it
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

from airflow_joblib.cli.keeper import keep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Outcome", "each_in_a_process"]

#: Characters of a file's last words, and bytes of its output among which they are looked for.
_SHOWN, _TAIL = 200, 10_000
#: Seconds in which a keeper may end what a file has started.
_PATIENCE = 5.0


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
    keeper: int
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
            child.output.close()


def _start(function: Callable[[str], Any], key: str, until: float) -> _Child:
    receiver, sender = connection.Pipe(duplex=False)
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
    sys.stdout.flush()
    sys.stderr.flush()
    check = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        receiver.close()
        keep(lambda: _run(function, key, sender, output), check)
    with suppress(OSError):  # it has done so itself, or has ended
        os.setpgid(keeper, keeper)
    sender.close()
    return _Child(key, keeper, receiver, output, until)


def _run(function: Callable[[str], Any], key: str, sender: connection.Connection, output: IO[bytes]) -> None:
    """Answer, unless this is a copy that the function has forked."""
    own = os.getpid()
    _redirect(output)
    answer = json.dumps(function(key)).encode()
    if os.getpid() == own:
        sender.send_bytes(answer)


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
    answer, late = None, not child.answers.poll()
    with suppress(EOFError, OSError, ValueError):
        answer = None if late else Outcome(json.loads(child.answers.recv_bytes()))
    code = _kill(child)
    with child.output as output:
        if late:
            return Outcome(None, f"it takes longer than {seconds:g} s")
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return answer or Outcome(None, f"its process ends {how}{_last_line(output)}")


def _last_line(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL))
    lines = output.read().decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f", after {said[:_SHOWN]!r}" if said else ""


def _kill(child: _Child) -> int:
    """End a child with all that it has started, and return its exit code."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(child.keeper, signal.SIGTERM)
    with suppress(EOFError, OSError):
        child.answers.poll(_PATIENCE)  # for its end, since no other answer comes
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.keeper, signal.SIGKILL)
    _, status = os.waitpid(child.keeper, 0)
    child.answers.close()
    return os.waitstatus_to_exitcode(status)
