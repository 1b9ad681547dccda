"""Functions of a DAG file that joblib runs by hand."""

from __future__ import annotations


def double(n: int) -> int:
    return 2 * n
