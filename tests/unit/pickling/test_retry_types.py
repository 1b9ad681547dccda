"""The types of ``item_retry_on`` travel with the call: their check at parse time, and their identity in workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import NotPicklableError, parallel_task
from tests.unit.helpers import PROCESSES, task

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
class BusyError(Exception):
    pass

def work(path):
    from pathlib import Path
    if not Path(path).exists():
        Path(path).touch()
        raise BusyError
    return "done"
"""


@pytest.mark.parametrize("backend", PROCESSES)
def test_types_of_a_dag_file(backend: str, dag_file: Any, tmp_path: Path) -> None:
    """The types may be of the DAG file itself, in workers that have it and in those that are sent them."""
    module = dag_file(SOURCE)
    paths = [str(tmp_path / name) for name in "ab"]
    assert task(module.work, item_retries=1, item_retry_on=module.BusyError, backend=backend)(paths) == ["done"] * 2


def test_checked_at_parse_time(dag_file: Any) -> None:
    """A type that can't reach a worker is named before anything runs."""
    module = dag_file("import threading\n\nclass Own(Exception):\n    lock = threading.Lock()\n\ndef work(item): ...\n")
    with pytest.raises(NotPicklableError, match="item_retry_on Own") as caught:
        parallel_task(item_retry_on=module.Own)(module.work).check()
    assert caught.value.culprit_type == "_thread.lock"
