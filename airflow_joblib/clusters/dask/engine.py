"""Dask: a scheduler somewhere, or a local cluster for the run, both over TLS.

``backend_options``: *address* of the scheduler (``tls://host:8786``); *tls_ca_file*, *tls_client_cert* and
*tls_client_key*, paths or PEM texts; *timeout* in seconds. Without an address: as many local workers as asked for.
"""

from __future__ import annotations

import functools
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster, Security
from joblib._dask import DaskDistributedBackend

from airflow_joblib.clusters.dask import channel, worker
from airflow_joblib.clusters.engine import Engine, Options, check_software, software, unreachable, warn_of_open
from airflow_joblib.clusters.engine_internals import check_object
from airflow_joblib.clusters.local_folder import OwnFolder
from airflow_joblib.system.daemon_thread import OwnThread
from airflow_joblib.system.isolated_start import trackers
from airflow_joblib.system.process_start import SAFE_PATH, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from airflow_joblib.wire.records import Payload

__all__ = ["connect"]

#: Seconds that a local cluster gets to start, so that it can be closed, after the task was interrupted.
_PATIENCE = 10.0
_TLS = ("tls_ca_file", "tls_client_cert", "tls_client_key")

#: Else two tasks on one machine would want the same port for what the scheduler shows by HTTP, and be warned of it.
_NO_FIXED_PORT = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
#: A local cluster shows nothing by HTTP, to nobody, and its workers load nothing from the current directory.
_LOCAL = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.nanny.pre-spawn-environ": SAFE_PATH,
}
_MEND = "Start its scheduler and workers with TLS, and give this run tls_ca_file, tls_client_cert and tls_client_key."


@contextmanager
def connect(given: Mapping[str, Any], n_jobs: int) -> Iterator[Engine]:
    """Connect to the scheduler, or start a cluster of one's own."""
    options = Options("dask", given)
    address, timeout = options.take("address"), options.timeout()
    tls = {name: value for name in _TLS if (value := options.take(name))}
    options.finish()
    with ExitStack() as stack:
        if address is None:
            client = stack.enter_context(Client(_start(n_jobs, stack), set_as_default=False))
            client.run_on_scheduler(worker.stop_serving)
            client.run(worker.stop_serving)
        else:
            client = stack.enter_context(_client(address, tls, timeout))
            if not tls and not str(address).startswith("tls://"):
                warn_of_open("dask", str(address), _MEND)
        dask_engine = _Dask(client, address or "a local cluster", timeout)
        dask_engine.local = address is None
        yield dask_engine


def _start(n_jobs: int, undo: ExitStack) -> LocalCluster:
    """Start a cluster in a thread, so that what interrupts the task meanwhile leaves nothing of it."""
    folder = OwnFolder("dask", dask.config.get("temporary-directory", None) or tempfile.gettempdir(), undo)
    thread = OwnThread("airflow-joblib Dask", bool, InterruptedError)
    undo.callback(thread.end)
    began = thread.submit(functools.partial(_local, n_jobs, folder.path))
    undo.callback(_close, began, folder)
    cluster: LocalCluster = began.result()
    return cluster


@shared
@contextmanager
def _settings() -> Iterator[None]:
    """Set what local clusters need while any starts: each taking back its own would leave that of another behind."""
    with dask.config.set(_LOCAL):
        yield


def _local(n_jobs: int, folder: str) -> LocalCluster:
    trackers.tracker("multiprocessing")
    with _settings():
        # On loopback too: else whoever is on this machine could run code as the task's user.
        return LocalCluster(
            n_workers=n_jobs,
            threads_per_worker=1,
            host="tls://127.0.0.1",
            security=True,
            dashboard_address=None,
            local_directory=folder,
            scheduler_kwargs={**_NO_FIXED_PORT, "local_directory": folder},
        )


def _close(began: Future[LocalCluster], folder: OwnFolder) -> None:
    with suppress(Exception):  # what kept it from starting has been logged
        began.result(_PATIENCE).close()
        folder.done = True


def _client(address: str, tls: Mapping[str, str], timeout: float) -> Client:
    security = Security(require_encryption=True, **tls) if tls else None
    try:
        return Client(address, security=security, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        start = "`dask scheduler`, with the same TLS files" if tls else "`dask scheduler`"
        raise unreachable("dask", address, timeout, str(error) or type(error).__name__, start) from None


class _Dask(Engine):
    name = "dask"
    single = True
    joins = True
    dispatch_seconds = 0.02

    def __init__(self, client: Client, place: str, timeout: float) -> None:
        self.place = place
        self._client = client
        try:
            client.wait_for_workers(1, timeout=timeout)
        except TimeoutError:
            start = f"`dask worker {place}`"
            raise unreachable("dask", place, timeout, "its scheduler has no worker", start) from None
        self._check_software()
        self.slots = sum(client.ncores().values())
        self._run = self._scattered = ""
        self._payload: Payload

    def _check_software(self) -> None:
        # Dask's own request, which pickles nothing that another Python could choke on.
        found = self._client.get_versions(packages=[name for name in software() if name != "python"])
        check_software("dask", {name: there["packages"] for name, there in found["workers"].items()})

    def everywhere(self, function: Callable[[], Any]) -> Mapping[str, Any]:
        return self._client.run(function)  # type: ignore[no-any-return]

    def backend(self, run: str, payload: Payload) -> Any:
        self._run, self._payload = run, payload
        backend = DaskDistributedBackend(client=self._client)
        # To every worker. Not by joblib, which has it hashed: that takes seconds for a hundred megabytes.
        given = worker.without_copies(payload)
        (future,) = self._client.scatter([given], broadcast=True, hash=False)
        check_object("joblib", backend, ("data_futures",), of="joblib._dask.DaskDistributedBackend")
        backend.data_futures = {id(payload): future}  # which stays what it is for as long as this engine has it
        self._scattered = str(future.key)
        return backend

    def task(self, data: bytes, indices: Sequence[int]) -> tuple[Callable[..., bytes], tuple[Any, ...]]:
        # The backend knows the payload by its identity, and puts what it has scattered in its place.
        return worker.run_chunk, (self._run, self._scattered, self._payload, data, indices)

    def request_channel(self, answer: Callable[[bytes], bytes]) -> AbstractContextManager[Callable[[bytes], bytes]]:
        return channel.request_channel(self._client, answer)

    def why_gone(self) -> str | None:
        return None if self._client.status == "running" else f"the connection is {self._client.status}"

    def why_lost(self, job: Any) -> str | None:
        error = job.exception() if job.done() and not job.cancelled() else None
        return None if error is None else f"{type(error).__name__}: {error}"

    def leave(self, *, resources: bool, failed: bool) -> Iterable[str]:
        del resources
        if self._client.status != "running":
            return []
        failures = self._client.run(worker.leave, self._run, failed=failed, on_error="ignore")
        return [text for texts in failures.values() for text in texts]
