"""This process's connection to a Ray cluster, of which Ray allows it one at a time; or a cluster of its own.

::

    session ─► token in a file without a name ─► ray.init, in a thread of its own ─► used by runs, one or several
       exit ─► ray.shutdown, by the last one ─► environment, loggers and warnings as they were

The thread stays for as long as the connection does: a local cluster's processes are killed with the thread that has
started them. It also leaves the task its handler of SIGTERM, which Ray would take in the main thread.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import secrets
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from airflow_joblib.clusters.engine import check_reachable, unreachable
from airflow_joblib.clusters.engine_internals import check_object
from airflow_joblib.clusters.local_folder import OwnFolder
from airflow_joblib.exceptions import ClusterError
from airflow_joblib.system.daemon_thread import OwnThread
from airflow_joblib.system.shared_memory import SharedMemory
from airflow_joblib.system.warning_filters import ignored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from concurrent.futures import Future

__all__ = ["session"]

_START = "`ray start --head`"
_SETTINGS = {
    # Seconds for which the head keeps what a client has on the cluster when that is gone without a word; Ray has 30.
    "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "5",
    # Without this Ray reports a local cluster to its makers.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A process that Ray starts from one with threads of gRPC dies of its handlers, now and then, before it has begun:
    # https://github.com/ray-project/ray/issues/63202
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}
#: Seconds before each further try: what is amiss on the head may be so for a moment.
_PAUSES = (0.5, 1.0, 2.0, 4.0)
#: What Ray reports when a process that it has started was not there, a client's server on the head or one of a local
#: cluster, or when a connection broke as it began.
_PASSING = ("Initialization failure from server", "Timed out waiting for file", "has already been cleaned up")
#: Ray opens its folder to all users, so it is one below that of the cluster, which nobody else may enter.
_OPEN = "r"
#: Characters of the folder of temporary files beyond which a local cluster's sockets would have too long a path.
_LONGEST = 14
#: Seconds that the connection gets to close, of a cluster that may be gone.
_PATIENCE = 10.0

_lock = threading.Lock()


class _Connection:
    """The connection, and for how many runs it is there."""

    def __init__(self) -> None:
        self.where: tuple[str | None, str | None] | None = None
        self.runs = 0
        self.stack = ExitStack()


_ours = _Connection()


def is_local() -> bool:
    """Return whether what this process is connected to was started for its runs, and for nobody else."""
    return _ours.runs > 0 and _ours.where is not None and _ours.where[0] is None


@contextmanager
def session(address: str | None, token: str | None, timeout: float, n_jobs: int) -> Iterator[None]:
    """Be connected to a cluster, or start one. A Ray that the task has initialized itself is used as it is.

    Args:
        address: Where the cluster is; None for a local one.
        token: What it requires.
        timeout: Seconds to wait for an answer.
        n_jobs: CPUs of a local one.

    Raises:
        ClusterError: It doesn't answer, or this process is connected to another one.
    """
    with _lock:
        if not _ours.runs and not ray.is_initialized():
            with ExitStack() as undo:
                _open(undo, address, token, timeout, n_jobs)
                _ours.stack, _ours.where = undo.pop_all(), (address, token)
        elif _ours.runs and _ours.where not in (None, (address, token)):
            msg = (
                "This process is connected to another Ray cluster, for a fan-out that still runs, and Ray allows it "
                "one at a time. Run them one after another, or in tasks of their own."
            )
            raise ClusterError(msg)
        _ours.runs += 1
    try:
        yield
    finally:
        with _lock:
            _ours.runs -= 1
            if not _ours.runs:
                _ours.where = None
                _ours.stack.close()


def _open(undo: ExitStack, address: str | None, token: str | None, timeout: float, n_jobs: int) -> None:
    if address is not None:
        check_reachable(address, timeout, "ray", _START)
    undo.enter_context(_quiet())
    undo.enter_context(_no_other())
    undo.enter_context(_authenticated(token if address else secrets.token_hex(32)))
    settings: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        settings |= {"address": "local", "num_cpus": n_jobs, "include_dashboard": False}
        undo.enter_context(_loopback())
    home = OwnFolder("ray", _short_place(), undo) if address is None else None
    settings |= {"_temp_dir": f"{home.path}/{_OPEN}"} if home else {}
    settings |= {"job_config": _job()} if "://" not in settings["address"] else {}
    thread = OwnThread("airflow-joblib Ray", bool, InterruptedError)
    undo.callback(thread.end)
    given_up = threading.Event()
    began = thread.submit(functools.partial(_init, settings, given_up))
    undo.callback(_close, thread, began, home)
    undo.callback(given_up.set)
    try:
        began.result()
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _refused(error, address or "this machine", timeout) from error


def _short_place() -> str:
    """Return where a folder of temporary files may be whose sockets' paths must be short."""
    base = tempfile.gettempdir()
    return base if len(base) <= _LONGEST else "/tmp"  # noqa: S108


class _Searched(list[str]):
    """Folders that workers search for modules: of those that Ray adds, what this process searches itself."""

    def extend(self, folders: Iterable[str]) -> None:
        """Add folders; not the current directory, which Ray adds whether the task looks there or not."""
        searched = {str(Path(folder).absolute()) for folder in sys.path}
        super().extend(folder for folder in folders if folder in searched)


def _job() -> Any:
    """Return Ray's settings for the workers that are started for this process."""
    job = ray.job_config.JobConfig()
    check_object("ray", job, ("_py_driver_sys_path",), of="ray.job_config.JobConfig")
    job._py_driver_sys_path = _Searched()  # noqa: SLF001
    return job


def _init(settings: Mapping[str, Any], given_up: threading.Event) -> None:
    with _environment({name: os.environ.get(name, value) for name, value in _SETTINGS.items()}):
        for pause in (*_PAUSES, None):
            try:
                ray.init(**settings, configure_logging=False)
                logging.getLogger("ray").setLevel(logging.CRITICAL)  # which a client sets all the same
            except (ConnectionError, RuntimeError) as error:
                if pause is None or not any(text in str(error) for text in _PASSING) or given_up.wait(pause):
                    raise
                with suppress(Exception):  # whatever is left of the try
                    ray.shutdown()
            else:
                return


def _close(thread: OwnThread, began: Future[None], home: OwnFolder | None) -> None:
    with suppress(Exception):  # what a lost cluster reports has been logged
        thread.submit(ray.shutdown).result(_PATIENCE)
        if home is not None and began.exception() is None:
            home.done = True


def _refused(error: Exception, address: str, timeout: float) -> ClusterError:
    """Return the error for a cluster that Ray couldn't connect to, which is another version or doesn't answer."""
    text = str(error).strip()
    versions = {name: re.findall(rf"{name}:? *(\d[\w.]*)", text) for name in ("Ray", "Python")}
    if "ersion" in text and any(len(set(found)) > 1 for found in versions.values()):
        python = "{}.{}.{}".format(*sys.version_info)
        msg = (
            f"The ray cluster at {address} has Python {versions['Python'][0]} and Ray {versions['Ray'][0]}, the task "
            f"has Python {python} and Ray {ray.__version__}: Ray wants both to be the same. Nothing has run. Start "
            f"the cluster with Python {python} and pip install 'ray=={ray.__version__}', or the task with its versions."
        )
        return ClusterError(msg)
    details = re.findall(r'details = "(.+)"', text) or [text.rpartition("\n")[2]]
    return unreachable("ray", address, timeout, details[0].rstrip("."), _START)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


@contextmanager
def _authenticated(token: str | None) -> Iterator[None]:
    """Let Ray find the token in a file without a name: the environment would hand it to every child."""
    if token is None:
        yield
        return
    data = token.encode()
    with SharedMemory(len(data), by_path=True) as file:  # which ends with this process, however it does
        file.memory[:] = data
        with _environment({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": file.path}):
            _read_environment()
            try:
                yield
            finally:
                file.memory[:] = bytes(len(data))
        _read_environment()


def _read_environment() -> None:
    """Have Ray look at the environment again, which it read when it was imported; there is no public way."""
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")  # first: else a thread of Ray's own may look for a token that is gone
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from writing to stderr what it does and tries again; what goes wrong the run reports itself."""
    logger = logging.getLogger("ray")
    level, handlers, propagate = logger.level, logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.CRITICAL)
    try:
        with ignored(r"ray\."):  # of what Ray will do in versions to come, and that chunks of items are large
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@contextmanager
def _no_other() -> Iterator[None]:
    """Keep Ray from starting a local cluster at a call after it has lost this one."""
    from ray._private import auto_init_hook

    before = auto_init_hook.enable_auto_connect
    auto_init_hook.enable_auto_connect = False
    try:
        yield
    finally:
        auto_init_hook.enable_auto_connect = before


@contextmanager
def _loopback() -> Iterator[None]:
    """Have a local cluster listen on this machine alone, as Ray does on others than Linux."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
