"""Ray: a cluster somewhere, or a local one for the run, both for whoever has the token.

``backend_options``: *address* (``ray://host:10001``, or ``host:6379`` from one of its nodes); *token*; *timeout* in
seconds. Without an address: a local cluster with as many CPUs as asked for. A Ray that the task has initialized itself
is used as it is.
"""

from __future__ import annotations

import functools
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from airflow_joblib.clusters import worker as clusters_worker
from airflow_joblib.clusters.engine import Engine, Options, check_software, software, warn_of_open
from airflow_joblib.clusters.ray import channel, session, worker
from airflow_joblib.clusters.ray.backend import Backend, has_actors
from airflow_joblib.clusters.ray.head import Head
from airflow_joblib.exceptions import ClusterError
from airflow_joblib.pools.base import FewerWorkersError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from airflow_joblib.wire.records import Payload

__all__ = ["connect"]

log = logging.getLogger("airflow_joblib")

#: Seconds for workers to stop what they run and leave what they hold, and to report it.
_GRACE = 4.0
#: Seconds for a node to start a process that reports what is installed there.
_START = 60.0

#: How the environment has Ray require a token.
_AUTH = "RAY_AUTH_MODE"
_MEND = "Start it with RAY_AUTH_MODE=token and a token of its own, and give this run the token."
_NO_ANSWER = (
    "The Ray worker {} has not reported within {:g} s what is installed there. If that is not what the task needs, "
    "items that run there will fail."
)


@contextmanager
def connect(given: Mapping[str, Any], n_jobs: int) -> Iterator[Engine]:
    """Connect to the cluster, or start one."""
    options = Options("ray", given)
    address, token, timeout = options.take("address"), options.take("token"), options.timeout()
    options.finish()
    is_open = address is not None and token is None and not ray.is_initialized() and os.environ.get(_AUTH) != "token"
    with session.session(address, token, timeout, n_jobs):
        if is_open:
            warn_of_open("ray", str(address), _MEND)
        yield _Ray(address)


def _call(function: Callable[[], Any]) -> Any:
    return function()


def _in_time(pending: Mapping[Any, str]) -> list[Any]:
    """Wait for answers, and return those that there are; log where there is none from."""
    done: list[Any] = []
    if not pending:
        return done
    done, late = ray.wait(list(pending), num_returns=len(pending), timeout=_START)
    for ref in late:
        log.warning("%s", _NO_ANSWER.format(pending[ref], _START))
    return done


class _Ray(Engine):
    name = "ray"
    single = True
    own_workers = True
    joins = True
    dispatch_seconds = 0.02

    def __init__(self, address: str | None) -> None:
        self.place = address or "a local cluster"
        self.local = session.is_local()
        self._head = Head(address)
        self._software = self._on_every_node(software)  # which is looked at while the workers start
        self.slots = int(ray.cluster_resources().get("CPU", 0))
        if not self.slots:
            msg = f"The Ray cluster at {self.place} has no CPU. Add a node: `ray start --address=...`"
            raise ClusterError(msg)
        self._sent: tuple[Payload, worker.FromStore] | None = None

    def _on_every_node(self, function: Callable[[], Any]) -> dict[Any, str]:
        """Have every node that has CPUs call a function; gives where what it returns will be."""
        pending = {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                call = ray.remote(_call).options(num_cpus=0, scheduling_strategy=there)
                pending[call.remote(function)] = f"at {node['NodeManagerAddress']} (node {node['NodeID'][:8]})"
        return pending

    def _check_software(self) -> None:
        pending, self._software = self._software, {}
        check_software("ray", {pending[ref]: self._answer(ref) for ref in _in_time(pending)})

    def _answer(self, ref: Any) -> dict[str, str | None]:
        try:
            found: dict[str, str | None] = self._got(ref)
        except ClusterError as error:
            if "No module named 'airflow_joblib'" not in str(error):
                raise
            return {**software(), "airflow-joblib": None}
        return found

    def _got(self, ref: Any) -> Any:
        try:
            return ray.get(ref)
        except ray.exceptions.RayError as error:
            msg = f"A Ray worker at {self.place} can't run what the task sends: {error}"
            raise ClusterError(msg) from error

    def everywhere(self, function: Callable[[], Any]) -> Mapping[str, Any]:
        self._check_software()
        pending = self._on_every_node(function)
        return {pending[ref]: self._got(ref) for ref in _in_time(pending)}

    def backend(self, run: str, payload: Payload) -> Any:
        if has_actors():  # which hold the CPUs that these would wait for
            raise FewerWorkersError("the items of another fan-out are drawn from it, which has the cluster's CPUs")
        if self._sent is None or self._sent[0] is not payload:
            self._sent = payload, worker.FromStore(payload)
        self._run = run
        self._call = functools.partial(worker.run_chunk, run, self._sent[1])
        self._backend = Backend(self.why_gone, self.chunks_ahead(payload.rules))
        return self._backend

    def task(self, data: bytes, indices: Sequence[int]) -> tuple[Callable[..., bytes], tuple[Any, ...]]:
        self._check_software()  # before the first chunk
        return self._call, (data, indices)

    def request_channel(self, answer: Callable[[bytes], bytes]) -> AbstractContextManager[Callable[[bytes], bytes]]:
        return channel.request_channel(answer, self.why_gone)

    def why_gone(self) -> str | None:
        return self._head.why_gone()

    def leave(self, *, resources: bool, failed: bool) -> Iterable[str]:
        """Stop what runs, and have resources left; the pool then ends its actors' processes, and all goes with them."""
        if not (resources or failed) or self.why_gone():
            return []
        answers = self._backend.call_all(
            functools.partial(clusters_worker.leave, failed=failed), self._run, timeout=_GRACE if failed else None
        )
        return [text for answer in answers for text in (["a worker ended"] if answer is None else answer[0])]
