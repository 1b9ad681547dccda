"""Whether a result fits an XCom: all that Airflow does with it, from serializing it to loading it downstream.

::

    result ─► plain data, as most results are? ─► yes: it fits
                 └─ no ─► serialize ─► the encoders on the way ─► deserialize, as the task downstream will

The server refuses NaN, the supervisor's messages have integers of 64 bits and text that is UTF-8, PostgreSQL's JSON has
no NUL, and a task downstream loads what is nested less than 200 deep and only classes that are allowed. All of that
Airflow finds at the end, after all work, and names no item.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import reprlib
import sys
import uuid
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_joblib.pickling.by_value import DAG_FILE_PREFIX
from airflow_joblib.pickling.refusals import dotted_name
from airflow_joblib.system import plain_json
from airflow_joblib.taskflow import airflow_internals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

__all__ = ["serialized", "unfit"]

#: Levels of lists and mappings that a result may have: the server's answers are read to a depth of 200.
_DEEPEST = 190
#: Levels up to which a result can't be too deep: a tuple becomes two.
_SURELY_FLAT = _DEEPEST // 2
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
#: Packages whose classes Airflow itself loads: one that was loaded once always is.
_KNOWN = {*sys.stdlib_module_names, "numpy", "pandas", "pendulum"}

_to_json = plain_json.encoder(ensure_ascii=False, allow_nan=False)
_to_ascii_json = plain_json.encoder(allow_nan=False)
_to_message = msgspec.msgpack.Encoder().encode
_loaded: set[str] = set()
_alike: set[object] = set()

#: Steps of a path that are followed, and characters of it that are shown.
_MOST_STEPS, _LONGEST_PATH = 100, 400

_PLAIN_DATA = (
    "Return plain data (numbers, strings, lists, dicts), or store the result elsewhere in the function and return "
    "where it is."
)
_NO_NUL = "has a NUL character, which PostgreSQL's JSON can't have. Leave it out: text.replace('\\0', '')."
_NO_SURROGATE = (
    "has half of a surrogate pair, which UTF-8 has no bytes for. Return text.encode(errors='replace').decode(), or for "
    "the name of a file os.fsencode(name).hex()."
)
_TOO_LARGE = "has more than the 64 bits of an XCom's integers. Return it as a text instead: str(n)."
_NO_NUMBER = "is {}, which JSON has no number for and Airflow's server refuses. Return None or a text instead."
_OF_DAG_FILE = "its class is in the DAG file, whose classes Airflow does not load."
_TOO_DEEP = f"is nested deeper than {_DEEPEST} levels, which a task downstream can't read. Return less nested data."


def unfit(index: int, value: object) -> str | None:
    """Return why the result of an item can't be in an XCom: the path to what can't, its type, and a way out."""
    if _is_plain(value) or (why := _problem(value)) is None:
        return None
    path, culprit = ("", value) if why is _TOO_DEEP else _culprit(value)
    why = _problem(culprit) or why
    start = f"result of item {index}"
    return f"The {start} can't be in an XCom: {_short(start + path)} ({dotted_name(type(culprit))}) {why}"


def _short(path: str) -> str:
    half = _LONGEST_PATH // 2
    return path if len(path) <= _LONGEST_PATH else f"{path[:half]} ... {path[-half:]}"


def _is_plain(value: object) -> bool:
    """Return whether a value is data that surely fits, as most results are, which takes microseconds to know."""
    kind = type(value)
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    if kind is list or kind is tuple:
        return _are_plain_scalars(value) or _is_plain_json(value)  # type: ignore[arg-type]
    return _is_plain_json(value) if kind is dict else _is_like_one_before(value)


def _are_plain_scalars(values: Collection[Any]) -> bool:
    kinds = set(map(type, values))
    if kinds == {float}:
        return all(map(math.isfinite, values))
    if kinds == {int}:
        return bool(min(values) >= _SMALLEST and max(values) <= _LARGEST)
    return kinds == {str} and all(map(_is_text, values))


def _is_plain_json(value: object) -> bool:
    """Return whether a value is JSON that fits. Two encoders written in C look at it faster than a loop could."""
    try:
        text = _to_json(value)
        _to_message(value)
    except Exception:  # noqa: BLE001 - whatever encoders raise for what isn't JSON, which may fit all the same
        return False
    if any(mark in text for mark in _marks()):
        return False
    return text.count("[") + text.count("{") <= _SURELY_FLAT or _depth(value) <= _SURELY_FLAT


def _is_text(value: str) -> bool:
    return "\0" not in value and (value.isascii() or _problem_of_scalar(value) is None)


_SCALARS: dict[type, Callable[[Any], bool]] = {
    type(None): lambda _: True,
    bool: lambda _: True,
    int: lambda value: _SMALLEST <= value <= _LARGEST,
    float: math.isfinite,
    str: _is_text,
}


def _is_like_one_before(value: Any) -> bool:
    """Return whether a date or a number of NumPy fits since another one did: what is slow depends on its type alone."""
    return _likeness(value) in _alike and (not hasattr(value, "item") or _is_plain(value.item()))


def _likeness(value: object) -> tuple[type, type] | None:
    if isinstance(value, dt.date | uuid.UUID) or (type(value).__module__ == "numpy" and hasattr(value, "item")):
        return type(value), type(getattr(value, "tzinfo", None))
    return None


def _problem(value: object) -> str | None:
    """Return why a value doesn't fit, and what to do instead."""
    if isinstance(value, str | int | float) and (why := _problem_of_scalar(value)):
        return why
    serialize, deserialize = _serde()
    try:
        data = serialize(value)
        text = _to_ascii_json(data)
        _to_message(data)
    except Exception as error:  # noqa: BLE001 - serializers raise what they please
        return f"can't be serialized: {error}. {_way_out(value)}"
    if _NUL.search(text):
        return _NO_NUL
    if _depth(data) > _DEEPEST:
        return _TOO_DEEP
    classes = set(_class_names().findall(text))
    try:
        if not classes <= _loaded:
            deserialize(data)
    except Exception as error:  # noqa: BLE001 - classes are made anew, which runs code of the user
        why = _OF_DAG_FILE if type(value).__module__.startswith(DAG_FILE_PREFIX) else f"{error}."
        return f"can't be loaded by a task downstream: {why} {_way_out(value)}"
    _loaded.update(name for name in classes if name.partition(".")[0] in _KNOWN)
    _alike.add(_likeness(value))
    _alike.discard(None)
    return None


def serialized(value: object) -> Any:
    """Return the plain data that Airflow stores for a value."""
    return _serde()[0](value)


@cache
def _serde() -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return Airflow's own functions that make plain data of a value, and a value of plain data."""
    return airflow_internals.serialize, airflow_internals.deserialize


@cache
def _marks() -> tuple[str, ...]:
    """Return what takes a closer look: keys that Airflow keeps for itself, and a NUL in a text."""
    return f'"{airflow_internals.CLASSNAME}"', f'"{airflow_internals.SCHEMA_ID}"', "\\u0000"


@cache
def _class_names() -> re.Pattern[str]:
    return re.compile(f'"{re.escape(airflow_internals.CLASSNAME)}": "([^"]+)"')


def _problem_of_scalar(value: str | float) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return _NO_NUMBER.format(float(value))
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        return _TOO_LARGE
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return _NO_SURROGATE
        if "\0" in value:
            return _NO_NUL
    return None


def _way_out(value: object) -> str:
    """Return what to return instead of an object."""
    kind = type(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return "Return base64.b64encode(data).decode(), or store the data in the function and return where it is."
    if isinstance(value, Enum):
        return "Return its .value or its .name instead."
    if hasattr(kind, "model_dump"):
        return "Return its .model_dump(mode='json') instead."
    if is_dataclass(kind):
        return "Return dataclasses.asdict() of it instead."
    if hasattr(kind, "__attrs_attrs__"):
        return "Return attrs.asdict() of it instead."
    return _PLAIN_DATA


def _depth(data: object) -> int:
    """Return how many levels of lists and mappings there are, up to one too many."""
    levels, level = 0, [data]
    while level:
        level = [child for part in level if isinstance(part, dict | list | tuple) for child in _values(part)]
        levels += 1
        if levels > _DEEPEST:
            break
    return levels


def _values(part: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Any:
    return part.values() if isinstance(part, dict) else part


def _culprit(value: object) -> tuple[str, object]:
    """Follow a value that doesn't fit down to the part that doesn't; gives the path and the part."""
    path = ""
    for _ in range(_MOST_STEPS):
        found = next((pair for pair in _children(value) if not _is_plain(pair[1]) and _problem(pair[1])), None)
        if found is None:
            break
        path, value = f"{path} → {found[0]}", found[1]
    return path, value


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((f"key {reprlib.repr(key)}", key) for key in value if isinstance(key, str))
        yield from ((f"[{reprlib.repr(key)}]", child) for key, child in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{place}]", child) for place, child in enumerate(value))
    elif is_dataclass(value):
        yield from ((f".{field.name}", getattr(value, field.name, None)) for field in fields(value))
    else:
        names = getattr(type(value), "__attrs_attrs__", None) or getattr(type(value), "model_fields", None) or ()
        names = [getattr(name, "name", name) for name in names]
        yield from ((f".{name}", getattr(value, name, None)) for name in names)
