"""What of a run is in a worker of a cluster, where no cluster is needed to see it."""

from __future__ import annotations

import pickle

from airflow_joblib import worker_process
from airflow_joblib.engines import remote
from airflow_joblib.outcomes import Payload
from airflow_joblib.picklability import dumps


class Item:
    """A class that items refer to by key."""


def test_call_that_does_not_load() -> None:
    """The chunk's report has the error, and the worker keeps nothing of the run."""
    payload = Payload(b"no pickle", dumps([Item]))
    report = pickle.loads(remote.run_chunk("a run", payload, b"", [0]))
    assert [type(failure.error) for failure in report.failures] == [pickle.UnpicklingError]
    assert Item not in worker_process.known
    assert not remote.visited()
