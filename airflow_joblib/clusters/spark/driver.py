"""Spark's driver: a Java process beside the task's, for as long as the run takes.

::

    task ── py4j, on loopback ──► driver ──► executors, each with Python processes that run the items
      └──── its standard input: when that ends, as the task's process has, the driver ends by itself

It inherits nothing of the task's but the environment, in which there is no secret, and is given none in its arguments.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from airflow_joblib.clusters.engine import unreachable
from airflow_joblib.exceptions import ClusterError
from airflow_joblib.pools.base import FewerWorkersError
from airflow_joblib.system.daemon_thread import OwnThread
from airflow_joblib.system.warning_filters import ignored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["START", "Driver", "check_java", "named_error", "session_of_task"]

START = "`start-master.sh` and `start-worker.sh`"
#: Seconds that Java may take until it connects to the master, on a machine that is busy.
_START_SECONDS = 60.0
#: Seconds for the driver to give up all that it has, and then for its process to end.
_STOP_SECONDS, _END_SECONDS = 5.0, 3.0
#: What has to be known when Java starts, and only that: its arguments are there for all to see.
_OF_JAVA = ("spark.driver.memory", "spark.driver.extra", "spark.driver.default", "spark.jars")
#: What Spark sets in the environment of the task's process, and no more needs when it ends.
_SET = ("SPARK_AUTH_SOCKET_TIMEOUT", "SPARK_BUFFER_SIZE")
_FOLDER = "spark.local.dir"
_REFUSED = "Failed to connect to master"
_NO_JAVA = (
    "The backend 'spark' needs Java, which there is none of where the task runs. Nothing has run. Install it there, "
    "for Spark 4 in version 17 or later: apt-get install openjdk-17-jre-headless. Where it is not in the PATH, "
    "set JAVA_HOME to its folder."
)

#: Spark allows one driver in a process.
_one_at_a_time = threading.Lock()
_here = threading.local()


def session_of_task() -> SparkSession | None:
    """Return the session that the task has open, if it is none of a run's."""
    if _one_at_a_time.locked():  # checked first: a run that ends meanwhile has no context any more by then
        return None
    context = SparkContext._active_spark_context  # noqa: SLF001
    return None if context is None else SparkSession(context)


@contextmanager
def _turn() -> Iterator[None]:
    """Wait until no other thread has a driver."""
    if getattr(_here, "drives", False):
        raise FewerWorkersError("the items of another fan-out are drawn from it, which has Spark's only driver")
    with _one_at_a_time:
        _here.drives = True
        try:
            yield
        finally:
            _here.drives = False


class Driver:
    """Starts Spark's driver. A context manager, which ends it with all that it has on the cluster.

    Args:
        master: Where it requests executors.
        conf: Settings of Spark.
        secret: What the cluster's processes show each other; None for none.
        timeout: Seconds until the master must have answered.

    Attributes:
        session: The session.
    """

    session: SparkSession

    def __init__(self, master: str, conf: Mapping[str, str], secret: str | None, timeout: float) -> None:
        self._master = master
        self._conf = dict(conf)
        self._secret = secret
        self._timeout = timeout
        self._log = _DriverLog()
        self._thread = OwnThread("airflow-joblib Spark", lambda: None, KeyboardInterrupt)
        self._folder = ""

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(_turn())
            undo.callback(self._thread.end)
            undo.enter_context(_restored())
            undo.callback(self._log.close)
            undo.enter_context(self._own_folder())
            undo.callback(self._end)
            self._launch()
            self.session = self._begin()
            self._leave = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.close()

    def why_ended(self, wait: float = 0.0) -> str | None:
        """Return how the driver has ended, None while it runs; so many seconds are waited for its end."""
        driver = SparkContext._gateway.proc  # noqa: SLF001
        with suppress(subprocess.TimeoutExpired):
            driver.wait(wait)
        code = driver.returncode
        return None if code is None else f"its driver, a Java process, has ended with exit code {code}{self.last_words}"

    @property
    def last_words(self) -> str:
        """What the driver has logged of errors last, as the end of a sentence."""
        return f": {error}" if (error := self._log.error()) else ""

    def _launch(self) -> None:
        settings = SparkConf(loadDefaults=False)
        settings.setAll([(name, value) for name, value in self._conf.items() if name.startswith(_OF_JAVA)])
        # In a session of its own it outlives a kill of the task's process group, and clears its files away.
        streams = {"stdout": subprocess.DEVNULL, "stderr": self._log.end, "start_new_session": True}
        try:
            SparkContext._ensure_initialized(gateway=launch_gateway(settings, streams))  # noqa: SLF001
        except Exception as error:
            self._log.close()
            why = self.last_words or f": {error}"
            msg = f"Spark's driver, a Java process, ended as it started{why}. Nothing has run."
            raise ClusterError(msg) from error

    @contextmanager
    def _own_folder(self) -> Iterator[None]:
        """Give the driver a folder that nobody else may look into."""
        place = self._conf.get(_FOLDER, "").partition(",")[0] or None
        self._folder = tempfile.mkdtemp(prefix="airflow-joblib-spark-", dir=place)
        self._conf[_FOLDER] = self._folder
        try:
            yield
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> SparkSession:
        """Start the session: in a thread, as Java tries a master that doesn't answer for more than a minute."""
        starting, began, refused = self._thread.submit(self._session), time.monotonic(), 0.0
        while True:
            with suppress(TimeoutError):
                session: SparkSession = starting.result(0.1)
                return session
            now = time.monotonic()
            refused = refused or (now if self._log.has(_REFUSED) else 0.0)
            if (refused and now - refused > self._timeout) or now - began > self._timeout + _START_SECONDS:
                why = "its master refused the application, or did not answer; it may have another `secret`"
                raise unreachable("spark", self._master, self._timeout, why, START)

    def _session(self) -> SparkSession:
        with ignored(r"(pyspark|pandas)\."):  # of versions of pandas, which nobody needs
            return self._get_session()

    def _get_session(self) -> SparkSession:
        builder = SparkSession.builder.master(self._master).appName("airflow-joblib")
        for name, value in self._conf.items():
            builder = builder.config(name, value)
        if self._secret is not None:
            builder = builder.config("spark.authenticate", "true").config("spark.authenticate.secret", self._secret)
        try:
            session = builder.getOrCreate()
            context: Any = session.sparkContext
            context.setLogLevel("ERROR")
            context._jvm.java.io.File(self._folder).deleteOnExit()  # should this process be killed  # noqa: SLF001
        except Exception as error:
            msg = f"Spark could not start at {self._master}: {named_error(error)}. Nothing has run."
            raise ClusterError(msg) from error
        return session

    def _end(self) -> None:
        """End the session, then its Java process, which pyspark leaves running until Python ends."""
        if hasattr(self, "session"):
            with suppress(Exception):  # it may be gone already, or not answer
                self._thread.submit(self.session.stop).result(_STOP_SECONDS)
        gateway: Any = SparkContext._gateway  # noqa: SLF001
        if gateway is not None:
            _end_process(gateway.proc)
            with suppress(Exception):
                gateway.shutdown()
        SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None  # noqa: SLF001
        SparkSession._instantiatedSession = SparkSession._activeSession = None  # noqa: SLF001


def _end_process(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101 - it is how Java learns of Python's end
    with suppress(OSError):
        process.stdin.close()
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    process.kill()
    process.wait()


@contextmanager
def _restored() -> Iterator[None]:
    """Take back what Spark leaves in the task's process, and keep its calls of Java out of the log meanwhile."""
    path, environment = list(sys.path), {name: os.environ.get(name) for name in _SET}
    calls = logging.getLogger("py4j")
    level = calls.level
    calls.setLevel(logging.WARNING)
    try:
        yield
    finally:
        calls.setLevel(level)
        sys.path[:] = [place for place in sys.path if place in path]
        for name, value in environment.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


class _DriverLog:
    """What the driver's process writes to its standard error: its last lines, for messages.

    Attributes:
        end: The descriptor for the process.
    """

    def __init__(self) -> None:
        own, self.end = os.pipe()
        self._lines: deque[str] = deque(maxlen=200)
        self._closed = False
        self._reader = threading.Thread(target=self._read, args=(own,), name="airflow-joblib Spark log", daemon=True)
        self._reader.start()

    def _read(self, own: int) -> None:
        with open(own, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                self._lines.append(line.rstrip())

    def has(self, text: str) -> bool:
        """Return whether it wrote that."""
        return any(text in line for line in list(self._lines))

    def error(self) -> str:
        """Return the last line that names an error."""
        return next((line for line in reversed(list(self._lines)) if re.search(r"Error\b|Exception\b", line)), "")

    def close(self) -> None:
        """Read to the end, which comes with that of the process."""
        if not self._closed:
            self._closed = True
            os.close(self.end)
            self._reader.join(1)


def check_java() -> None:
    """Check that there is Java where the task runs.

    Raises:
        ClusterError: There is none.
    """
    home = os.environ.get("JAVA_HOME")
    if shutil.which(f"{home}/bin/java" if home else "java") is None:
        raise ClusterError(_NO_JAVA)


def named_error(error: BaseException) -> str:
    """Return what names an error, of Java's long account of it."""
    lines = [line.strip() for line in str(error).splitlines() if re.search(r"Error\b|Exception\b", line)]
    causes = [line for line in lines if line.startswith("Caused by:")]
    return (causes or lines or [type(error).__name__])[-1].removeprefix("Caused by: ").rstrip(".")
