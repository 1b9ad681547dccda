"""Memory that a task shares with its worker processes, and that ends with them.

A file in memory that has no name, so the kernel frees it when the last process that has it open has ended, however
that came about. A worker is given its descriptor when it starts: a fork has it, a fresh interpreter gets it by way of
multiprocessing. Nobody else can open it, unless they may look into one of these processes.

Where workers can't be given a descriptor, they need a path: the task's own entry in ``/proc``, or, where others may not
look into that, or there is no such thing, a file with a name, for this user alone, which the next run on this machine
removes should this process be killed.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from contextlib import suppress
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, Self

from airflow_joblib.system import isolation, leftovers

__all__ = ["Place", "SharedMemory", "attach", "opened"]

#: Where files lie in memory, as long as there is room for them.
_IN_MEMORY = "/dev/shm"  # noqa: S108 - the files there are made by mkstemp
#: Bytes that must be left there for others.
_SPARE = 16 << 20


class Place(str):
    """A path to shared memory, and the descriptor of it that this process has.

    Attributes:
        file: The descriptor; -1 for none.
    """

    __slots__ = ("file",)

    file: int

    def __new__(cls, path: str, file: int = -1) -> Self:
        """Make one of a path, and a descriptor if there is one."""
        place = super().__new__(cls, path)
        place.file = file
        return place

    def __reduce__(self) -> Any:
        """Bring a worker the descriptor too, if it is being started."""
        popen: Any = get_spawning_popen()
        if popen is None or self.file < 0:
            return str, (str(self),)
        return _arrived, (str(self), popen.DupFd(popen.duplicate_for_child(self.file)))


def _arrived(path: str, given: Any) -> Place:
    file = given.detach()
    os.set_inheritable(file, False)  # noqa: FBT003 - of what an item starts, nothing needs it
    return Place(path, file)


class SharedMemory:
    """Some bytes of memory, zeroed, that workers reach by a path. A context manager.

    Args:
        size: How many, at least one.
        by_path: Whether it must be reached by processes that this one can't give a descriptor.

    Attributes:
        path: What a worker calls :func:`attach` with.
        memory: The bytes.
    """

    def __init__(self, size: int, *, by_path: bool = False) -> None:
        self._named = False
        if hasattr(os, "memfd_create") and (isolation.open_to_others() or not by_path):
            file = os.memfd_create("airflow-joblib")
            self.path = Place(f"/proc/{os.getpid()}/fd/{file}", file)
        else:
            file, path = _file(size)
            self.path, self._named = Place(path, file), by_path
            if not by_path:
                Path(path).unlink()
        os.ftruncate(file, size)
        self.memory = mmap.mmap(file, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; whoever has attached it keeps it until they end."""
        if self._named:
            Path(self.path).unlink(missing_ok=True)
        with suppress(OSError):
            os.close(self.path.file)
        self.path.file = -1


def _file(size: int) -> tuple[int, str]:
    """Make a file of so many bytes, and see that there is room for all of them.

    Raises:
        OSError: There is not, or nobody may write there.
    """
    folder = ""
    try:
        folder = _folder_for(size)
        file, path = leftovers.make_file(folder)
        try:
            if hasattr(os, "posix_fallocate"):  # else a write to memory without room would end the process
                os.posix_fallocate(file, 0, size)
        except BaseException:
            os.close(file)
            Path(path).unlink(missing_ok=True)
            raise
    except OSError as error:
        places = " or ".join(dict.fromkeys([_IN_MEMORY, folder or "any temporary folder"]))
        msg = (
            f"What workers share ({size:,} bytes) can't be put into {places}: {error.strerror or error}. Free some "
            "room there, or set TMPDIR to a folder that can be written to and has room."
        )
        raise OSError(error.errno, msg) from error
    return file, path


def _folder_for(size: int) -> str:
    """Return where a file of *size* bytes lies in memory; the usual place, where there is no room."""
    try:
        room = os.statvfs(_IN_MEMORY)
    except OSError:
        return tempfile.gettempdir()
    fits = room.f_bavail * room.f_frsize > size + _SPARE and os.access(_IN_MEMORY, os.W_OK)
    return _IN_MEMORY if fits else tempfile.gettempdir()


def opened(path: str, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of one's own of what the task has made.

    Raises:
        OSError: The task has ended, or closed it; or it is no place that this process can reach.
    """
    if isinstance(path, Place) and path.file >= 0:
        return os.dup(path.file)
    return os.open(path, flags)


def attach(path: str, *, writable: bool = False) -> mmap.mmap:
    """Map in a worker what the task has made.

    Raises:
        OSError: The task has ended, or closed it; or it is no place that this process can reach.
    """
    file = opened(path, os.O_RDWR if writable else os.O_RDONLY)
    try:
        return mmap.mmap(file, 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    finally:
        os.close(file)
