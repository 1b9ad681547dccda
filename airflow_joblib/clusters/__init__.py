"""Clusters behind joblib: Dask, Ray and Spark, each in a module of its own that is imported only when needed.

::

    backend_options ──► connect ──► Engine: a joblib backend, and what joblib leaves to the engine
                           │
                           └── no address: the engine's own local cluster, for as long as the run takes

Each comes as an extra of the same name.

May import pools, what runs in a worker, and what lies below that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_joblib.clusters import engine_internals
from airflow_joblib.clusters.engine import require

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from airflow_joblib.clusters.engine import Engine

__all__ = ["connect"]

#: What has to be there for an engine.
_NEEDS = {"dask": ("dask", "distributed"), "ray": ("ray",), "spark": ("pyspark", "joblibspark")}


def connect(name: str, options: Mapping[str, Any], n_jobs: int) -> AbstractContextManager[Engine]:
    """Return a context manager that connects to a cluster, or starts a local one, and gives it up at the end.

    Args:
        name: ``dask``, ``ray`` or ``spark``.
        options: Where the cluster is and how to get in; the module of the engine lists which there are.
        n_jobs: Workers asked for: what a local cluster is made for.

    Raises:
        ClusterError: The extra is missing, or a version that this library doesn't know. Entered, it raises the same if
            the cluster can't be used.
        InvalidOptionError: Entered, it raises this for options that the engine doesn't know.
    """
    require(name, _NEEDS[name])
    engine_internals.check(name)
    module = import_module(f"{__name__}.{name}.engine")
    return module.connect(dict(options), n_jobs)  # type: ignore[no-any-return]
