"""The bytes of finished items: one frame for each chunk, whole and right or not used at all.

::

    │ magic, version │ call │ id │ items │ payload's length and checksum │ header's checksum │ payload │ next frame ...
                                                             payload: digests │ number skipped, their places │ pickle
"""

from __future__ import annotations

import hashlib
import io
import pickle
import secrets
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_joblib.checkpoint.digests import SIZE, is_found, plain_module

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = ["Frame", "decode", "encode"]

MAGIC = b"ajlckpt"
VERSION = 1
_CHECK = 16
_HEADER = struct.Struct(f">{len(MAGIC)}sB24s12sIQ{_CHECK}s")
_HEAD = _HEADER.size + _CHECK


@dataclass(frozen=True, slots=True)
class Frame:
    """Finished items of one chunk.

    Attributes:
        identity: What differs between a frame and a copy of it.
        digests: One for each item.
        values: One for each item.
        skipped: Places of those that were skipped.
    """

    identity: bytes
    digests: list[bytes]
    values: Sequence[Any]
    skipped: frozenset[int]


def encode(key: str, digests: Sequence[bytes], values: Sequence[Any], skipped: Collection[int]) -> bytes:
    """Return the bytes of a frame.

    Raises:
        Exception: Whatever pickling a value raises.
    """
    places = struct.pack(f">{len(skipped) + 1}I", len(skipped), *sorted(skipped))
    payload = b"".join((*digests, places, _dumps(list(values))))
    fields = (VERSION, bytes.fromhex(key), secrets.token_bytes(12), len(digests), len(payload), _checksum(payload))
    header = _HEADER.pack(MAGIC, *fields)
    return header + _checksum(header) + payload


def decode(key: str, data: bytes) -> Iterator[Frame | str]:
    """Yield the frames of a file in order, and in words what is not a frame that can be used."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        end, found = _decode_one(key, view, at)
        yield found if isinstance(found, Frame) else f"{found} (from byte {at:,} of {len(data):,})"
        at = end


def _decode_one(key: str, view: memoryview, at: int) -> tuple[int, Frame | str]:
    """Return where the frame at *at* ends, which is the end of all where its header is no good, and the frame."""
    header = bytes(view[at : at + _HEADER.size])
    if trouble := _trouble_of_header(header, bytes(view[at + _HEADER.size : at + _HEAD])):
        return len(view), trouble
    _, _, call, identity, count, length, check = _HEADER.unpack(header)
    end = at + _HEAD + length
    payload = view[at + _HEAD : end]
    if len(payload) < length:
        return len(view), "it is incomplete"
    if call.hex() != key:
        return end, "it is of another call"
    return end, _payload(identity, count, payload) if _checksum(payload) == check else "it is corrupt"


def _trouble_of_header(header: bytes, check: bytes) -> str | None:
    if header[: len(MAGIC)] != MAGIC[: len(header)]:
        return "it is not of this library, or overwritten"
    if len(check) < _CHECK:
        return "it is incomplete"
    if _checksum(header) != check:
        return "it is corrupt"
    if (version := header[len(MAGIC)]) != VERSION:
        return f"it has format {version}, and this version of the library reads format {VERSION}"
    return None


def _payload(identity: bytes, count: int, payload: memoryview) -> Frame | str:
    try:
        places = struct.unpack_from(">I", payload, SIZE * count)[0]
        skipped = struct.unpack_from(f">{places}I", payload, SIZE * count + 4)
        values = _Unpickler(io.BytesIO(payload[SIZE * count + 4 + 4 * places :])).load()
    except Exception as error:  # noqa: BLE001 - unpickling runs code of the user
        return f"it can't be unpickled, {type(error).__name__}: {error}"
    digests = [bytes(payload[SIZE * place : SIZE * (place + 1)]) for place in range(count)]
    if not isinstance(values, list) or len(values) != count:
        return "it is corrupt"
    return Frame(identity, digests, values, frozenset(skipped))


def _checksum(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECK).digest()


def _dumps(values: list[Any]) -> bytes:
    """Pickle, with what can be found by its name as that name, so that it comes back as what it was."""
    try:
        return pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - the slower way raises its own
        return _dumps_by_value(values)


def _dumps_by_value(values: list[Any]) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        """Sends by value only what isn't found by its name: lambdas, local classes."""

        def reducer_override(self, obj: Any) -> Any:
            return NotImplemented if _is_found_by_name(obj) else super().reducer_override(obj)

    with io.BytesIO() as file:
        Pickler(file, pickle.HIGHEST_PROTOCOL).dump(values)
        return file.getvalue()


def _is_found_by_name(obj: Any) -> bool:
    """Return whether *obj* is a class or function that its module has under its name."""
    return type(obj).__name__ in {"function", "type"} and is_found(obj, obj.__module__, obj.__qualname__)


class _Unpickler(pickle.Unpickler):
    """Finds the names of a DAG file's module in the DAG file as it is loaded now, wherever it is."""

    def find_class(self, module: str, name: str) -> Any:
        plain = plain_module(module)
        if plain != module and module not in sys.modules:
            module = _loaded(plain) or module
        return super().find_class(module, name)


def _loaded(plain: str) -> str | None:
    """Return the one loaded DAG file of this name; None if there is none, or several."""
    found = [name for name in tuple(sys.modules) if name != plain and plain_module(name) == plain]
    return found[0] if len(found) == 1 else None
