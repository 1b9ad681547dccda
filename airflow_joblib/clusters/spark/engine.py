"""Spark: a master somewhere, or a local one for the run.

``backend_options``: *address* of the master (``spark://host:7077``); *secret*, if it requires one
(``spark.authenticate.secret``); *python*, the interpreter of the workers; *conf*, further settings of Spark by name;
*timeout* in seconds. Without an address: a local Spark with as many threads as asked for. A Spark session that the
task has open itself is used as it is.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_joblib.clusters.engine import (
    Engine,
    Options,
    check_reachable,
    check_software,
    software,
    unreachable,
    warn_of_open,
)
from airflow_joblib.clusters.engine_internals import check_object, java_as_known
from airflow_joblib.clusters.spark import worker
from airflow_joblib.clusters.spark.backend import Backend
from airflow_joblib.clusters.spark.driver import START, Driver, check_java, named_error, session_of_task
from airflow_joblib.exceptions import ClusterError
from airflow_joblib.system.daemon_thread import OwnThread
from airflow_joblib.system.process_start import SAFE_PATH
from airflow_joblib.system.time_limits import LEAVING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pyspark.sql import SparkSession

    from airflow_joblib.wire.records import Payload

__all__ = ["JAVA_OPTIONS", "connect"]

#: Seconds without a new executor after which no more are waited for.
_QUIET_SECONDS = 2.0
#: Seconds for workers to leave what they hold, once their items have ended or Spark has killed them.
_GRACE = 10.0
#: Seconds in which a driver that does not answer is seen to have ended.
_ENDS = 1.0
#: Java here hands things on, and ends soon: to compile what it runs as best it can costs more than it saves.
JAVA_OPTIONS = {
    f"spark.{process}.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    for process in ("driver", "executor")
}
#: Whether executors come and go as there is work.
_DYNAMIC = "spark.dynamicAllocation.enabled"
_CONF = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.task.maxFailures": "1",  # an item that ends its worker is for the run to count
    "spark.speculation": "false",
    _DYNAMIC: "false",  # executors stay for the run, and each can be notified of its end
    "spark.python.task.killTimeout": "100ms",  # for what? Python is not notified that its task is cancelled
    "spark.driver.maxResultSize": "0",
    # What all items share lies on disks, the driver's and the executors'.
    "spark.io.encryption.enabled": "true",
    **{f"spark.executorEnv.{name}": value for name, value in SAFE_PATH.items()},
    **JAVA_OPTIONS,
}
#: On loopback: else whoever is on this machine could run code as the task's user.
_LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.authenticate": "true"}
_AUTH = "spark.authenticate"
_MEND = "Set spark.authenticate and spark.authenticate.secret for master and workers, and give this run the secret."
#: A master that doesn't know of it goes on without; driver and executors do.
_ENCRYPTED = {"spark.network.crypto.enabled": "true"}

_OTHER_PYTHON = re.compile(
    r"PYTHON_VERSION_MISMATCH\].*?worker has a different version: *(\S+)|"
    r"Python in worker has different version[: ]*\(?'?([\d.]+)"
)
_NO_PYTHON = re.compile(r'Cannot run program "([^"]+)"')

#: Session to those of its executors that have the software that it takes.
_fit: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


@contextmanager
def connect(given: Mapping[str, Any], n_jobs: int) -> Iterator[Engine]:
    """Connect to the master, or start Spark here."""
    options = Options("spark", given)
    address, secret, timeout = options.take("address"), options.take("secret"), options.timeout()
    python, conf = options.take("python"), dict(options.take("conf", {}))
    options.finish()
    session = session_of_task()
    if session is not None:
        yield _Spark(session, "the task's own session", None, timeout)
        return
    check_java()
    if address is not None:
        _check_address(address, timeout)
    surroundings = _LOCAL if address is None else _ENCRYPTED if secret is not None else {}
    with Driver(address or f"local[{n_jobs}]", {**_CONF, **surroundings, **conf}, secret, timeout) as driver:
        if address is not None and address.startswith("spark://") and secret is None and conf.get(_AUTH) != "true":
            warn_of_open("spark", address, _MEND)
        driver.session.sparkContext.pythonExec = python or os.environ.get("PYSPARK_PYTHON", sys.executable)
        most = conf.get("spark.cores.max") if address else n_jobs
        spark = _Spark(driver.session, address or "a local Spark", most and int(most), timeout, driver)
        spark.local = address is None
        yield spark


def _check_address(address: str, timeout: float) -> None:
    """Check that a master listens, of those that stand in for each other; of YARN or Kubernetes, Spark itself knows."""
    if address == "yarn" or address.startswith("k8s://"):
        return
    *others, last = [f"spark://{master}" for master in address.removeprefix("spark://").split(",")]
    for master in others:
        with suppress(ClusterError):
            check_reachable(master, timeout, "spark", START)
            return
    check_reachable(last, timeout, "spark", START)


def _call(function: Callable[[], Any], _: object) -> Any:
    return function()


class _Spark(Engine):
    name = "spark"
    single = True
    keeps_others = True
    dispatch_seconds = 0.5

    def __init__(
        self, session: SparkSession, place: str, most: int | None, timeout: float, driver: Driver | None = None
    ) -> None:
        self.place = place
        self._context: Any = session.sparkContext
        self._driver = driver
        self._timeout = timeout
        self.slots = self._settled(most)
        self._check_software()
        self._last_seen = time.monotonic()
        self._run = ""
        self._broadcast: Any = None
        self._call: Any = None
        self._backend: Any = None

    def _settled(self, most: int | None) -> int:
        """Wait for executors, which come one by one, and return how many items they run at a time.

        Args:
            most: More than so many will not come, if that is known.
        """
        until, since, before = time.monotonic() + self._timeout, time.monotonic(), 0
        old = time.time() - self._context.startTime / 1000 > self._timeout  # the task's own, some time ago
        while time.monotonic() < until:
            slots = self._slots()
            if slots != before:
                since, before = time.monotonic(), slots
            if slots and (slots == most or old or time.monotonic() - since > _QUIET_SECONDS):
                return slots
            time.sleep(0.1)
        if not before:
            why = "it has no worker with a free core and memory for an executor"
            start = "`start-worker.sh`, or end what else runs there, or ask for less with `conf`"
            raise unreachable("spark", self.place, self._timeout, why, start)
        return before

    def _slots(self) -> int:
        scheduler = self._scheduler()
        with java_as_known():  # as joblibspark counts them
            profile = scheduler.resourceProfileManager().resourceProfileFromId(0)
            return int(scheduler.maxNumConcurrentTasks(profile))

    def _scheduler(self) -> Any:
        check_object("pyspark", self._context, ("_jsc",), of="SparkContext")
        return self._context._jsc.sc()  # noqa: SLF001

    def _check_software(self) -> None:
        """Check every worker, but those of a session of the task's that an earlier run has checked."""
        with java_as_known():
            executors = str(self._scheduler().getExecutorIds())
        if _fit.get(self._context) == executors:
            return
        self._check_workers()
        _fit[self._context] = executors

    def _check_workers(self) -> None:
        try:
            places = self._context.parallelize(range(self.slots), self.slots)
            found = self._by_place(places.map(worker.software_here).collect())
        except Exception as error:  # py4j's own, which carries Java's account of it as text
            text = str(error)
            if mismatch := _OTHER_PYTHON.search(text):
                there = {**software(), "python": mismatch[1] or mismatch[2]}
            elif "No module named 'airflow_joblib'" in text:
                there = {**software(), "airflow-joblib": None}
            else:
                raise ClusterError(self._unfit(error)) from error
            found = {f"at {self.place}": there}
        check_software("spark", found)

    def _by_place(self, found: Iterable[Any]) -> dict[str, Any]:
        return {f"{place} at {self.place}": each for place, each in enumerate(found)}

    def _unfit(self, error: Exception) -> str:
        if missing := _NO_PYTHON.search(str(error)):
            return (
                f"A Spark worker at {self.place} has no Python at {missing[1]}. Nothing has run. Say where it is "
                "there, in version {}.{}: backend_options={{'python': ...}}.".format(*sys.version_info)
            )
        return f"A Spark worker at {self.place} can't run what the task sends. Nothing has run. {named_error(error)}"

    def everywhere(self, function: Callable[[], Any]) -> Mapping[str, Any]:
        places = self._context.parallelize(range(self.slots), self.slots)
        return self._by_place(places.map(functools.partial(_call, function)).collect())

    def backend(self, run: str, payload: Payload) -> Any:
        self._run = run
        self._broadcast = self._context.broadcast(payload)
        self._call = functools.partial(worker.run_chunk, run, worker.Value(self._broadcast))
        self._backend = Backend()
        return self._backend

    def task(self, data: bytes, indices: Sequence[int]) -> tuple[Callable[..., bytes], tuple[Any, ...]]:
        return self._call, (data, indices)

    def reason(self, error: BaseException) -> str:
        return named_error(error)

    def why_gone(self) -> str | None:
        """Look at the driver, and at whether the cluster still gives it an executor."""
        if self._driver is not None and (why := self._driver.why_ended()):
            return why
        try:
            stopped, slots = self._scheduler().isStopped(), self._slots()
        except Exception as error:  # noqa: BLE001 - of py4j, or of a session that the task has closed
            ended = self._driver and self._driver.why_ended(_ENDS)  # which may be seen a moment later
            return ended or f"its session does not answer: {named_error(error)}"
        if stopped:
            return f"it has ended the application{self._driver.last_words if self._driver else ''}"
        now = time.monotonic()
        if slots:
            self._last_seen = now
        left = now - self._last_seen
        return f"no executor has been there for {left:.0f} s" if left > self._timeout else None

    def leave(self, *, resources: bool, failed: bool) -> Iterable[str]:
        """Ask every worker, where something of the run would stay beyond the session or holds on to its end."""
        if failed:
            self._backend.abort_everything(ensure_ready=False)
        try:
            return self._everywhere(failed=failed) if resources or self._driver is None else []
        finally:
            with suppress(Exception):  # it is gone with the session
                self._broadcast.destroy(blocking=True)

    def _everywhere(self, *, failed: bool) -> list[str]:
        """Ask by one question for each worker; all at a time, so that each gets one, where Spark can do that."""
        slots, thread = self._slots(), OwnThread("airflow-joblib leave", lambda: None, KeyboardInterrupt)
        everywhere = self._context.parallelize(range(slots), slots)
        if self._context.getConf().get(_DYNAMIC, "false") != "true":  # then it refuses
            everywhere = everywhere.barrier()
        leave = functools.partial(worker.leave, self._run, failed)
        try:
            answers = thread.submit(everywhere.mapPartitions(leave).collect).result(
                _GRACE if failed else LEAVING + _GRACE
            )
            self.parting = [each for _, lines in answers for each in lines]
            return [text for texts, _ in answers for text in texts]
        except TimeoutError:
            return ["workers did not answer"]
        finally:
            thread.end()
