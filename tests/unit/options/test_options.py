"""Options: what they accept, what they say about what they don't, and where their defaults come from."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib import InvalidOptionError, ParallelTaskError, parallel_task
from airflow_joblib.options.backends import backend_named
from airflow_joblib.options.options import (
    TASK_OPTIONS,
    Defaults,
    Options,
    environment,
    option_names,
    seconds,
    unknown_option,
)
from airflow_joblib.options.other_names import OTHER_NAMES
from tests.unit.helpers import named


def handle(item: int, shared: int = 1, resource: object = None) -> int:
    return item * shared


class Policy:
    """Of the shape of Airflow's retry policies."""

    def evaluate(self, exception: BaseException) -> None:
        """Decide about the tries of a task."""


VALID: list[dict[str, Any]] = [
    {"n_jobs": None},
    {"n_jobs": 1},
    {"n_jobs": 64},
    {"n_jobs": -1},
    {"n_jobs": -2},
    {"backend": None},
    {"backend": "loky"},
    {"backend": "multiprocessing"},
    {"backend": "threading"},
    {"backend": "sequential"},
    {"backend_options": None},
    {"backend_options": {"inner_max_num_threads": 1}},
    {"over": None},
    {"over": "shared"},
    {"over": ("item", "shared")},
    {"batch_size": "auto"},
    {"batch_size": 1},
    {"batch_size": 10_000},
    {"per_worker": None},
    {"per_worker": {}},
    {"per_worker": {"resource": dict}},
    {"per_worker": {"resource": lambda: 1}},
    {"per_worker": {"resource": lambda shared: shared}},
    {"per_worker": {"resource": lambda unknown=1: unknown}},
    {"per_worker": {"resource": lambda *args, **kwargs: (args, kwargs)}},
    {"item_retries": 0},
    {"item_retry_delay": 1},
    {"item_retry_on": OSError},
    {"item_retry_on": (OSError, LookupError)},
    {"item_retry_on": ()},
    {"item_retry_delay": timedelta(seconds=1)},
    {"item_timeout": None},
    {"max_failures": 0},
    {"max_failures": 0.0},
    {"checkpoint": False},
    {"fail_fast": False},
    {"rate_limit": None},
    {"rate_limit": 10},
    {"rate_limit": "100/min"},
    {"label": None},
    {"label": str},
    {"label": lambda item: item.name},
    {"retries": 3, "pool": "cpu", "task_id": "t", "execution_timeout": timedelta(minutes=1)},
    {"something_of_another_operator": 1},
]

INVALID: list[tuple[dict[str, Any], str]] = [
    *(({name: 2}, rf"no option '{name}' here\. Use n_jobs") for name in ("workers", "max_workers", "n_workers")),
    *(({name: 2}, rf"no option '{name}' here\. Use n_jobs") for name in ("num_workers", "processes", "n_threads")),
    *(({name: 2}, rf"no option '{name}' here\. Use batch_size") for name in ("chunksize", "chunk_size")),
    *(({name: "1M"}, rf"backend_options={{'{name}': ") for name in ("max_nbytes", "mmap_mode", "temp_folder")),
    *(({name: 1}, r"Use item_retries .* retries for .* the whole task") for name in ("retry", "max_retries")),
    *(({name: 1}, r"It isn't needed: ") for name in ("verbose", "return_as", "pre_dispatch")),
    *(({name: 1}, r'Use backend: "loky" for processes, "threading"') for name in ("prefer", "require")),
    ({"timeout": 3}, r"no option 'timeout' here\. Use item_timeout .* execution_timeout"),
    ({"initializer": 3}, r"no option 'initializer' here\. Use per_worker"),
    ({"n_jobs": 0}, r"n_jobs must be a whole number other than 0, not 0\. Give"),
    ({"n_jobs": "many"}, r"n_jobs must be a whole number other than 0, not 'many'"),
    ({"n_jobs": "2"}, r"n_jobs must be a whole number"),
    ({"n_jobs": True}, r"n_jobs must be a whole number"),
    ({"n_jobs": 1.5}, r"n_jobs must be a whole number"),
    ({"backend": "lokky"}, r"backend 'lokky' is not known\. Did you mean 'loky'\?"),
    ({"backend": "threads"}, r"Did you mean 'threading'"),
    ({"backend": "nothing like it"}, r"is not known\. Use one of auto, loky, multiprocessing, threading, sequential"),
    ({"backend": 3}, r"backend 3 is not known"),
    ({"backend": ["loky"]}, r"backend \['loky'\] is not known"),
    ({"backend": "task"}, r"'task' is not known\. Did you mean 'dask'\?"),
    ({"backend": "sparc"}, r"'sparc' is not known\. Did you mean 'spark'\?"),
    ({"backend_options": 3}, r"backend_options must be a mapping .* not int"),
    ({"backend_options": {1: 2}}, r"backend_options must be a mapping with strings as keys"),
    ({"over": 3}, r"over must be the name of the parameter"),
    ({"over": "not a name"}, r"over must be the name of the parameter"),
    ({"over": ""}, r"over must be the name of the parameter"),
    ({"over": "nowhere"}, r"over='nowhere' names no parameter of handle\(item"),
    ({"batch_size": 0}, r'batch_size must be a whole number of items above 0, or "auto", not 0'),
    ({"batch_size": -3}, r"batch_size must be"),
    ({"batch_size": "big"}, r"batch_size must be .* not 'big'"),
    ({"batch_size": True}, r"batch_size must be"),
    ({"batch_size": 1.0}, r"batch_size must be"),
    ({"batch_size": None}, r"batch_size must be"),
    ({"per_worker": {"resource": 3}}, r"per_worker\['resource'\] must be a function .* not int"),
    ({"per_worker": ["resource"]}, r"per_worker must be a mapping"),
    ({"per_worker": 3}, r"per_worker must be a mapping .* not int"),
    ({"per_worker": {"nowhere": dict}}, r"per_worker\['nowhere'\] is no parameter that handle\(item"),
    ({"per_worker": {"item": dict}}, r"per_worker\['item'\] and the items are two sources"),
    ({"per_worker": {"shared": dict}, "over": "shared"}, r"per_worker\['shared'\] and the items are two sources"),
    ({"per_worker": {"resource": lambda item: item}}, r"requires 'item', but .*: shared\."),
    ({"per_worker": {"resource": lambda other: other}}, r"requires 'other'"),
    (
        {"per_worker": {"resource": lambda shared: shared, "shared": dict}},
        r"per_worker\['resource'\] requires 'shared', but .* there are none",
    ),
    ({"item_retries": -1}, r"item_retries must be a whole number of at least 0"),
    ({"item_retries": 1.5}, r"item_retries must be a whole number"),
    ({"item_retry_delay": -1}, r"item_retry_delay must be a number of seconds of at least 0 or a timedelta, not -1"),
    ({"item_retry_delay": "1s"}, r"item_retry_delay must be a number of seconds"),
    ({"item_timeout": -3}, r"item_timeout must be a number of seconds above 0"),
    ({"item_timeout": 0}, r"item_timeout must be a number of seconds above 0"),
    ({"item_timeout": float("nan")}, r"item_timeout must be a number of seconds above 0"),
    ({"item_timeout": float("inf")}, r"item_timeout must be a number of seconds above 0"),
    ({"item_timeout": True}, r"item_timeout must be a number of seconds above 0"),
    ({"max_failures": -1}, r"max_failures must be a count of at least 0, or a fraction"),
    ({"max_failures": 1.0}, r"max_failures must be a count"),
    ({"max_failures": True}, r"max_failures must be a count"),
    ({"fail_fast": 0}, r"fail_fast must be True or False, not 0"),
    ({"stop_on_error": True}, r"Use max_failures .* fail_fast=False"),
    ({"checkpoint": 3}, r"checkpoint must be True, False or a path, not 3"),
    *(
        ({"rate_limit": value}, r'rate_limit must be a number of items a second, or a text such as "10/s"')
        for value in (0, -1, True, float("nan"), float("inf"), 1e9, 1e-6, "", "10", "/s", "10/", "10/fortnight", "-3/s")
    ),
    *(
        ({"rate_limit": value}, r"rate_limit must be .* \"100/min\"")
        for value in ("0/s", "1e3/s", "ten/s", "0.5/day", [3])
    ),
    *(
        ({name: 2}, rf"no option '{name}' here\. Use rate_limit")
        for name in ("qps", "max_per_second", "throttle", "rate")
    ),
    ({"label": "name"}, r"label must be a function that takes an item and returns a short text, not 'name'"),
    ({"item_label": str}, r"no option 'item_label' here\. Use label"),
    ({"n_job": 3}, r"There is no option 'n_job'\. Did you mean 'n_jobs'\?"),
    ({"njobs": 3}, r"Did you mean 'n_jobs'"),
    ({"bakend": "loky"}, r"Did you mean 'backend'"),
    ({"batchsize": 3}, r"Did you mean 'batch_size'"),
    ({"item_retry": 3}, r"Use item_retries for the tries of one item"),
    ({"item_retry_on": 3}, r"item_retry_on must be an exception type or a tuple of them"),
    ({"item_retry_on": KeyboardInterrupt}, r"each derived from Exception"),
    ({"item_retry_on": (ValueError, "builtins.OSError")}, r"item_retry_on must be an exception type"),
    ({"item_retry_on": Policy()}, r"item_retry_on can't be a Policy: .* Give it to the task as retry_policy, and here"),
    ({"retry_on": OSError}, r"Use item_retry_on"),
    ({"per_workers": {}}, r"Did you mean 'per_worker'"),
    ({"retires": 3}, r"There is no option 'retires'\. Did you mean 'retries'\?"),
    ({"pool_slot": 3}, r"Did you mean 'pool_slots'"),
    ({"taskid": "x"}, r"Did you mean 'task_id'"),
    ({"execution_timeot": 3}, r"Did you mean 'execution_timeout'"),
    ({"multiple_outputs": True}, r"multiple_outputs can't be used here"),
]


@pytest.mark.parametrize("options", VALID, ids=named)
def test_valid(options: dict[str, Any]) -> None:
    """Every option accepts what its documentation names."""
    assert parallel_task(**options)(handle).function is handle


@pytest.mark.parametrize(("options", "message"), INVALID, ids=named)
def test_invalid(options: dict[str, Any], message: str) -> None:
    """A bad option is an error when the function is decorated, that says what is wrong and what to give instead."""
    with pytest.raises(InvalidOptionError, match=message) as caught:
        parallel_task(**options)(handle)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ParallelTaskError)


@pytest.mark.parametrize(
    ("options", "message"), [case for case in INVALID if case[0].keys() <= {*option_names()}][:20], ids=named
)
def test_override_checks_too(options: dict[str, Any], message: str) -> None:
    """``override`` refuses what the decorator refuses, with the same words."""
    with pytest.raises(InvalidOptionError, match=message):
        parallel_task(handle).override(**options)


def test_override_keeps_the_rest() -> None:
    """``override`` changes what it names, of ours and of Airflow's, and leaves the task it is called on alone."""
    task = parallel_task(n_jobs=2, backend="threading", retries=1, pool="cpu")(handle)
    other = task.override(n_jobs=3, retries=5)
    assert (other.options.n_jobs, other.options.backend) == (3, "threading")
    assert other.task_options == {"retries": 5, "pool": "cpu"}
    assert (task.options.n_jobs, task.task_options) == (2, {"retries": 1, "pool": "cpu"})


def test_options_are_frozen() -> None:
    """Options can't be changed after they were checked, nor through the mappings they were made from."""
    given: dict[str, Any] = {"resource": dict}
    options = Options(per_worker=given)
    given["other"] = list
    assert dict(options.per_worker) == {"resource": dict}
    with pytest.raises(AttributeError):
        options.n_jobs = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        options.per_worker["x"] = dict  # type: ignore[index]


def test_unknown_options_are_the_operators() -> None:
    """An option that resembles none of the known ones is left to Airflow's operator to judge."""
    assert unknown_option("conn_id_of_something") is None
    assert unknown_option("retries") is None


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 3.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), (timedelta(milliseconds=5), 0.005)]
)
def test_seconds(value: object, expected: float) -> None:
    """A duration is seconds or a timedelta."""
    assert seconds("item_timeout", value) == expected


_names = st.from_regex(r"\A[a-z_][a-z0-9_]*\Z")
records = st.fixed_dictionaries(
    {},
    optional={
        "n_jobs": st.none() | st.integers().filter(bool),
        "backend": st.sampled_from([None, "loky", "multiprocessing", "threading", "sequential"]),
        "backend_options": st.dictionaries(st.text(), st.integers() | st.text()),
        "over": st.none() | _names | st.lists(_names, min_size=1, unique=True).map(tuple),
        "batch_size": st.just("auto") | st.integers(min_value=1),
        "per_worker": st.dictionaries(st.text(), st.sampled_from([dict, list, int, handle])),
    },
)


@given(records)
def test_round_trip(values: dict[str, Any]) -> None:
    """Options survive pickling and copying, and stay what was given."""
    options = Options(**values)
    assert pickle.loads(pickle.dumps(options)) == options
    assert copy.deepcopy(options) == options
    assert {name: getattr(options, name) for name in values} == values


@given(
    st.integers().filter(bool) | st.none(),
    st.sampled_from([None, "loky", "multiprocessing", "threading", "sequential"]),
    st.integers(min_value=0) | st.none(),
    st.sampled_from([None, True, False, "true", "false", "t", "f", 1, 0]),
    st.integers(min_value=0) | st.none(),
)
def test_defaults_round_trip(
    n_jobs: int | None, backend: str | None, memory_budget: int | None, record: str | int | None, days: int | None
) -> None:
    """The ``[joblib]`` section reads back what was written to it; what is unset or empty has a default."""
    written = {"n_jobs": n_jobs, "backend": backend, "memory_budget": memory_budget, "record": record}
    written["checkpoint_days"] = days
    read = Defaults.read(lambda name: None if written[name] is None else str(written[name]))
    assert read.n_jobs == (n_jobs or -1)
    assert read.backend == (backend or "auto")
    assert read.memory_budget == (256 if memory_budget is None else memory_budget)
    assert read.record is (record not in {False, "false", "f"})
    assert read.checkpoint_days == (14 if days is None else days)


def test_durations() -> None:
    """A duration is seconds or a timedelta, and becomes seconds; no wait before a retry is one, too."""
    loose: Any = {"item_retry_delay": timedelta(minutes=1), "item_timeout": timedelta(seconds=3)}
    options = Options(**loose)
    assert (options.item_retry_delay, options.item_timeout) == (60.0, 3.0)
    assert Options(item_retry_delay=0).item_retry_delay == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (10, 10.0),
        (0.5, 0.5),
        ("10/s", 10.0),
        ("90/min", 1.5),
        ("90/m", 1.5),
        ("5_400 / hour", 1.5),
        ("2.5/sec", 2.5),
        ("1/day", 1 / 86400),
    ],
)
def test_rates(given: Any, expected: float) -> None:
    """A rate is a number a second, or a number in a span of time, and becomes one a second."""
    assert Options(rate_limit=given).rate_limit == pytest.approx(expected)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside Airflow ``AIRFLOW__JOBLIB__*`` names the defaults."""
    assert Defaults.read(environment) == Defaults(-1, "auto", 256)
    monkeypatch.setenv("AIRFLOW__JOBLIB__N_JOBS", "3")
    monkeypatch.setenv("AIRFLOW__JOBLIB__BACKEND", "threading")
    monkeypatch.setenv("AIRFLOW__JOBLIB__MEMORY_BUDGET", "0")
    assert Defaults.read(environment) == Defaults(3, "threading", 0)
    monkeypatch.setenv("AIRFLOW__JOBLIB__N_JOBS", "")
    assert Defaults.read(environment).n_jobs == -1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("N_JOBS", "many", r"\[joblib\] n_jobs is 'many', which is not a worker count\. Set AIRFLOW__JOBLIB__N_JOBS"),
        ("N_JOBS", "0", r"\[joblib\] n_jobs is '0'"),
        ("N_JOBS", "1.5", r"\[joblib\] n_jobs is '1\.5'"),
        ("BACKEND", "lokky", r"\[joblib\] backend 'lokky' is not known\. Did you mean 'loky'"),
        ("BACKEND", "dusk", r"\[joblib\] backend 'dusk' is not known\. Did you mean 'dask'\?"),
        ("MEMORY_BUDGET", "-1", r"\[joblib\] memory_budget is '-1', which is not a size in MiB"),
        ("MEMORY_BUDGET", "much", r"\[joblib\] memory_budget is 'much'"),
        ("CHECKPOINT_DAYS", "-1", r"\[joblib\] checkpoint_days is '-1', which is not a number of days"),
        ("CHECKPOINT_DAYS", "a week", r"\[joblib\] checkpoint_days is 'a week'"),
        ("RECORD", "maybe", r"\[joblib\] record is 'maybe'\. Set AIRFLOW__JOBLIB__RECORD to True or False"),
    ],
)
def test_bad_environment(name: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad ``[joblib]`` option is an error when a run starts, that names it; nothing has run."""
    ran: list[int] = []
    task = parallel_task(ran.append)  # decorating reads no configuration
    monkeypatch.setenv(f"AIRFLOW__JOBLIB__{name}", text)
    with pytest.raises(InvalidOptionError, match=message):
        task([1, 2])
    assert not ran


def test_decorator_beats_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration holds where the decorator says nothing; its argument beats the configuration."""
    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.fan_out.run import _FanOut
    from airflow_joblib.taskflow import surroundings

    def run_of(**options: Any) -> tuple[str, int]:
        task = parallel_task(**options)(handle)
        _, call = task._signature.bind(([1],), {})
        run = _FanOut(call, task.options, surroundings.defaults(), Host())
        return run.pools.backend, run.worker_count.requested()

    monkeypatch.setenv("AIRFLOW__JOBLIB__N_JOBS", "3")
    monkeypatch.setenv("AIRFLOW__JOBLIB__BACKEND", "threading")
    assert run_of() == ("threading", 3)
    assert run_of(n_jobs=5) == ("threading", 5)
    assert run_of(backend="loky") == ("loky", 3)
    assert run_of(backend="sequential") == ("sequential", 1)


def test_processes_or_threads() -> None:
    """What needs pickling is known for every local backend."""
    assert [
        backend_named(name).processes for name in ("auto", "loky", "multiprocessing", "threading", "sequential")
    ] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_other_names_are_free() -> None:
    """No name that another library has for an option is one of ours, or of Airflow's tasks."""
    assert not OTHER_NAMES.keys() & {*option_names(), *TASK_OPTIONS}
