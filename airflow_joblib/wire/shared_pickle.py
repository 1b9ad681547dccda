"""What every worker needs, pickled once and laid once into memory that they share.

::

    object ── pack ──► Packed ── send ──► SharedMemory          one copy for all
                       pickle,              ▲        ▲
                       large buffers      Sent ── receive       each worker maps it, and loads from there

Pickle protocol 5 keeps the buffers of arrays and tables out of the pickle. A worker's arrays lie in the shared memory
itself, so they are read-only there, as those are that joblib maps. Small ones stay in the pickle: each worker has its
own, which it may write to. What maps a file already travels as the file's name.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.pickling.by_name import ByNamePickler
from airflow_joblib.pickling.pickler import Pickler, loads
from airflow_joblib.system.shared_memory import Place, SharedMemory, attach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_joblib.pickling.inherited import Inherited

__all__ = ["Packed", "Sent", "pack", "receive", "send", "share_above"]

#: What vector instructions and caches like the start of an array to be a multiple of, in bytes.
_ALIGNMENT = 64
#: joblib's bound, in bytes.
_SHARE_ABOVE = 1 << 20


class Packed(NamedTuple):
    """A pickled object. *buffers* still lie where the object has them: nothing is copied yet."""

    data: memoryview
    buffers: list[memoryview]


class Sent(NamedTuple):
    """Where a worker finds an object: a path, and the start and length of its pickle and of each buffer."""

    path: str
    places: tuple[tuple[int, int], ...]

    @property
    def file(self) -> int:
        """The descriptor of that memory which this process has; -1 for none."""
        return self.path.file if isinstance(self.path, Place) else -1

    def by(self, file: int) -> Sent:
        """Return the same for a process whose descriptor of that memory is *file*."""
        return self._replace(path=Place(self.path, file))


def share_above(backend_options: Mapping[str, Any]) -> int | None:
    """Return the bytes above which a buffer is shared: joblib's ``max_nbytes``; None to share none.

    Raises:
        InvalidOptionError: It is no size.
    """
    limit = backend_options.get("max_nbytes", _SHARE_ABOVE)
    if limit is None:
        return None
    with suppress(TypeError, ValueError):
        if isinstance(limit, str):
            from joblib.disk import memstr_to_bytes  # late: a worker needs none of joblib

            limit = memstr_to_bytes(limit)
        return int(limit)
    msg = f"backend_options['max_nbytes'] must be a number of bytes, a size such as '1M', or None, not {limit!r}."
    raise InvalidOptionError(msg)


def pack(
    obj: object,
    *,
    share_above: int | None = _SHARE_ABOVE,
    verify: bool = False,
    shared: Inherited | None = None,
) -> Packed:
    """Pickle *obj* for workers on this machine.

    Args:
        obj: What to send.
        share_above: Bytes above which a buffer is kept out of the pickle; None for never.
        verify: Load it where loading runs code of the user, from the buffers as they are, but read-only.
        shared: What those workers have from before a fork, which goes by name; None for fresh ones.

    Raises:
        Exception: Whatever pickling or loading raises.
    """
    buffers: list[memoryview] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if share_above is None or raw.nbytes <= share_above:
            return True
        buffers.append(raw.toreadonly())
        return False

    file = io.BytesIO()
    pickler = _SharingPickler(file, stays) if shared is None else _SharingByName(file, shared, stays)
    pickler.dump(obj)
    packed = Packed(memoryview(file.getvalue()), buffers)  # not getbuffer: the file may be collected before it
    if verify and pickler.unsure:
        loads(packed.data, buffers=buffers)
    return packed


class _SharingPickler(Pickler):
    """Gives every NumPy array that can have one a buffer of its own, or the name of the file that it maps."""

    def __init__(self, file: io.BytesIO, buffer_callback: Callable[[pickle.PickleBuffer], object]) -> None:
        super().__init__(file, buffer_callback=buffer_callback)
        self._arrays = _array_types()

    def reducer_override(self, obj: Any) -> Any:
        """Reduce *obj*, or leave it to pickle with ``NotImplemented``."""
        if type(obj) in self._arrays and not obj.dtype.hasobject:
            return _reduce_array(obj)
        return super().reducer_override(obj)


class _SharingByName(_SharingPickler, ByNamePickler):
    """Does the same for workers that have all from before a fork."""

    def __init__(
        self, file: io.BytesIO, shared: Inherited, buffer_callback: Callable[[pickle.PickleBuffer], object]
    ) -> None:
        ByNamePickler.__init__(self, file, shared, buffer_callback=buffer_callback)
        self._arrays = _array_types()


def _array_types() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    return () if numpy is None else (numpy.ndarray, numpy.memmap)


def _reduce_array(array: Any) -> Any:
    """Reduce an array as NumPy does, which would copy one with gaps, or a mapped one, into the pickle."""
    numpy = sys.modules["numpy"]
    origin = array
    while isinstance(origin.base, numpy.ndarray):
        origin = origin.base
    if array.size and _shows_a_file(origin):
        offset = array.ctypes.data - origin.ctypes.data
        mode = "r" if origin.mode == "r" else "r+"
        where = (origin.filename, mode, origin.offset, origin.nbytes, offset)
        return _map_file, (type(array), array.dtype, array.shape, array.strides, where)
    return numpy.asarray(array, order=None if array.flags.forc else "C").__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def _shows_a_file(array: Any) -> bool:
    """Return whether the array's values are those of a file: not where nobody else sees what was changed."""
    name = getattr(array, "filename", None) if isinstance(array, sys.modules["numpy"].memmap) else None
    return name is not None and array.mode != "c" and Path(name).exists()


def _map_file(
    kind: Any, dtype: Any, shape: tuple[int, ...], strides: tuple[int, ...], where: tuple[Any, str, int, int, int]
) -> Any:
    """Map a file again. Not joblib's function for it, which reads outside the file for an array that runs backwards."""
    import numpy as np

    filename, mode, start, size, offset = where
    whole: Any = np.memmap(filename, "u1", mode, start, (size,))  # type: ignore[call-overload]
    array = np.ndarray.__new__(kind, shape, dtype, whole, offset, strides)
    array.__array_finalize__(whole)  # gives a memmap its name and its mode
    return array


def send(*packed: Packed) -> tuple[SharedMemory, list[Sent]]:
    """Lay objects into memory that workers can reach until it is closed; return it with a handle for each object."""
    end = 0
    places = []
    for one in packed:
        starts = []
        for part in (one.data, *one.buffers):
            starts.append((end, part.nbytes))
            end += -(-part.nbytes // _ALIGNMENT) * _ALIGNMENT
        places.append(tuple(starts))
    shared = SharedMemory(end)
    try:
        _fill(shared, packed, places)
    except BaseException:
        shared.close()
        raise
    return shared, [Sent(shared.path, starts) for starts in places]


def _fill(shared: SharedMemory, packed: tuple[Packed, ...], places: list[tuple[tuple[int, int], ...]]) -> None:
    """Write through the file: it takes half the time that touching each page of a new mapping does."""
    shared.memory.close()  # a fork would inherit the mapping
    with open(os.dup(shared.path.file), "r+b") as file:  # noqa: PTH123 - it is no path
        for one, starts in zip(packed, places, strict=True):
            for part, (start, _) in zip((one.data, *one.buffers), starts, strict=True):
                file.seek(start)
                file.write(part)


def receive(sent: bytes | Sent) -> Any:
    """Load what was sent, in a worker. Large arrays are not copied: they keep the memory mapped, and are read-only.

    Raises:
        OSError: The task has ended, or closed the memory.
        Exception: Whatever loading raises.
    """
    if not isinstance(sent, Sent):
        return loads(sent)
    memory = memoryview(attach(sent.path))
    data, *buffers = (memory[start : start + size] for start, size in sent.places)
    return loads(data, buffers=buffers)
