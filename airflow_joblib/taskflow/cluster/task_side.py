"""The task's side of a run on a cluster: it answers workers' requests, and takes what they log into its log."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.fan_out.host import ClusterServices
from airflow_joblib.system import plain_json
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.airflow_internals import (
    AirflowNotFoundException,
    AirflowRuntimeError,
    ConnectionResult,
    ErrorResponse,
    ErrorType,
    VariableResult,
)
from airflow_joblib.taskflow.cluster import worker_side
from airflow_joblib.taskflow.cluster.thread_route import unpacked
from airflow_joblib.taskflow.logs import task_log
from airflow_joblib.taskflow.relay.answers import Answers
from airflow_joblib.taskflow.relay.framing import ASKS, HEADER, LIMIT, LINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

__all__ = ["cluster_services"]

log = logging.getLogger("airflow_joblib")


@contextmanager
def cluster_services(
    engine: str,
    channel: Callable[[Callable[[bytes], bytes]], AbstractContextManager[Callable[[bytes], bytes] | None]],
    supervisor: Any,
    context: Mapping[str, bytes] | None,
) -> Iterator[ClusterServices]:
    """Serve the workers of a cluster for the length of a run.

    Args:
        engine: Name of the backend.
        channel: The engine's channel.
        supervisor: The task's own line to its supervisor.
        context: What of the task's context can travel.
    """
    task = _Task(supervisor)
    with channel(task.answer) as ask:
        factory = worker_side.SessionFactory(engine, ask, context, task_log.levels())
        worker_side.made_here.add(factory.number)
        try:
            yield ClusterServices(factory, task.take)
        finally:
            worker_side.made_here.discard(factory.number)


class _Task:
    """Answers from any thread."""

    def __init__(self, supervisor: Any) -> None:
        self._answers = _Answers(supervisor)
        self._log = task_log.TaskLog()

    def answer(self, request: bytes) -> bytes:
        """Return the answer to a worker's request. Never raises."""
        if len(request) > LIMIT:
            log.warning("A worker has sent %s bytes at once, of which %s are the most.", len(request), LIMIT)
            return b""
        kind, body = request[:1], request[1:]
        if kind == ASKS:
            return bytes(self._answers(body)[HEADER:])
        if kind == LINES:
            with suppress(Exception):
                self._take_sent(body)
        return b""

    def _take_sent(self, body: bytes) -> None:
        first, *lines = body.splitlines()
        number = tuple(plain_json.loads(first))
        for line in lines:
            self._log.take(number, line)

    def take(self, number: Any, lines: Sequence[bytes]) -> None:
        """Write what a worker's thread has logged up to the end of a chunk."""
        for line in [*unpacked(lines), None]:
            self._log.take(number, line)


class _Answers(Answers):
    """Looks first where the task would look: a cluster's workers have not its environment and settings."""

    def _reply(self, message: Any) -> Any:
        if message.type == "GetVariable":
            value = airflow_internals.get_variable(message.key, deserialize_json=False)
            return VariableResult(key=message.key, value=value)
        if message.type == "GetConnection":
            return _as_result(message.conn_id)
        return super()._reply(message)


def _as_result(conn_id: str) -> Any:
    try:
        found: Any = airflow_internals.get_connection(conn_id)
    except AirflowNotFoundException:
        missing = ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": conn_id})
        raise AirflowRuntimeError(missing) from None
    names = ("conn_id", "conn_type", "host", "schema", "login", "password", "port", "extra")
    return ConnectionResult(**{name: getattr(found, name) for name in names})
