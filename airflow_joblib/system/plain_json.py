"""JSON as the standard library makes and reads it, whatever a DAG file has put in the place of the functions of json.

A DAG file may set ``json.JSONEncoder.default`` or ``json.dumps`` for its own data. What passes between processes of a
run must not change with that, so this is a copy of the standard library's modules of its own.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dumps", "encoder", "loads"]


def _copy_of(name: str) -> Any:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - a module of the standard library
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_encoder, _decoder = _copy_of("json.encoder"), _copy_of("json.decoder")


def encoder(**options: Any) -> Callable[[object], str]:
    """Return a function that makes JSON, with the options of :class:`json.JSONEncoder`."""
    made: Callable[[object], str] = _encoder.JSONEncoder(**options).encode
    return made


def dumps(value: object, *, default: Callable[[object], object] | None = None) -> str:
    """Return a value as JSON; *default* makes something of what JSON has no word for.

    Raises:
        TypeError: JSON has no word for a part of it.
        ValueError: It contains itself.
    """
    return encoder(default=default)(value)


def loads(text: str | bytes) -> Any:
    """Return what JSON stands for.

    Raises:
        ValueError: It is no JSON.
    """
    return _decoder.JSONDecoder().decode(text.decode() if isinstance(text, bytes) else text)
