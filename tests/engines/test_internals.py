"""Names of the engines that are no public API: what is said when one is gone."""

from __future__ import annotations

import importlib
import warnings
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_joblib import ClusterError, clusters
from airflow_joblib.clusters import engine_internals as of_engines
from tests.engines.helpers import MARKS
from tests.unit.helpers import EXTRAS, overlapping, task

pytestmark = MARKS

ENGINES = [(engine, *place) for engine, places in of_engines.PLACES.items() for place in places]


@pytest.mark.parametrize(("engine", "library", "place"), ENGINES)
def test_missing_name_of_an_engine(monkeypatch: pytest.MonkeyPatch, engine: str, library: str, place: str) -> None:
    """An engine that lacks a name is an error of one sentence before it is connected to; other backends go on."""
    for needed in EXTRAS[engine]:
        pytest.importorskip(needed)
    module_name, _, name = place.partition(":")
    first = name.partition(".")[0]
    module = importlib.import_module(module_name)
    monkeypatch.setattr(module, first, SimpleNamespace()) if "." in name else monkeypatch.delattr(module, first)
    with pytest.raises(ClusterError, match=rf"can't work with {library} [\w.]+, which has no ") as caught:
        clusters.connect(engine, {}, 1)
    assert place.partition(".")[0].partition(":")[0] in str(caught.value)
    assert ". " not in str(caught.value)
    assert task(abs, backend="threading").map([1, 2]) == [1, 2]


def test_settings_of_two_local_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has Dask's settings that it needs, though the other is there already; then they are as before."""
    config: Any = pytest.importorskip("dask.config")
    of_dask: Any = importlib.import_module("airflow_joblib.clusters.dask.engine")

    def start(*, local_directory: Any, **_: object) -> Any:
        local_directory()
        return config.get("distributed.worker.http.routes")

    monkeypatch.setattr(of_dask, "LocalCluster", start)
    before = deepcopy(config.config)
    assert overlapping(lambda wait: of_dask._local(1, wait)) == [[], []]
    assert config.config == before


def test_warnings_of_two_runs_on_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that hand over chunks by turns leave the process its filters of warnings."""
    joblibspark: Any = pytest.importorskip("joblibspark.backend")
    backend: Any = importlib.import_module("airflow_joblib.clusters.spark.backend")

    def hand_over(_: object, wait: Any, callback: object) -> None:
        del callback
        warnings.warn_explicit("of tags", UserWarning, "util.py", 1, "pyspark.util")
        wait()

    monkeypatch.setattr(joblibspark.SparkDistributedBackend, "apply_async", hand_over)
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as told:
        overlapping(lambda wait: object.__new__(backend.Backend).apply_async(wait))
        assert not told
        assert warnings.filters == before
