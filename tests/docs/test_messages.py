"""Every message that the page of symptoms quotes is one that the library has."""

from __future__ import annotations

import ast
import re

import pytest

import airflow_joblib
from tests.docs.examples import ROOT

PAGE = ROOT / "docs" / "how-to" / "when-something-is-wrong.md"
#: What stands in a message for what differs from run to run, on the page and in the texts of the package.
GAP = "…"
_QUOTED = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_IN_TABLE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_EXCEPTION = re.compile(r"^([A-Z]\w+Error): ")
_FIELD = re.compile(r"%(?:\.\d+)?[sdrfg]|\{[^{}]*\}")
_PUNCTUATION = " .,:;("
#: Words that a piece of a message has at least on the average. A message may be put together of several texts.
_WORDS_A_PIECE = 1.5
_NO_MESSAGE = "the fan-out was done in no time at all"


def _messages() -> list[str]:
    page = PAGE.read_text(encoding="utf-8")
    return [line for block in _QUOTED.findall(page) for line in block.splitlines()] + _IN_TABLE.findall(page)


@pytest.fixture(scope="module")
def texts() -> str:
    """Every text of the package, a line each, with a gap for what is filled in."""
    found: list[str] = []
    for file in sorted((ROOT / "airflow_joblib").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(map(_part, node.values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(_FIELD.sub(GAP, text.replace("%%", "%")) for text in found)


def _part(value: ast.expr) -> str:
    return str(value.value) if isinstance(value, ast.Constant) else GAP


def _pieces(words: list[str], texts: str) -> list[str]:
    """Cut words into the longest pieces, from the left, that occur in the package; fails where a word does not."""
    pieces = []
    while words:
        ends = range(len(words), 0, -1)
        end = next((end for end in ends if " ".join(words[:end]).strip(_PUNCTUATION) in texts), 0)
        assert end, f"{words[0]!r} of {' '.join(words)!r} is in no message of the package"
        pieces.append(" ".join(words[:end]))
        words = words[end:]
    return pieces


@pytest.mark.parametrize("message", _messages())
def test_message_is_in_the_package(message: str, texts: str) -> None:
    """The fixed words of a quoted message occur in the package, and the exception that it names is one."""
    if (named := _EXCEPTION.match(message)) is not None:
        assert named[1] in {*airflow_joblib.__all__, "TypeError", "OSError"}
        message = message[named.end() :]
    fixed = [part.strip(_PUNCTUATION) for part in message.split(GAP)]
    pieces = [piece for part in fixed if part for piece in _pieces(part.split(), texts)]
    assert sum(len(piece.split()) for piece in pieces) >= _WORDS_A_PIECE * len(pieces), pieces


def test_page_quotes_messages() -> None:
    """The page quotes messages, each once."""
    quoted = _messages()
    assert len(quoted) > 30
    assert len(set(quoted)) == len(quoted)


def test_other_words_are_found_out(texts: str) -> None:
    """A message that the package has not is told by its words."""
    assert len(_pieces(_NO_MESSAGE.split(), texts)) > 4
