"""Items and messages as text for logs, notes and records: secrets masked first, then cut short.

A text that is cut before it is masked may keep the first half of a secret, which no mask knows.
"""

from __future__ import annotations

import logging
import re
import reprlib
import threading
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_joblib.fan_out.generated_reprs import parts_of, row_of
from airflow_joblib.pickling.refusals import dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_joblib.fan_out.generated_reprs import Part
    from airflow_joblib.fan_out.host import Host

__all__ = ["Shown"]

log = logging.getLogger("airflow_joblib")

#: Characters of an item, and of an exception's message, that are shown.
LONGEST_ITEM, LONGEST_MESSAGE = 300, 2000
#: Characters of one text within an item that are shown.
_LONGEST_PART = 100
#: Characters at either end of a text that are masked: what is far from both is cut anyway.
_MASKED_END = 1 << 16
#: What an item holds that is looked through for secrets, and how deep.
_MOST_LOOKED_AT, _DEEPEST = 1000, 8
#: Levels that a field lies below its object, so that few are gone through.
_DEPTH = 2
_HIDDEN = "***"
#: Secrets that the host learns of, each of which costs it a pattern of all; texts made here are masked anyway.
_MOST_REPORTED = 100
#: Control characters, which a database may refuse and a terminal would obey; tabs and ends of lines are kept.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


class Shown:
    """Shows items and messages with the secrets masked that *host* knows, by their values and by their names.

    Args:
        host: Knows what is a secret.
        label: Names an item in the place of its repr.
    """

    def __init__(self, host: Host, label: Callable[[Any], object] | None = None) -> None:
        self._host = host
        self._label = label
        self._warned = False
        self._secrets: set[str] = set()
        self._reported: set[str] = set()

    def item(self, item: object) -> str:
        """Return an item as text, cut short."""
        self._learn(item)
        if self._label is not None and (text := self._labelled(item, self._label)) is not None:
            return text
        try:
            return _cut(_plain(_Repr(self).repr(item)), LONGEST_ITEM)
        except BaseException as error:  # noqa: BLE001 - a broken __repr__ must not hide the item's own exception
            _raise_if_sent(error)
            return f"<{dotted_name(type(item))}>"

    def named(self, index: int, item: object) -> str:
        """Return what an item is called within a sentence: its position, and its label where it has one."""
        return f"item {index}" if self._label is None else f"item {index} ({self.item(item)})"

    def _labelled(self, item: object, label: Callable[[Any], object]) -> str | None:
        """Return an item's label; None, and one warning, where there is none to be had."""
        try:
            text = label(item)
        except BaseException as error:  # noqa: BLE001 - a label must not be why an item, or the run, fails
            _raise_if_sent(error)
            self._warn(f"raised {dotted_name(type(error))}")
        else:
            if isinstance(text, str) and (line := " ".join(self.masked(text).split())):
                return _cut(line, LONGEST_ITEM)
            what = "an empty text" if isinstance(text, str) else f"{dotted_name(type(text))}, which is no text"
            self._warn(f"returned {what}")
        return None

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("The label function %s; items that it can't name are shown by their repr.", what)

    def message(self, error: BaseException, item: object = None) -> str:
        """Return the text of an exception, cut short; *item* is what raised it, whose secrets it may have."""
        self._learn(item)
        try:
            return _cut(self.masked(str(error)), LONGEST_MESSAGE)
        except BaseException as broken:  # noqa: BLE001 - a broken __str__ must not hide the rest
            _raise_if_sent(broken)
            return ""

    def masked(self, text: str) -> str:
        """Mask the secrets in a text, of which only the two ends are kept where it is very long.

        What can't be stored or would do something to a terminal is escaped.
        """
        if len(text) > 2 * _MASKED_END:
            return f"{self.masked(text[:_MASKED_END])}...{self.masked(text[-_MASKED_END:])}"
        found = [secret for secret in list(self._secrets) if secret in text]  # far quicker than a pattern for each
        for secret in sorted(found, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
        return _plain(self._host.mask(text))

    def hides(self, name: object) -> bool:
        """Return whether what goes by this name is a secret."""
        return isinstance(name, str) and self._host.hides(name)

    def keep_secrets(self, item: object) -> None:
        """Have what an item hides masked wherever the task shows it: its exception leaves the run, or is logged."""
        self._learn(item, always=True)

    def _learn(self, item: object, *, always: bool = False) -> None:
        """Take note of the secrets in an item: its exception's message, and an object's own words, may have them."""
        with suppress(Exception):  # what an item's attributes do is not ours
            for value in islice(_under_names(item, self), _MOST_LOOKED_AT):
                texts = {text for text in _texts(value) if text}
                self._secrets |= texts
                if isinstance(value, str | bytes | bytearray):
                    self._report(texts, always=always)

    def _report(self, secrets: set[str], *, always: bool) -> None:
        for secret in secrets - self._reported:
            if always or len(self._reported) < _MOST_REPORTED:
                self._reported.add(secret)
                self._host.keep_secret(secret)


class _Repr(reprlib.Repr):
    """The text of an item: of containers some elements, of texts both ends."""

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self._inside: set[int] = set()
        self.maxstring = self.maxother = _LONGEST_PART
        self._shown = shown

    def repr_str(self, x: str, level: int) -> str:
        """Show a text."""
        return super().repr_str(self._shown.masked(x), level)

    def repr_bytes(self, x: bytes | bytearray, level: int) -> str:
        """Show bytes, of which a repr of all would take seconds where they are many."""
        del level
        few = x if len(x) <= 2 * _MASKED_END else x[:_MASKED_END] + x[-_MASKED_END:]
        return _ends(self._shown.masked(repr(few)), self.maxother)

    repr_bytearray = repr_bytes

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Show a mapping, without what goes by a secret's name."""
        if level <= 0 and x:
            return "{...}"
        pieces = [
            f"{self.repr1(key, level - 1)}: {self._value(key, value, level - 1)}"
            for key, value in islice(x.items(), self.maxdict)
        ]
        return "{" + ", ".join([*pieces, "..."] if len(x) > self.maxdict else pieces) + "}"

    def _value(self, key: object, value: object, level: int, shows: Callable[[Any], object] | None = None) -> str:
        if self._shown.hides(key):
            return repr(_HIDDEN)
        return (
            self.repr1(value, level) if shows is None else _ends(self._shown.masked(str(shows(value))), self.maxother)
        )

    def repr_instance(self, x: object, level: int) -> str:
        """Show an object in its own words."""
        if isinstance(x, str) and type(x).__repr__ is str.__repr__:
            return self.repr_str(str(x), level)
        if isinstance(x, bytes | bytearray) and type(x).__repr__ in (bytes.__repr__, bytearray.__repr__):
            return self.repr_bytes(x, level)
        if (row := row_of(x)) is not None:
            return self.repr_dict(row, level)
        text = repr(x) if (found := parts_of(x)) is None else self._of_parts(x, *found, level)
        return _ends(self._shown.masked(text), self.maxother)

    def _of_parts(self, x: object, name: str, parts: Sequence[Part], level: int) -> str:
        """Show an object as its own words do, but for what is long or deep in it."""
        if level <= 0 or id(x) in self._inside:
            return "..."
        self._inside.add(id(x))
        pieces = [f"{field}={self._value(field, value, level - _DEPTH, shows)}" for field, value, shows in parts]
        self._inside.discard(id(x))
        return f"{name}({', '.join(pieces)})"


def _texts(secret: object) -> tuple[str, ...]:
    """Return the texts that a secret may be shown as."""
    if isinstance(secret, bool | None):
        return ()
    if isinstance(secret, bytes | bytearray):
        return str(secret), secret.decode(errors="backslashreplace")
    return (str(secret),)


def _raise_if_sent(error: BaseException) -> None:
    """Raise what may come from a signal, such as the end of the task, rather than from what was called."""
    if not isinstance(error, Exception | SystemExit) and threading.current_thread() is threading.main_thread():
        raise error


def _plain(text: str) -> str:
    return text.translate(_CONTROLS).encode(errors="backslashreplace").decode()


def _under_names(item: object, shown: Shown) -> Iterator[object]:
    """Yield what an item has under names that hide it."""
    waiting: list[tuple[object, object, int]] = [("", item, 0)]
    for _ in range(_MOST_LOOKED_AT):
        if not waiting:
            return
        name, value, depth = waiting.pop()
        hidden = shown.hides(name)
        children = [] if depth >= _DEEPEST else [*islice(_named(value), _MOST_LOOKED_AT)]
        if hidden and not children:
            yield value
        waiting += [(name if hidden else key, child, depth + 1) for key, child in children]


def _named(value: object) -> Iterable[tuple[object, object]]:
    """Return what an object holds, with the names."""
    if isinstance(value, str | bytes | int | float | type | None):
        return ()
    if isinstance(value, Mapping):
        return value.items()
    fields = getattr(value, "_fields", None)
    if isinstance(value, tuple) and isinstance(fields, tuple):
        return zip(fields, value, strict=False)
    if isinstance(value, list | tuple | set | frozenset):
        return ((None, part) for part in value)
    if (row := row_of(value)) is not None:
        return row.items()
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    return [*getattr(value, "__dict__", {}).items(), *((name, getattr(value, name, None)) for name in slots)]


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _ends(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = (most - 3) // 2
    return f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
