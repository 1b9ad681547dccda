"""The hint at ``over`` in the note of an item that failed: where its function got a whole list, or too little."""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from airflow_joblib.options.over import over_hint
from airflow_joblib.wire.call import parameters_by_name

if TYPE_CHECKING:
    from airflow_joblib.wire.call import Call

__all__ = ["hint_for"]

#: Errors, by name, of who is given a list where one value belongs; databases have their own.
_OF_WRONG_TYPE = frozenset({"AttributeError", "InterfaceError", "ProgrammingError", "TypeError"})
_MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: (.+)")


def hint_for(call: Call, error: BaseException, item: object, count: int) -> str:
    """Return what to add to the note of a failed item, with a blank before it; mostly nothing.

    Args:
        call: The call.
        error: What the item has raised.
        item: The item.
        count: Number of items, as far as they are known.
    """
    if call.over or not _OF_WRONG_TYPE & {kind.__name__ for kind in type(error).__mro__}:
        return ""
    parameters = parameters_by_name(call.function)
    shared = call.arguments()
    own = call.name or next((name for name in parameters if name not in shared), "")
    if own and (whole := _whole_lists(parameters, shared, count)):
        return f" Every item got the whole of {whole[0]!r}, which is as long as the items.{over_hint([own, *whole])}"
    missing = _MISSING.search(str(error)) if isinstance(error, TypeError) and _has_parts(item) else None
    names = [name for name in re.findall(r"'(\w+)'", missing[1]) if name != own] if missing else []
    return over_hint([own, *names]) if own and names else ""


def _whole_lists(parameters: Mapping[str, Parameter], shared: Mapping[str, Any], count: int) -> list[str]:
    required = [name for name, entry in parameters.items() if name in shared and entry.default is Parameter.empty]
    return [name for name in required if type(shared[name]) in {list, tuple} and len(shared[name]) == count > 1]


def _has_parts(item: object) -> bool:
    return isinstance(item, tuple | list | Mapping) and len(item) > 1
