"""Chunks for mapped tasks: cut a list into lists, and join the lists of results into one, in order.

::

    paths ──► split ──► [[a, b], [c, d], [e]] ──► expand: one task instance each ──► join ──► one list
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeVar, overload

from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.fan_out.input_checks import check_items
from airflow_joblib.taskflow.airflow_internals import dag_is_being_defined, materialized

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_joblib.taskflow.dag.types import Upstream, XComArg

__all__ = ["join", "split"]

T = TypeVar("T")


@overload
def split(items: Upstream, *, size: int, **task_options: Any) -> XComArg: ...


@overload
def split(items: Upstream, *, into: int, **task_options: Any) -> XComArg: ...


@overload
def split(items: Iterable[T], *, size: int, **task_options: Any) -> list[list[T]]: ...


@overload
def split(items: Iterable[T], *, into: int, **task_options: Any) -> list[list[T]]: ...


def split(items: Any, *, size: int | None = None, into: int | None = None, **task_options: Any) -> Any:
    """Cut items into chunks: lists of neighbours, in order.

    While a DAG is being defined the call makes a task, whose XCom is the list of chunks; anywhere else it returns it.

    Args:
        items: A list, or anything else that can be iterated; in a DAG also the task upstream that returns it.
        size: Items of a chunk; the last one may have fewer.
        into: Number of chunks, as equal as can be; of fewer items as many chunks as items. Name this or *size*.
        **task_options: Options of the Airflow task, as ``task_id`` and ``pool``; of no effect outside a DAG.

    Raises:
        InvalidOptionError: Not exactly one of *size* and *into* is given, or it is no number above 0.
        TypeError: The items can't be taken one by one.
    """
    number = _number(size, into)
    if dag_is_being_defined():
        from airflow_joblib.taskflow.dag.helper_tasks import make_helper

        return make_helper(_split, task_options)(items, number, of_size=size is not None)
    return _split(items, number, of_size=size is not None)


@overload
def join(chunks: Upstream | Iterable[Upstream], **task_options: Any) -> XComArg: ...


@overload
def join(chunks: Iterable[Iterable[T]], **task_options: Any) -> list[T]: ...


def join(chunks: Any, **task_options: Any) -> Any:
    """Put the results of chunks into one list, in the order of the chunks.

    While a DAG is being defined the call makes a task, whose XCom is that list; anywhere else it returns it.

    Args:
        chunks: Lists of results; in a DAG also the mapped task upstream whose instances return them.
        **task_options: Options of the Airflow task, as ``task_id`` and ``pool``; of no effect outside a DAG.

    Raises:
        TypeError: A chunk is no list, so that it can't be joined.
    """
    if dag_is_being_defined():
        from airflow_joblib.taskflow.dag.helper_tasks import make_helper

        return make_helper(_join, task_options)(chunks)
    return _join(chunks)


def _number(size: object, into: object) -> int:
    given = {name: value for name, value in (("size", size), ("into", into)) if value is not None}
    if len(given) != 1:
        msg = "split() takes either size=, the items of a chunk, or into=, the number of chunks. Give one of the two."
        raise InvalidOptionError(msg)
    ((name, value),) = given.items()
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        msg = f"{name} must be a whole number above 0, not {value!r}."
        raise InvalidOptionError(msg)
    return value


def _split(items: Any, number: int, *, of_size: bool) -> list[list[Any]]:
    """Cut items into chunks of *number*, or into *number* chunks."""
    known = _listed(items, "items")
    if of_size:
        bounds = [*range(0, len(known), number), len(known)]
    else:
        count = min(number, len(known))
        bounds = [place * len(known) // max(1, count) for place in range(count + 1)]
    return [known[begin:end] for begin, end in itertools.pairwise(bounds)]


def _join(chunks: Any) -> list[Any]:
    """Put the items of all chunks into one list."""
    known = _listed(chunks, "chunks")
    return [item for place, chunk in enumerate(known) for item in _listed(chunk, f"chunks[{place}]")]


def _listed(items: Any, name: str) -> list[Any]:
    return list(check_items(materialized(items), name))
