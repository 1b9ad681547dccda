"""What of a run is in a worker of a cluster, where no cluster is needed to see it."""

from __future__ import annotations

import pickle

from airflow_joblib.clusters import worker
from airflow_joblib.pickling import dumps
from airflow_joblib.wire.records import Payload
from airflow_joblib.worker import reports


class Item:
    """A class that items refer to by key."""


def test_call_that_does_not_load() -> None:
    """The chunk's report has the error, and the worker keeps nothing of the run."""
    payload = Payload(b"no pickle", dumps([Item]))
    report = pickle.loads(worker.run_chunk("a run", payload, b"", [0]))
    assert [type(failure.error) for failure in report.failures] == [pickle.UnpicklingError]
    assert Item not in reports.task_classes
    assert not worker.visited()
