"""Every private name of an engine that is relied on, and of what joins the engine to joblib."""

from __future__ import annotations

import re
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from airflow_joblib.exceptions import ClusterError
from airflow_joblib.system.internals import gone, has, missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PLACES", "check", "check_object", "java_as_known"]

_RAY_POOL, _RAY_ACTOR = "ray.util.multiprocessing.pool:Pool", "ray.util.multiprocessing.pool:PoolActor"
_CONTEXT, _SESSION = "pyspark:SparkContext", "pyspark.sql:SparkSession"
_SPARK_BACKEND = "joblibspark.backend:SparkDistributedBackend"

#: What Spark's bridge to Java returns for a method that is not there.
_NO_METHOD = re.compile(r"Method (\w+)\(.*?\) does not exist")

#: By engine: the distribution, and where it has the name.
PLACES = {
    "dask": (
        ("joblib", "joblib._dask:DaskDistributedBackend"),
        ("distributed", "distributed:Worker._instances"),
    ),
    "ray": (
        *(("ray", f"{_RAY_POOL}.{name}") for name in ("_init_ray", "_new_actor_entry", "_run_batch")),
        ("ray", f"{_RAY_POOL}._start_actor_pool"),
        *(("ray", f"{_RAY_ACTOR}.{name}") for name in ("ping", "run_batch")),
        ("ray", "ray.util.client:ray.is_connected"),
        ("ray", "ray.job_config:JobConfig"),
        ("ray", "ray._private.auto_init_hook:enable_auto_connect"),
        ("ray", "ray._private.ray_constants:ENABLE_RAY_CLUSTER"),
        ("ray", "ray._private.ray_constants:ENABLE_RAY_CLUSTERS_ENV_VAR"),
        ("ray", "ray._raylet:AuthenticationTokenLoader.instance"),
        ("ray", "ray._raylet:Config.initialize"),
    ),
    "spark": (
        *(("pyspark", f"{_CONTEXT}.{name}") for name in ("_active_spark_context", "_ensure_initialized", "_gateway")),
        ("pyspark", f"{_CONTEXT}._jvm"),
        *(("pyspark", f"{_SESSION}.{name}") for name in ("_activeSession", "_instantiatedSession")),
        ("pyspark", "pyspark.java_gateway:launch_gateway"),
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


def check_object(library: str, owner: object, names: Iterable[str], *, of: str) -> None:
    """Check the same of an object that there is only once the engine is in use.

    Args:
        library: Name of the distribution.
        owner: The object.
        names: What it must have, dotted.
        of: What the message calls the object.

    Raises:
        ClusterError: It lacks one.
    """
    if (name := missing(owner, names)) is not None:
        raise ClusterError(str(gone(library, f"{of}.{name}")))


@contextmanager
def java_as_known() -> Iterator[None]:
    """Report in one sentence what Spark's Java side lacks, of which only a call can show what it has.

    Raises:
        ClusterError: It lacks a method that is called.
    """
    try:
        yield
    except Exception as error:
        if found := _NO_METHOD.search(str(error)):
            raise ClusterError(str(gone("pyspark", f"method {found[1]} in Java"))) from error
        raise
