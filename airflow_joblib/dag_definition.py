"""Whether a DAG is being defined, and what Airflow hands over for items. Imports no Airflow."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["CONTEXT", "dag_is_being_defined", "materialized"]

#: Loaded as soon as anything of Airflow's DAG authoring is; without it no DAG is being defined.
CONTEXT = "airflow.sdk.definitions._internal.contextmanager"


def dag_is_being_defined() -> bool:
    """Tell whether this code runs in the body of a DAG."""
    module = sys.modules.get(CONTEXT)
    return module is not None and module.DagContext.get_current() is not None


def materialized(items: Any) -> Any:
    """Take what a mapped task upstream returned in one request instead of one for each item."""
    if type(items).__name__ == "LazyXComSequence":
        return items[:]
    return items
