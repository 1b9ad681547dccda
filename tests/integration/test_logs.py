"""What items say in each kind of worker, as it stands in the task's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import DAG_FILES
from tests.integration.helpers import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

BACKENDS = ("loky", "multiprocessing", "threading")
PROCESSES = BACKENDS[:2]
PASSWORD = "pass-of-the-variable"


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> DagRunResult:
    """One run of the DAG whose items say something."""
    airflow.api.set_variable("shop_password", PASSWORD)
    return airflow.run_dag(add_dag("logs"))


#: What an item logs that no level of a namespace keeps back, before Airflow 3.2, which brought those.
SILENT = ("error", "shop.silent", "not of this logger")
#: What Airflow 3.1 writes to standard error in a process that imports it.
ALEMBIC = "alembic.runtime.plugins"


def short(event: dict[str, Any]) -> tuple[str, str, str]:
    return event["level"], event["logger"], event["event"]


@pytest.mark.parametrize("backend", PROCESSES)
def test_all_that_an_item_says(said: Callable[[str], list[dict[str, Any]]], backend: str) -> None:
    """Once, in the order in which the item said it, with level, logger and the item's index."""
    events = said(f"speak_{backend}")
    for item in range(6):
        assert [short(event) for event in events if event.get("item") == item] == [
            ("info", "shop.orders", f"first of {item}"),
            ("info", "task.stdout", f"printed {item}"),
            ("error", "task.stderr", f"complained {item}"),
            ("error", "shop.orders", "100% wrong"),
            ("warning", "py.warnings", f"beware {item}"),
            ("error", "shop.orders", "caught"),
            ("warning", "shop.orders", f"last of {item}"),
        ]
    assert len(events) == 6 * 7


def test_items_of_threads(said: Callable[[str], list[dict[str, Any]]]) -> None:
    """What a thread logs has its item too; what it prints has not, since it goes straight to the task's stream."""
    events = [event for task_id in ("speak_threading", "structlog_threading") for event in said(task_id)]
    for event in events:
        assert ("item" in event) == event["logger"].startswith(("shop", "py.warnings"))
        if event["event"].startswith("last of"):
            assert event["event"] == f"last of {event['item']}"


@pytest.mark.parametrize("backend", PROCESSES)
def test_same_as_from_a_thread(said: Callable[[str], list[dict[str, Any]]], backend: str) -> None:
    """What a process says differs from what a thread says in what the process knows more of, and in nothing else."""

    def comparable(event: dict[str, Any]) -> dict[str, Any]:
        more = {"timestamp", "item", "shop", "odd", "task_id", "dag_id", "run_id", "ti_id", "try_number", "map_index"}
        return {key: value for key, value in event.items() if key not in more}

    for kind in ("speak", "structlog"):
        threads, processes = said(f"{kind}_threading"), said(f"{kind}_{backend}")
        assert sorted(map(repr, map(sorted_items, map(comparable, threads)))) == sorted(
            map(repr, map(sorted_items, map(comparable, processes)))
        )


def sorted_items(event: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(event.items())


@pytest.mark.parametrize("backend", PROCESSES)
def test_place_and_fields(said: Callable[[str], list[dict[str, Any]]], backend: str) -> None:
    """File and line are those of the call in the DAG file; extra fields are kept."""
    events = {event["event"]: event for event in said(f"speak_{backend}")}
    first = events["first of 0"]
    assert (first["filename"], first["shop"], first["odd"]) == ("logs.py", "north", "<class 'set'>")
    source = (DAG_FILES / "logs.py").read_text().splitlines()
    for name, call in (("first of 0", 'log.info("first of'), ("last of 0", 'log.warning("last of')):
        assert source[events[name]["lineno"] - 1].strip().startswith(call)
    if AIRFLOW >= (3, 2):  # which names the task in each line of its log
        assert first["task_id"] == f"speak_{backend}"
    detail = events["caught"]["error_detail"][0]
    assert detail["exc_type"] == "ZeroDivisionError"
    assert detail["frames"][-1]["filename"].endswith("logs.py")


@pytest.mark.parametrize("backend", PROCESSES)
def test_structlog(said: Callable[[str], list[dict[str, Any]]], backend: str) -> None:
    """Events keep their fields, and levels of namespaces hold."""
    for item, number in enumerate((1, 2)):
        own = [event for event in said(f"structlog_{backend}") if event.get("item") == item]
        assert [short(event) for event in own] == [
            ("info", "shop.structured", "bound"),
            ("debug", "shop.loud.inner", "loud") if AIRFLOW >= (3, 2) else SILENT,
            ("error", "shop.structured", "caught"),
        ]
        assert (own[0]["number"], own[0]["when"], own[0]["filename"]) == (number, {"a": 1}, "logs.py")
        assert own[2]["error_detail"][0]["exc_value"] == str(number)


@pytest.mark.parametrize("backend", PROCESSES)
def test_after_airflow_was_imported(said: Callable[[str], list[dict[str, Any]]], backend: str) -> None:
    """Airflow sets logging up anew in a worker that imports it, and all arrives still."""
    for item in range(2):
        own = [event for event in said(f"airflow_{backend}") if event.get("item") == item]
        own = [event for event in own if event["logger"] != "py.warnings" and ALEMBIC not in event["event"]]
        assert [short(event) for event in own] == [
            ("info", "shop.orders", "stdlib after Variable"),
            ("info", "shop.structured", "structlog after"),
            ("info", "task.stdout", "printed after"),
        ]


def test_fresh_workers_import_no_airflow(airflow: AirflowInstance, run: DagRunResult) -> None:
    """A loky worker that logs in every way has no Airflow loaded."""
    assert airflow.xcom(run.dag_id, run.run_id, "speak_loky") == [False] * 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_secrets_that_the_task_knows(
    airflow: AirflowInstance, run: DagRunResult, said: Callable[[str], list[dict[str, Any]]], backend: str
) -> None:
    """A secret of the task, and a Variable with a name of one, are masked wherever an item says them."""
    log = airflow.log(run.dag_id, run.run_id, f"secrets_{backend}")
    assert "known-to-the-task" not in log
    assert PASSWORD not in log
    events = [event["event"] for event in said(f"secrets_{backend}")]
    assert events.count("in a message: ***") == events.count("printed: ***") == events.count("caught") == 4
    assert "warned of ***" in events


@pytest.mark.parametrize("backend", BACKENDS)
def test_secrets_first_seen_in_a_worker(
    airflow: AirflowInstance, run: DagRunResult, said: Callable[[str], list[dict[str, Any]]], backend: str
) -> None:
    """What a worker masks is masked in all that follows."""
    log = airflow.log(run.dag_id, run.run_id, f"found_{backend}")
    assert "first-seen" not in log
    assert [event["event"] for event in said(f"found_{backend}")].count("found ***") == 4


@pytest.mark.nightly
def test_flood(airflow: AirflowInstance, add_dag: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """One hundred thousand lines from four workers: each arrives once, in order, and the task's memory stays."""
    run = airflow.run_dag(add_dag("log_flood"))
    log = airflow.log_events(run.dag_id, run.run_id, "flooded")
    lines: dict[int, list[int]] = {}
    for event in log:
        if event["logger"] == "shop.flood":
            _, number, line = event["event"].split()
            assert event["item"] == int(number)
            lines.setdefault(int(number), []).append(int(line))
    assert lines == {number: list(range(25_000)) for number in range(4)}
    memory = airflow.xcom(run.dag_id, run.run_id, "flooded")
    with capsys.disabled():
        growth, seconds = memory["growth"] / 1024, run.task("flooded").seconds
        print(f"\n100,000 lines from 4 workers: {seconds:.1f} s, the task's peak memory grew by {growth:.1f} MiB")
    assert memory["growth"] < 64 << 10
