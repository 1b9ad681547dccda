"""Items and messages as text: masked, then cut short."""

from __future__ import annotations

import functools
import sys
import tracemalloc
from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest

from airflow_joblib.fan_out.host import Host
from airflow_joblib.fan_out.shown import LONGEST_ITEM, LONGEST_MESSAGE, Shown
from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2-" * 20


class Airflow(Host):
    """A host that knows one secret, and names like Airflow's."""

    def __init__(self) -> None:
        self.secrets = {SECRET}

    def hides(self, name: str) -> bool:
        return "password" in name.lower()

    def mask(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def keep_secret(self, secret: str) -> None:
        self.secrets.add(secret)


@pytest.fixture
def shown() -> Shown:
    return Shown(Airflow())


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (3, "3"),
        ("x" * 1000, f"'{'x' * 47}...{'x' * 48}'"),
        (list(range(1000)), "[0, 1, 2, 3, 4, 5, ...]"),
        ({n: n for n in range(9)}, "{0: 0, 1: 1, 2: 2, 3: 3, ...}"),
        (Unshowable(), f"<{__name__}.Unshowable>"),
    ],
    ids=["number", "long text", "list", "mapping", "broken repr"],
)
def test_item_is_cut_short(item: object, text: str, shown: Shown) -> None:
    """An item is shown as its ``repr``, cut short; a broken one hides nothing."""
    assert shown.item(item) == text


def test_nested_item_is_cut_short(shown: Shown) -> None:
    """However much is nested in an item, its text is short."""
    assert len(shown.item([[["x" * 90] * 6] * 6] * 6)) <= LONGEST_ITEM


@dataclass
class Login:
    user: str
    password: Any


class Own:
    __slots__ = ("db_password",)

    def __init__(self, password: str) -> None:
        self.db_password = password

    def __repr__(self) -> str:
        return f"Own of {self.db_password}"


class Pair(NamedTuple):
    name: str
    password: str


@dataclass
class Scan:
    name: str
    pages: Any
    checked: bool = True
    cache: Any = field(default=None, repr=False)


@attrs.define
class Sheet:
    name: str
    pages: Any
    checked: bool = True
    _size: Any = attrs.field(default=3, repr=lambda size: f"<{size}>")


class Page(NamedTuple):
    name: str
    pages: Any
    checked: bool = True


class Spoken(Scan):
    """A dataclass with words of its own."""

    def __repr__(self) -> str:
        return f"scan {self.name}"


@pytest.mark.parametrize(
    "item",
    [
        f"x{SECRET}y",
        ["a", {"b": f"x{SECRET}"}],
        {"password": "swordfish-9"},
        {"a": [{"b": {"Db_Password": "swordfish-9"}}]},
        {"password": {"inner": ["swordfish-9"]}},
        {"password": "no", "pin_password": 424242},
        Login("bob", "swordfish-9"),
        Login("bob", 424242),
        Own("swordfish-9"),
        Pair("bob", "swordfish-9"),
        Pair(f"{'x' * 99}{SECRET}", "swordfish-9"),
        Scan("a" * 90 + SECRET, [SECRET]),
        Sheet("a", 3, size=f"{'x' * 40}{SECRET}"),
        [Login("bob", {"x": "swordfish-9"})],
        "z" * 200_000 + SECRET,
        SECRET + "z" * 200_000,
    ],
    ids=lambda item: type(item).__name__,
)
def test_no_part_of_a_secret_is_shown(item: object, shown: Shown) -> None:
    """Secrets are masked before the text is cut: by their value, and by the name they have in mappings and objects."""
    text = shown.item(item)
    assert "***" in text
    assert not any(part in text for part in ("hunter", "unter2", "swordfish", "424242"))


@pytest.mark.parametrize("kind", [Scan, Sheet, Page])
def test_generated_repr(kind: Any, shown: Shown) -> None:
    """An object whose class has been given its ``repr`` is shown as by that one, which is never built whole."""
    for item in (kind("a", [1, "b"]), kind("a", kind("b", None)), [kind("a", {"b": 1.5})]):
        assert shown.item(item) == repr(item)
    short, long = kind("a", "x" * 300), kind("a", "x" * 50_000_000)
    tracemalloc.start()
    try:
        text = shown.item(long)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert text == shown.item(short)
    assert text == f"{repr(short)[:48]}...{repr(short)[-49:]}"


@pytest.mark.parametrize("kind", [Scan, Sheet, Page])
def test_few_parts_are_asked(kind: Any, shown: Shown) -> None:
    """However many parts an object's fields have, and whatever holds itself, a few of them are shown."""
    asked: list[None] = []

    class Part:
        def __repr__(self) -> str:
            asked.append(None)
            return "part"

    pages: list[Any] = [Part()] * 1_000_000
    assert shown.item(kind(pages, kind(pages, kind(pages, kind(pages, None))))).startswith(
        f"{kind.__name__}(name=[part"
    )
    assert len(asked) <= 100
    pages[0] = item = kind("a", pages)
    assert "[..., part, part" in shown.item(item)


def test_many_fields(shown: Shown) -> None:
    """Of an object with very many fields those are looked at that have room."""
    looked: list[str] = []

    class Looked:
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("field"):
                looked.append(name)
            return super().__getattribute__(name)

    names = [f"field{number}" for number in range(3000)]
    item = make_dataclass("Wide", names, bases=(Looked,))(*names)
    text = shown.item([item])
    assert text.startswith("[Wide(field0='field0', field1=")
    assert text.endswith("field2999='field2999')]")
    assert looked.count("field5") == 1
    assert "field1500" not in looked


class Wrapped:
    """What a class that is none of those may have."""

    @functools.wraps(Scan.__repr__)
    def __repr__(self) -> str:  # type: ignore[override]
        return "wrapped"


class Called:
    """Has in the place of a method something that can be called."""

    class Words:
        """Words of which nobody knows more."""

        __wrapped__ = 3

        def __call__(self) -> str:
            return "called"

    __repr__ = Words()


@pytest.mark.parametrize(
    ("item", "text"),
    [(Spoken("a", 3), "scan a"), (Wrapped(), "wrapped"), (Called(), "called")],
    ids=["own", "wrapped", "called"],
)
def test_words_of_its_own(item: object, text: str, shown: Shown) -> None:
    """An object that has words of its own is shown by them, whatever its class is derived from."""
    assert shown.item([item]) == f"[{text}]"


def test_message_of_an_item_with_a_secret(shown: Shown) -> None:
    """What an item's exception says of a secret that the item has is masked too."""
    item = {"user": "bob", "password": "swordfish-9"}
    assert shown.message(ValueError(f"bad: {item}"), item) == "bad: {'user': 'bob', 'password': '***'}"


def test_message_is_bounded(shown: Shown) -> None:
    """A message is masked, then cut short."""
    text = shown.message(ValueError("x" * (LONGEST_MESSAGE - 10) + SECRET + "y" * 10_000_000))
    assert len(text) == LONGEST_MESSAGE
    assert "hunter" not in text


def test_label(shown: Shown) -> None:
    """A label takes the place of the repr: one line, secrets masked, cut short; without one the position is enough."""
    labelled = Shown(Airflow(), lambda item: f"order\n {item['id']} {SECRET}{item['more']}")
    assert labelled.item({"id": 7, "more": ""}) == "order 7 ***"
    assert labelled.named(3, {"id": 7, "more": ""}) == "item 3 (order 7 ***)"
    assert shown.named(3, {"id": 7}) == "item 3"
    text = labelled.item({"id": 7, "more": "y" * 1000})
    assert len(text) == LONGEST_ITEM
    assert "hunter" not in text


def test_label_masks_what_its_item_hides() -> None:
    """What an item has under a secret's name is masked in its label too."""
    labelled = Shown(Airflow(), lambda item: f"{item['user']}:{item['password']}")
    assert labelled.item({"user": "bob", "password": "swordfish-9"}) == "bob:***"


@pytest.mark.parametrize(
    ("label", "what"),
    [
        (lambda item: item["name"], "raised KeyError"),
        (lambda item: item["id"], "returned int, which is no text"),
        (lambda item: None, "returned NoneType, which is no text"),
        (lambda item: " ", "returned an empty text"),
        (lambda item: sys.exit(3), "raised SystemExit"),
    ],
    ids=["raises", "no text", "nothing", "blank", "exits"],
)
def test_label_that_fails(label: Callable[[Any], Any], what: str, caplog: pytest.LogCaptureFixture) -> None:
    """A label that can't be had leaves the repr, with one warning for all items."""
    labelled = Shown(Airflow(), label)
    assert [labelled.item({"id": number}) for number in range(3)] == ["{'id': 0}", "{'id': 1}", "{'id': 2}"]
    assert caplog.messages == [f"The label function {what}; items that it can't name are shown by their repr."]


@pytest.mark.parametrize(
    ("text", "plain"),
    [("name\udce9", "name\\udce9"), ("a\x00b", "a\\x00b"), ("\x1b[31mred\x9b", "\\x1b[31mred\\x9b"), ("é\tß", "é\tß")],
    ids=["undecodable", "NUL", "terminal", "readable"],
)
def test_text_can_be_stored(text: str, plain: str, shown: Shown) -> None:
    """What no database takes, and what a terminal would obey, is escaped in labels, messages and an item's words."""

    class Item:
        def __repr__(self) -> str:
            return text

    assert Shown(Airflow(), lambda item: f"{item!r}|").item(Item()) == plain.replace("\t", " ") + "|"
    assert shown.item(Item()) == plain
    assert shown.message(ValueError(text)) == plain


class Blob(bytes):
    """Bytes by another name."""


@pytest.mark.parametrize("kind", [bytes, bytearray, Blob])
def test_many_bytes(kind: type[bytes], shown: Shown) -> None:
    """Of bytes the two ends are looked at, however many there are."""
    item = kind(b"a" + bytes(30_000_000) + b"z")
    began = clock.now()
    text = shown.item(item)
    assert clock.now() - began < 0.5
    assert len(text) <= 100
    assert "a" in text
    assert "z" in text


def test_secret_of_bytes() -> None:
    """A secret that is bytes is masked as the text that it holds, too."""
    labelled = Shown(Airflow(), lambda item: f"{item['user']}:{item['password'].decode()}")
    assert labelled.item({"user": "bob", "password": b"swordfish-9"}) == "bob:***"


def test_each_secret_is_handed_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow learns of a secret once, and of the first hundred, or those whose exception it sees; all are masked."""
    host, told = Airflow(), list[str]()
    monkeypatch.setattr(host, "keep_secret", told.append)
    shown = Shown(host)
    items = [{"password": f"swordfish-{number}-x"} for number in range(800)]
    for item in items * 2:
        assert "***" in shown.item(item)
        assert "swordfish" not in shown.message(ValueError(f"bad: {item}"), item)
    assert told == [item["password"] for item in items[:100]]
    shown.keep_secrets(items[700])
    assert told[100:] == ["swordfish-700-x"]


def test_outside_airflow() -> None:
    """Without Airflow nothing says what is a secret."""
    assert Shown(Host()).item({"password": "x"}) == "{'password': 'x'}"
