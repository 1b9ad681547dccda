"""Threads of BLAS and the like: with all workers they fit the CPUs, however the workers are started."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_joblib import InvalidOptionError, parallel_task
from airflow_joblib.system import cpu_count, native_threads
from tests.unit.helpers import run_python

pytestmark = pytest.mark.slow

STARTS = [
    ("loky", "fork"),
    ("multiprocessing", "fork"),
    ("multiprocessing", "spawn"),
    ("multiprocessing", "forkserver"),
]

RUN = """
import multiprocessing, os, sys
import numpy
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend={backend!r}, backend_options={options!r})
def seen(item):
    import numpy
    from threadpoolctl import threadpool_info
    blas = {{library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}}
    return sorted(blas), os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    (found,) = set(map(repr, seen(range(4))))
    print(found)
"""


def by_day(*starts: tuple[str, str]) -> pytest.MarkDecorator:
    """Have these starts by day, and the others by night: what a worker is given takes the same way in each test."""
    night = (pytest.param(*start, marks=pytest.mark.nightly) for start in STARTS if start not in starts)
    return pytest.mark.parametrize(("backend", "method"), [*starts, *night])


def seen(backend: str, method: str, environment: dict[str, str] | None = None, **options: Any) -> str:
    code = RUN.format(backend=backend, method=method, options=options)
    return run_python(code, environment).stdout.strip()


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in native_threads._names():
        monkeypatch.delenv(name, raising=False)


@by_day(*STARTS[:3])
def test_fair_share(backend: str, method: str) -> None:
    """Each worker gets its share of the CPUs, in the environment and in NumPy's BLAS, which the task had loaded."""
    share = max(1, cpu_count.count() // 2)
    assert seen(backend, method) == f"([{share}], '{share}', '{share}')"


@by_day(*STARTS[:2])
def test_asked_for(backend: str, method: str) -> None:
    """``inner_max_num_threads`` beats the share and the environment, on multiprocessing too."""
    out = seen(backend, method, {"OMP_NUM_THREADS": "1"}, inner_max_num_threads=2)
    assert out == "([2], '2', '2')"


@by_day(STARTS[1])
def test_environment(backend: str, method: str) -> None:
    """What the user's environment says holds in the workers."""
    out = seen(backend, method, {"OMP_NUM_THREADS": "5", "OPENBLAS_NUM_THREADS": "2"})
    assert out == "([2], '5', '2')"


def test_what_is_loaded_later() -> None:
    """Libraries that were loaded since the last look are found, and none is looked for twice."""
    code = """
import sys
sys.modules["numpy"] = None  # joblib would import it
from airflow_joblib.system import native_threads as inner_threads
assert inner_threads.find() == []
assert "threadpoolctl" not in sys.modules
del sys.modules["numpy"]
import numpy
(found,) = inner_threads.find()
print(found.user_api, inner_threads.find()[0] is found)
"""
    assert run_python(code).stdout == "blas True\n"


def test_no_thread_before_it_is_used() -> None:
    """A forked worker whose libraries are bounded starts none of their threads, which would turn for 25 ms."""
    code = """
import os
import numpy
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="multiprocessing")
def threads(item):
    return len(os.listdir("/proc/self/task"))
print(threads(range(4)))
"""
    assert run_python(code, OPENBLAS_NUM_THREADS="4").stdout == "[1, 1, 1, 1]\n"


def test_less_stays_less() -> None:
    """A lower bound that the user's code set before the fork is not raised."""
    code = RUN.format(backend="multiprocessing", method="fork", options={}).replace(
        "    (found", "    import threadpoolctl; threadpoolctl.threadpool_limits(1)\n    (found"
    )
    assert run_python(code, OPENBLAS_NUM_THREADS="2").stdout.startswith("([1], ")


@pytest.mark.parametrize("wrong", [0, -1, "2", 1.5, True])
@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_wrong(backend: str, wrong: Any) -> None:
    """What is no number of threads is an error that says so."""
    with pytest.raises(InvalidOptionError, match="inner_max_num_threads"):
        parallel_task(n_jobs=2, backend=backend, backend_options={"inner_max_num_threads": wrong})(hex)([1, 2])
