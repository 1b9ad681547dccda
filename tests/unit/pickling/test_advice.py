"""Every known type gets its own reason and its own way out, and no message shows a value."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import csv
import ctypes
import hashlib
import io
import itertools
import logging
import multiprocessing
import os
import queue
import socket
import sqlite3
import ssl
import sys
import tempfile
import threading
import traceback
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.pickling import explain_items
from airflow_joblib.pickling.culprits.advice import WAY_OUT, Failure, advise, is_known
from airflow_joblib.pickling.known_types import KNOWN, REFUSED
from airflow_joblib.pickling.refusals import UnimportableError, is_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def named(dotted: str, *bases: type) -> type:
    """Make a class that goes by a dotted name."""
    module, _, name = dotted.rpartition(".")
    return type(name, bases or (object,), {"__module__": module})


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Close what a case has opened."""
    with ExitStack() as stack:
        yield stack


async def _coroutine() -> None: ...


def _frame() -> Any:
    return sys._getframe()


def _traceback() -> Any:
    try:
        raise ValueError
    except ValueError as error:
        return error.__traceback__


def _coroutine_object(stack: ExitStack) -> Any:
    coroutine = _coroutine()
    stack.callback(coroutine.close)
    return coroutine


HERE = Path(__file__)

# ruff: noqa: SIM115 - the stack closes what a case opens
OBJECTS: dict[str, tuple[Callable[[ExitStack], Any], str]] = {
    "connection": (lambda stack: _closed(stack, sqlite3.connect(":memory:")), "per_worker"),
    "cursor": (lambda stack: _closed(stack, sqlite3.connect(":memory:")).cursor(), "per_worker"),
    "text file": (lambda stack: stack.enter_context(HERE.open()), "Pass the path"),
    "binary file": (lambda stack: stack.enter_context(HERE.open("rb")), "Pass the path"),
    "temporary file": (lambda stack: stack.enter_context(tempfile.NamedTemporaryFile()), "Pass the path"),
    "spooled file": (lambda stack: stack.enter_context(tempfile.SpooledTemporaryFile()), "Pass the path"),
    "socket": (lambda stack: stack.enter_context(socket.socket()), "Pass the address"),
    "ssl": (lambda _: ssl.create_default_context(), "Create it inside the function"),
    "lock": (lambda _: threading.Lock(), "threading"),
    "rlock": (lambda _: threading.RLock(), "threading"),
    "condition": (lambda _: threading.Condition(), "threading"),
    "semaphore": (lambda _: threading.Semaphore(), "threading"),
    "event": (lambda _: threading.Event(), "threading"),
    "thread": (lambda _: threading.Thread(), "plain data"),
    "thread local": (lambda _: threading.local(), "plain data"),
    "context variable": (lambda _: contextvars.ContextVar[int]("x"), "plain data"),
    "queue": (lambda _: queue.Queue(), "Return the results"),
    "simple queue": (lambda _: queue.SimpleQueue(), "Return the results"),
    "executor": (lambda stack: stack.enter_context(concurrent.futures.ThreadPoolExecutor()), "Leave it out"),
    "future": (lambda _: concurrent.futures.Future(), "Leave it out"),
    "process lock": (lambda _: multiprocessing.get_context("spawn").Lock(), "Manager"),
    "event loop": (lambda stack: _closed(stack, asyncio.new_event_loop()), "asyncio.run"),
    "generator": (lambda _: (item for item in OBJECTS), "into a list"),
    "coroutine": (_coroutine_object, "into a list"),
    "csv reader": (lambda _: csv.reader([]), "Pass the path"),
    "directory listing": (lambda stack: stack.enter_context(os.scandir()), "Pass the path"),
    "hash": (lambda _: hashlib.sha256(), "plain data"),
    "pointer": (lambda _: ctypes.pointer(ctypes.c_int(3)), "plain data"),
    "handler": (lambda _: logging.StreamHandler(), "getLogger"),
    "weak reference": (lambda _: weakref.ref(threading.Thread), "the object itself"),
    "weak dictionary": (lambda _: weakref.WeakValueDictionary(), "a dict"),
    "frame": (lambda _: _frame(), "traceback.format_exception"),
    "traceback": (lambda _: _traceback(), "traceback.format_exception"),
}


def _closed(stack: ExitStack, resource: Any) -> Any:
    stack.callback(resource.close)
    return resource


@pytest.mark.parametrize("name", OBJECTS)
def test_own_advice(name: str, closing: ExitStack) -> None:
    """A real object of a known type is blamed itself, not the lock inside it, and told what to do."""
    make, advice = OBJECTS[name]
    value = make(closing)
    (culprit,) = explain_items([{"x": value}], [0])
    assert culprit.path == "item 0 → ['x']"
    assert advice in culprit.advice
    assert culprit.advice != WAY_OUT


FAILED = Failure(TypeError("correct-horse-battery-staple"))

NAMED = {
    "psycopg2.extensions.connection": "per_worker",
    "psycopg.Cursor": "per_worker",
    "pymysql.connections.Connection": "per_worker",
    "MySQLdb.connections.Connection": "per_worker",
    "oracledb.connection.Connection": "per_worker",
    "pyodbc.Connection": "per_worker",
    "_duckdb.DuckDBPyConnection": "per_worker",
    "asyncpg.connection.Connection": "per_worker",
    "pymongo.synchronous.mongo_client.MongoClient": "per_worker",
    "redis.client.Redis": "per_worker",
    "sqlalchemy.engine.base.Engine": "Pass the URL",
    "sqlalchemy.orm.session.Session": "Pass the URL",
    "sqlite3.Row": "dict(row)",
    "httpx.Client": "Create one in each worker",
    "aiohttp.client.ClientSession": "Create one in each worker",
    "urllib3.poolmanager.PoolManager": "Create one in each worker",
    "boto3.session.Session": "Create one in each worker",
    "botocore.client.S3": "Create one in each worker",
    "google.cloud.storage.client.Client": "Create one in each worker",
    "h5py._hl.files.File": "Pass the path or the plain data",
    "netCDF4._netCDF4.Dataset": "Pass the path or the plain data",
    "lxml.etree._Element": "Pass the path or the plain data",
    "cv2.VideoCapture": "Pass the path or the plain data",
    "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance": "run_id",
    "airflow.sdk.definitions.dag.DAG": "run_id",
    "airflow.sdk.bases.operator.BaseOperator": "run_id",
    "airflow.sdk.definitions.mappedoperator.MappedOperator": "run_id",
    "airflow.sdk.execution_time.context.OutletEventAccessors": "run_id",
    "airflow.sdk.definitions.xcom_arg.XComArg": "as an argument",
    "airflow.sdk.execution_time.lazy_sequence.LazyXComSequence": "Turn it into a list",
    "pyspark.sql.session.SparkSession": "collect the data",
    "pyspark.core.context.SparkContext": "collect the data",
}


@pytest.mark.parametrize("dotted", NAMED)
def test_advice_goes_by_dotted_name_and_base(dotted: str) -> None:
    """A type is known by name, so that nothing of its package is imported; a subclass of it is known as well."""
    kind = named(dotted)
    _, advice = advise(kind, FAILED)
    assert NAMED[dotted] in advice
    assert advise(type("Mine", (kind,), {}), FAILED)[1] == advice
    assert is_known(kind)


@pytest.mark.parametrize(
    "dotted",
    [
        "airflow.sdk.definitions.dag.DAG",
        "airflow.sdk.bases.operator.BaseOperator",
        "airflow.sdk.definitions.mappedoperator.MappedOperator",
        "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance",
        "airflow.models.taskinstance.TaskInstance",
        "airflow.sdk.definitions.xcom_arg.XComArg",
        "pyspark.sql.session.SparkSession",
        "pyspark.context.SparkContext",
        "_io.TextIOWrapper",
        "tempfile._TemporaryFileWrapper",
    ],
)
def test_refuses_what_would_pickle_but_must_not_travel(dotted: str, by_value: None) -> None:
    """Such an object is a culprit, though it could be pickled."""
    kind = type("Mine", (named(dotted),), {})
    assert is_refused(kind)
    (culprit,) = explain_items([[kind()]], [0])
    assert culprit.path == "item 0 → [0]"
    assert culprit.reason == KNOWN[dotted][0]


@pytest.mark.parametrize("kind", [io.StringIO, io.BytesIO, int, dict, object, logging.Logger, ValueError, type])
def test_refuses_nothing_else(kind: type) -> None:
    """In-memory files and plain data travel."""
    assert not is_refused(kind)
    assert not is_known(kind)


def test_what_is_refused_has_advice() -> None:
    """Nothing is refused without a reason, and every entry is a sentence or two."""
    assert set(KNOWN) >= REFUSED
    for reason, advice in KNOWN.values():
        assert reason[0].islower()
        assert reason.endswith(".")
        assert advice[0].isupper()
        assert advice.endswith(".")


def test_a_drivers_error_is_data() -> None:
    """An exception class of a driver is not taken for a connection."""
    assert not is_known(named("psycopg2.errors.UniqueViolation", Exception))


def test_itertools_tee_is_an_iterator() -> None:
    """A half-used iterator is told to become a list."""
    assert "into a list" in advise(type(itertools.tee([])[0]), FAILED)[1]


def test_unknown_type_gets_a_way_out() -> None:
    """What nobody knows is still told what could be done."""
    reason, advice = advise(named("mine.Thing"), FAILED)
    assert reason == "pickle has no way to turn a mine.Thing into bytes."
    assert "per_worker" in advice
    assert 'backend="threading"' in advice
    assert "inside the function" in advice


def test_unimportable_module() -> None:
    """The name of the module is shown, also for a known type."""
    reason, advice = advise(named("ghost.Spirit"), Failure(UnimportableError("ghost")))
    assert reason == "the module 'ghost' it is defined in can't be imported by a worker."
    assert "DAG file" in advice


def _raise_in(name: str) -> Exception:
    scope: dict[str, Any] = {}
    exec(compile(f"def {name}(): raise KeyError('secret')", "/home/me/dags/orders.py", "exec"), scope)
    try:
        scope[name]()
    except KeyError as error:
        assert "secret" in traceback.format_exception_only(error)[0]
        return error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None)
    raise AssertionError


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(_raise_in("__reduce__")), "its __reduce__ raised KeyError (line 1 of orders.py)."),
        (Failure(_raise_in("__getstate__")), "its __getstate__ raised KeyError (line 1 of orders.py)."),
        (Failure(_raise_in("reduce_it")), "pickling it raised KeyError (line 1 of orders.py)."),
        (Failure(_raise_in("__setstate__"), loading=True), "unpickling it raised KeyError (line 1 of orders.py)."),
        (Failure(KeyError("secret"), loading=True), "unpickling it raised KeyError."),
        (Failure(RecursionError()), "it is nested too deeply to be pickled."),
    ],
)
def test_reason_of_an_unknown_type(failure: Failure, reason: str) -> None:
    """Type and line of what was raised are shown, its message and the file's folder never."""
    assert advise(named("mine.Thing"), failure)[0] == reason
