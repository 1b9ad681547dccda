"""Items and messages as text for logs, notes and records: secrets masked first, then cut short.

A text that is cut before it is masked may keep the first half of a secret, which no mask knows.
"""

from __future__ import annotations

import logging
import re
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.refusals import dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
_HIDDEN = "***"


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

    def item(self, item: object) -> str:
        """Return an item as text, cut short."""
        self._learn(item)
        if self._label is not None and (text := self._labelled(item, self._label)) is not None:
            return text
        try:
            return _cut(_Repr(self).repr(item), LONGEST_ITEM)
        except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the item's own exception
            return f"<{dotted_name(type(item))}>"

    def named(self, index: int, item: object) -> str:
        """Return what an item is called within a sentence: its position, and its label where it has one."""
        return f"item {index}" if self._label is None else f"item {index} ({self.item(item)})"

    def _labelled(self, item: object, label: Callable[[Any], object]) -> str | None:
        """Return an item's label; None, and one warning, where there is none to be had."""
        try:
            text = label(item)
        except Exception as error:  # noqa: BLE001 - a label must not be why an item, or the run, fails
            self._warn(f"raised {dotted_name(type(error))}")
        else:
            if isinstance(text, str):
                return _cut(" ".join(self.masked(text).split()), LONGEST_ITEM)
            self._warn(f"returned {dotted_name(type(text))}, which is no text")
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
        except Exception:  # noqa: BLE001 - a broken __str__ must not hide the rest
            return ""

    def masked(self, text: str) -> str:
        """Mask the secrets in a text, of which only the two ends are kept where it is very long."""
        if len(text) > 2 * _MASKED_END:
            return f"{self.masked(text[:_MASKED_END])}...{self.masked(text[-_MASKED_END:])}"
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
        return self._host.mask(text)

    def hides(self, name: object) -> bool:
        """Return whether what goes by this name is a secret."""
        return isinstance(name, str) and self._host.hides(name)

    def _learn(self, item: object) -> None:
        """Take note of the secrets in an item: its exception's message, and an object's own words, may have them."""
        with suppress(Exception):  # what an item's attributes do is not ours
            for value in islice(_under_names(item, self), _MOST_LOOKED_AT):
                if not isinstance(value, bool | None):
                    self._secrets.add(str(value))
                if isinstance(value, str):
                    self._host.keep_secret(value)
        self._secrets.discard("")


class _Repr(reprlib.Repr):
    """The text of an item: of containers some elements, of texts both ends."""

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self.maxstring = self.maxother = _LONGEST_PART
        self._shown = shown

    def repr_str(self, x: str, level: int) -> str:
        """Show a text."""
        return super().repr_str(self._shown.masked(x), level)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Show a mapping, without what goes by a secret's name."""
        if level <= 0 and x:
            return "{...}"
        pieces = [
            f"{self.repr1(key, level - 1)}: {self._value(key, value, level - 1)}"
            for key, value in islice(x.items(), self.maxdict)
        ]
        return "{" + ", ".join([*pieces, "..."] if len(x) > self.maxdict else pieces) + "}"

    def _value(self, key: object, value: object, level: int) -> str:
        return repr(_HIDDEN) if self._shown.hides(key) else self.repr1(value, level)

    def repr_instance(self, x: object, level: int) -> str:
        """Show an object in its own words."""
        del level
        return _ends(self._shown.masked(repr(x)), self.maxother)


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
