"""Makes the worker that a run needs: for a plain function, or for an asynchronous one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_joblib.worker.worker import Worker

if TYPE_CHECKING:
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.records import Rules

__all__ = ["make_worker"]


def make_worker(call: Call, rules: Rules, **settings: Any) -> Worker:
    """Return a worker of a run with these rules; *settings* are those of a :class:`Worker`."""
    if not rules.concurrency:
        return Worker(call, rules, **settings)
    from airflow_joblib.worker.async_worker import AsyncWorker  # late: asyncio takes 20 ms to import

    return AsyncWorker(call, rules, **settings)
