"""Which names of its module code may look up without naming them as globals: in texts, or all of them."""

from __future__ import annotations

import functools
import re
from types import CodeType
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.own_modules.bytecode import names_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["asks_for_all", "words_in", "words_of"]

_WORD = re.compile(r"[^\W\d]\w*")
#: The longest text that is looked through: a longer one is data.
_LONGEST = 10_000

#: By what code looks up names that it makes up as it goes.
_ASKS = frozenset(
    {
        *("globals", "eval", "exec", "__import__", "import_module", "modules", "__globals__", "f_globals"),
        *("currentframe", "_getframe", "getmodule", "getmembers", "get_type_hints", "get_annotations", "eval_str"),
        *("pickle", "cloudpickle", "dill", "shelve", "query", "__subclasses__", "TypeAdapter", "validate_call"),
        *("resolve_types", "create_model"),
    }
)


@functools.lru_cache(maxsize=4096)
def words_of(code: CodeType) -> frozenset[str]:
    """Return every word in the texts of code, and of the functions that it defines, which may be names."""
    texts = [const for const in code.co_consts if type(const) is str]
    return words_in(texts).union(*(words_of(const) for const in code.co_consts if type(const) is CodeType))


def words_in(texts: Iterable[Any]) -> frozenset[str]:
    """Return the words of texts; of what is no text, none."""
    short = (text for text in texts if type(text) is str and len(text) < _LONGEST)
    return frozenset(word for text in short for word in _WORD.findall(text))


@functools.lru_cache(maxsize=4096)
def asks_for_all(code: CodeType) -> bool:
    """Return whether code may look up any name of its module: by ``globals()``, ``eval``, ``pickle`` and the like."""
    return not _ASKS.isdisjoint(names_of(code)) or not _ASKS.isdisjoint(_keywords(code))


def _keywords(code: CodeType) -> frozenset[str]:
    tuples = (const for const in code.co_consts if type(const) is tuple)
    return frozenset(each for const in tuples for each in const if type(each) is str)
