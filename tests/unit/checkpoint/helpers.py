"""Checkpoints for tests to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_joblib.checkpoint import Checkpoint, call_key

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = call_key("shop.clean", {"width": 1})


def loaded(folder: Any, key: str = KEY) -> Checkpoint:
    checkpoint = Checkpoint(folder, key)
    checkpoint.load()
    return checkpoint


def keep(folder: Any, items: Sequence[Any], key: str = KEY) -> Checkpoint:
    """A checkpoint to which the items were added, with themselves as values."""
    checkpoint = loaded(folder, key)
    checkpoint.add(items, items)
    checkpoint.flush()
    return checkpoint
