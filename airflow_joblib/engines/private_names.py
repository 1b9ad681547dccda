"""Every private name of an engine that is relied on, and of what joins the engine to joblib."""

from __future__ import annotations

from importlib import import_module

from airflow_joblib.exceptions import ClusterError
from airflow_joblib.private_names import gone, has

__all__ = ["PLACES", "check"]

_RAY_POOL = "ray.util.multiprocessing.pool:Pool"
_CONTEXT, _SESSION = "pyspark:SparkContext", "pyspark.sql:SparkSession"
_SPARK_BACKEND = "joblibspark.backend:SparkDistributedBackend"

#: By engine: the distribution, and where it has the name.
PLACES = {
    "dask": (
        ("joblib", "joblib._dask:DaskDistributedBackend"),
        ("distributed", "distributed:Worker._instances"),
    ),
    "ray": (
        *(("ray", f"{_RAY_POOL}.{name}") for name in ("_init_ray", "_new_actor_entry", "_run_batch")),
        ("ray", f"{_RAY_POOL}._start_actor_pool"),
        ("ray", "ray._private.auto_init_hook:enable_auto_connect"),
        ("ray", "ray._private.ray_constants:ENABLE_RAY_CLUSTER"),
        ("ray", "ray._private.ray_constants:ENABLE_RAY_CLUSTERS_ENV_VAR"),
        ("ray", "ray._raylet:AuthenticationTokenLoader.instance"),
        ("ray", "ray._raylet:Config.initialize"),
    ),
    "spark": (
        *(("pyspark", f"{_CONTEXT}.{name}") for name in ("_active_spark_context", "_ensure_initialized", "_gateway")),
        ("pyspark", f"{_CONTEXT}._jvm"),
        ("pyspark", f"{_SESSION}._instantiatedSession"),
        ("joblibspark", f"{_SPARK_BACKEND}._get_pool"),
        ("joblibspark", f"{_SPARK_BACKEND}._is_support_stage_scheduling"),
    ),
}


def check(engine: str) -> None:
    """Check that an engine has what is known of it; it is loaded for that, as it will be anyway.

    Raises:
        ClusterError: It lacks a name; the message has that, and both versions.
    """
    for library, place in PLACES[engine]:
        module, _, name = place.partition(":")
        try:
            there = has(import_module(module), name)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise
            there = False
        if not there:
            raise ClusterError(str(gone(library, f"{module}.{name}")))
