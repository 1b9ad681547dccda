"""A process that does nothing but fork workers on request, itself forked from the task as that stands.

It has one thread and holds no lock, so workers can be forked from it whatever the task has begun in the meantime. The
idea is that of :mod:`multiprocessing.forkserver`, but for the exec: what the task has loaded and set is there.

::

    task ── a byte, and descriptors: status, then the worker's ──► template ── fork ──► worker
      ▲                                                               │
      └──────────── status: the worker's pid, later its exit code ◄───┘
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import selectors
import signal
import socket
import stat
import struct
import threading
import warnings
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from airflow_joblib.exceptions import ParallelTaskError
from airflow_joblib.pickling.inherited import set_inherited_state
from airflow_joblib.pools.shutdown import ended
from airflow_joblib.system import isolation
from airflow_joblib.system.process_start import not_daemonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import ForkProcess

    from airflow_joblib.pickling.inherited import Inherited

__all__ = ["Template", "TemplateLostError"]

#: Signals for the task and its workers, which a kill of their group sends to the template as well.
_NOT_FOR_TEMPLATE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
#: A pid, an error number as a negative one, or an exit code.
_NUMBER = struct.Struct("q")
_MOST_DESCRIPTORS = 8


class TemplateLostError(ParallelTaskError):
    """The process that workers are forked from has ended. Strictly private."""


class Template:
    """The task's side of a template. Close it where the run ends.

    Args:
        given: What workers shall find that are forked from it.
        work: Called in each worker with the descriptors that :meth:`fork` was given.

    Attributes:
        given: As above.
        pid: Process id of the template.
    """

    def __init__(self, given: Inherited, work: Callable[..., None]) -> None:
        self.given = given
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._line, theirs):
            end.settimeout(None)  # whatever socket.setdefaulttimeout() was
        self._lock = threading.Lock()
        self._undo = ExitStack()
        with theirs, _quiet_fork() as quiet:
            arguments = (theirs, os.getpid(), given, work, quiet)
            self._process = multiprocessing.get_context("fork").Process(target=_serve, args=arguments)
            self._process.start()
        self.pid = self._process.pid
        self._undo.enter_context(given.shared())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fork(self, descriptors: Sequence[int]) -> tuple[int, int]:
        """Fork a worker, which gets *descriptors*; return its pid and a descriptor that becomes readable at its end.

        Raises:
            TemplateLostError: The template has ended.
            OSError: The machine has no room for another process.
        """
        status, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._line, [b"F"], [theirs, *descriptors])
                os.close(theirs)
                theirs = -1
                number = read_number(status)
        except OSError:  # it has ended
            number = None
        except BaseException:  # a signal's
            os.close(status)
            raise
        finally:
            if theirs >= 0:
                os.close(theirs)
        if number is None or number < 0:
            os.close(status)
            raise self._lost() if number is None else OSError(-number, os.strerror(-number))
        return number, status

    def _lost(self) -> TemplateLostError:
        ended([self._process.sentinel], 1)
        code = self._process.exitcode
        how = "" if code is None else f" (exit code {code})"
        return TemplateLostError(
            f"The process that the workers are forked from has ended{how}, so no more of them can be had. Something "
            "has killed it: the kernel for want of memory, or somebody. Results that were kept in a checkpoint stand."
        )

    def close(self) -> None:
        """End the template, and with it whatever workers it still has."""
        self._line.close()
        self._undo.close()
        if not ended([self._process.sentinel], 1):
            self._process.kill()
        self._process.join()
        with suppress(ValueError):  # its end has been waited for already, as with an ignored SIGCHLD, or by a handler
            self._process.close()


@contextmanager
def _quiet_fork() -> Iterator[warnings.catch_warnings]:
    """Fork without a signal in between, without a word of Python 3.12's on threads, and as a daemonic process too.

    Gives what keeps that word from being said, here until the block ends, and in the child until it ends it.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        quiet = warnings.catch_warnings()
        with quiet, not_daemonic():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield quiet
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def read_number(status: int) -> int | None:
    """Read a number from a pipe of a worker's status; None where there will be none."""
    data = os.read(status, _NUMBER.size)
    return _NUMBER.unpack(data)[0] if len(data) == _NUMBER.size else None


# In the template


def _serve(
    line: socket.socket, task: int, given: Inherited, work: Callable[..., None], quiet: warnings.catch_warnings
) -> None:
    _end_with_parent(task)
    set_inherited_state(given)
    _reset_signals()
    for number in _NOT_FOR_TEMPLATE:
        signal.signal(number, signal.SIG_IGN)
    let_go_of_sockets({line.fileno()})
    given.prepare()
    gc.freeze()  # else the first collection in a worker would copy every page that has an object
    server = _Server(line, work, quiet)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    server.run()
    os._exit(0)  # its own exit would flush and join what is the task's


class _Server:
    """The template's loop."""

    def __init__(self, line: socket.socket, work: Callable[..., None], quiet: warnings.catch_warnings) -> None:
        self._line = line
        self._work = work
        self._quiet = quiet
        self._me = os.getpid()
        self._workers: dict[ForkProcess, int] = {}
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(line, selectors.EVENT_READ, self._answer)
        self._selector.register(self._woken, selectors.EVENT_READ, self._bury)

    def run(self) -> None:
        """Serve until the task closes its line or ends."""
        while all([key.data() for key, _ in self._selector.select()]):  # noqa: C419 - each has to be called
            pass
        for process in self._workers:
            process.kill()

    def _bury(self) -> bool:
        """Tell the task of workers that have ended."""
        with suppress(BlockingIOError):
            os.read(self._woken, 1 << 16)
        for process in [each for each in self._workers if each.exitcode is not None]:
            status = self._workers.pop(process)
            _write_number(status, process.exitcode or 0)
            os.close(status)
        return True

    def _answer(self) -> bool:
        """Fork a worker; False where the task needs no more."""
        _, descriptors, _, _ = socket.recv_fds(self._line, 1, _MOST_DESCRIPTORS)
        if not descriptors:
            return False
        for each in descriptors:
            os.set_inheritable(each, False)  # noqa: FBT003 - of what an item starts, nothing needs it
        status, *given = descriptors
        process = multiprocessing.get_context("fork").Process(target=self._begin, args=(status, given))
        try:
            process.start()
        except OSError as error:
            _write_number(status, -(error.errno or 1))
            os.close(status)
        else:
            _write_number(status, process.pid or 0)
            self._workers[process] = status
        for each in given:
            os.close(each)
        return True

    def _begin(self, status: int, given: Sequence[int]) -> None:
        """Be a worker: have nothing of the template's, and of its own what a process has at its start."""
        _end_with_parent(self._me)
        self._quiet.__exit__(None, None, None)
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._line.close()
        for each in (self._woken, self._wake, status, *self._workers.values()):
            os.close(each)
        self._workers.clear()
        for number in (*_NOT_FOR_TEMPLATE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._work(*given)


def _write_number(status: int, number: int) -> None:
    with suppress(OSError):  # the task has gone on without this worker
        os.write(status, _NUMBER.pack(number))


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent's thread has ended that started it (prctl(2))."""
    isolation.end_with_parent()
    if os.getppid() != parent:  # it was faster
        os._exit(128 + signal.SIGKILL)


def _reset_signals() -> None:
    """Let signals do what they do in a new process, where Python code was to handle them: Airflow's, a user's."""
    for number in signal.valid_signals():
        with suppress(OSError, ValueError):
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


def let_go_of_sockets(keep: set[int]) -> None:
    """Put nothing in the place of every socket but *keep* and the standard streams.

    The task's line to its supervisor is one, and so are connections of the user's, which two processes can't share: to
    use one here fails, and leaves the task's as it is.
    """
    streams = {_identity(os.fstat(descriptor)) for descriptor in (1, 2) if _is_open(descriptor)}
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - keep - {nothing}:  # noqa: PTH208
        with suppress(OSError):  # the listing's own, which is closed by now
            found: Any = os.fstat(descriptor)
            if stat.S_ISSOCK(found.st_mode) and (descriptor == 0 or _identity(found) not in streams):
                os.dup2(nothing, descriptor, inheritable=os.get_inheritable(descriptor))
    os.close(nothing)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _is_open(descriptor: int) -> bool:
    with suppress(OSError):
        os.fstat(descriptor)
        return True
    return False
