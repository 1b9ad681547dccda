"""The example DAGs, each run under LocalExecutor: what they return is right, item by item."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.demo import DAGS, WORKERS
from tests.integration.helpers import check_books

if TYPE_CHECKING:
    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

DAG_IDS = ("fetch_prices", "mapped_chunks", "process_files", "transform_records", "update_database")
PARALLEL = {
    "fetch_prices": "fetch_price",
    "mapped_chunks": "collatz_steps",
    "process_files": "analyse",
    "transform_records": "clean",
    "update_database": "book",
}
#: A line of an error that a log has to have, since ``max_failures`` tolerates what it is about.
TOLERATED = {"fetch_prices": "failed for good: airflow_joblib.exceptions.FailItem: The API has no price of it."}
#: Products of `fetch_prices` that have no price, and those whose first request is refused or fails.
WITHOUT, REFUSED_ONCE, FAILED_ONCE = range(60, 301, 60), range(1, 301, 40), (51, 101, 151, 251)

Runs = dict[str, "DagRunResult"]


@pytest.fixture(scope="module")
def runs(airflow: AirflowInstance) -> Runs:
    """One run of each example, all side by side."""
    airflow.wait_for_dags(*DAG_IDS)
    started = {dag_id: airflow.trigger(dag_id) for dag_id in DAG_IDS}
    return {dag_id: airflow.wait(dag_id, run_id) for dag_id, run_id in started.items()}


def value(airflow: AirflowInstance, run: DagRunResult, task_id: str, map_index: int = -1) -> Any:
    """What a task of the run returned."""
    return airflow.xcom(run.dag_id, run.run_id, task_id, map_index)


def test_every_example_is_run() -> None:
    """The list of examples here is that of the folder."""
    assert {file.stem for file in DAGS.glob("*.py")} == set(DAG_IDS)


def test_examples_import(airflow: AirflowInstance) -> None:
    """No example has an import error."""
    airflow.wait_for_dags(*DAG_IDS)
    assert not {f"{dag_id}.py" for dag_id in DAG_IDS} & airflow.import_errors().keys()


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_example_succeeds(runs: Runs, dag_id: str) -> None:
    """Every task instance succeeds at its first try."""
    assert [(task.name, task.state, task.try_number) for task in runs[dag_id].tasks] == [
        (task.name, "success", 1) for task in runs[dag_id].tasks
    ]


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_example_uses_the_workers_configured(airflow: AirflowInstance, runs: Runs, dag_id: str) -> None:
    """Each fan-out says that it ran on as many workers as the configuration asks for.

    It warns of nothing but failures that it tolerates.
    """
    run = runs[dag_id]
    instances = [task for task in run.tasks if task.task_id == PARALLEL[dag_id]]
    for task in instances:
        events = airflow.log_events(dag_id, run.run_id, task.task_id, task.map_index)
        assert any(f"on {WORKERS} workers" in event["event"] for event in events)
        warned = [event["event"] for event in events if event.get("level") in ("warning", "error", "critical")]
        known = ("a plain loop would have", TOLERATED.get(dag_id, "\0"))  # the first of few items, which are quick
        assert not [line for line in warned if not any(text in line for text in known)]


def test_no_worker_outlives_its_task(airflow: AirflowInstance, runs: Runs) -> None:
    """When the runs are over, nothing but Airflow's own processes is there."""
    assert runs
    commands = [" ".join(process.cmdline()) for process in airflow.leftovers()]
    assert not [command for command in commands if "loky" in command or "joblib" in command]


def test_fetch_prices_has_each_price(airflow: AirflowInstance, runs: Runs) -> None:
    """Each product has its own price, or None where the API knows of none."""
    products = value(airflow, runs["fetch_prices"], "list_products")
    prices = value(airflow, runs["fetch_prices"], "fetch_price")["prices"]
    assert [product["id"] for product in products] == list(range(1, 301))
    for product, price in zip(products, prices, strict=True):
        if product["id"] in WITHOUT:
            assert price is None
        else:
            expected = {"id": product["id"], "name": product["name"], "cents": 99 + product["id"] * 37 % 900}
            assert {name: price[name] for name in expected} == expected


def test_fetch_prices_asks_again(airflow: AirflowInstance, runs: Runs) -> None:
    """What is refused or fails is asked for again, and a price that isn't there is not: the server has counted."""
    run = runs["fetch_prices"]
    fetched = value(airflow, run, "fetch_price")
    answers = fetched["server"]["answers"]
    counts = {price["id"]: price["asked"] for price in fetched["prices"] if price is not None}
    refused = answers["429"] - len(REFUSED_ONCE)  # for haste, on a machine that was late with what came before
    again = [*REFUSED_ONCE, *FAILED_ONCE]
    assert all(count >= 1 + (number in again) for number, count in counts.items())
    assert sum(counts.values()) <= len(counts) + len(again) + refused
    assert {**answers, "429": 0} == {"200": 295, "404": len(WITHOUT), "429": 0, "500": len(FAILED_ONCE)}
    failures = airflow.xcom(run.dag_id, run.run_id, "fetch_price", key="failures")
    names = [product["name"] for product in value(airflow, run, "list_products")]
    assert [(one["index"], one["item"]) for one in failures] == [(n - 1, names[n - 1]) for n in WITHOUT]
    assert {(one["error_type"].rpartition(".")[2], one["tries"]) for one in failures} <= {("FailItem", 1)} or refused


def test_fetch_prices_keeps_the_rate(airflow: AirflowInstance, runs: Runs) -> None:
    """In no second do more requests reach the server than may start in one, and were under way before it."""
    server = value(airflow, runs["fetch_prices"], "fetch_price")["server"]
    assert server["busiest_second"] <= 111 + int(WORKERS) * 20  # without the limit nearly all come in one


def test_fetch_prices_checks(airflow: AirflowInstance, runs: Runs) -> None:
    """The last task has found a price of each product but those that the API doesn't know."""
    checked = value(airflow, runs["fetch_prices"], "check")
    cents = sum(99 + number * 37 % 900 for number in range(1, 301) if number not in WITHOUT)
    assert (checked["prices"], checked["cents"]) == (295, cents)
    assert checked["without"] == ["yellow candle", "yellow jar", "yellow mat", "yellow pot", "yellow vase"]


def test_transform_records_keeps_order_and_marks_what_is_unreadable(airflow: AirflowInstance, runs: Runs) -> None:
    """Each raw record has its reading at the same place; what isn't a quantity is None and named."""
    raw = _csv(DAGS / "data" / "weather.csv")
    readings = value(airflow, runs["transform_records"], "clean")
    assert [reading["id"] for reading in readings] == [row["id"] for row in raw]
    for row, reading in zip(raw, readings, strict=True):
        readable = re.search(r"\d", row["temperature"]) is not None
        assert (reading["celsius"] is not None) == readable
        assert ("temperature" in reading["unreadable"]) != readable


def test_transform_records_converts_units(airflow: AirflowInstance, runs: Runs) -> None:
    """Cities, moments, temperatures and speeds come out uniform, in whatever way they were written."""
    readings = {reading["id"]: reading for reading in value(airflow, runs["transform_records"], "clean")}
    assert len({reading["city"] for reading in readings.values()}) == 8
    assert readings["WX0034"]["celsius"] == round(286.9 - 273.15, 1)
    assert readings["WX0117"]["celsius"] == round((58.5 - 32) * 5 / 9, 1)
    assert readings["WX0031"]["celsius"] == 18.1
    assert readings["WX0158"]["observed_at"] == "2023-10-02T18:00:00+00:00"
    assert readings["WX0062"]["wind"] == round(10 * 0.514444, 1)
    assert readings["WX0123"]["humidity"] == 0.75


def test_transform_records_aggregates(airflow: AirflowInstance, runs: Runs) -> None:
    """The means downstream are those of the readings."""
    readings = value(airflow, runs["transform_records"], "clean")
    means = value(airflow, runs["transform_records"], "mean_per_city")
    for city, row in means.items():
        found = [r["celsius"] for r in readings if r["city"] == city and r["celsius"] is not None]
        assert row["celsius"] == round(mean(found), 1)
    assert sum(row["readings"] for row in means.values()) == 200


def test_process_files_counts_words(airflow: AirflowInstance, runs: Runs) -> None:
    """Counts are those of the texts as shipped; the text that isn't there is a record that says so."""
    texts = DAGS / "data" / "texts"
    results = value(airflow, runs["process_files"], "analyse")
    for entry, result in zip(_csv(texts / "catalogue.csv"), results, strict=True):
        assert result["title"] == entry["title"]
        if not (texts / entry["file"]).exists():
            assert result["error"] == f"FileNotFoundError: {entry['file']}"
            continue
        words = Counter(
            re.findall(r"[a-z]+(?:\u2019[a-z]+)?", (texts / entry["file"]).read_text(encoding="utf-8").lower())
        )
        assert (result["words"], result["different"]) == (words.total(), len(words))
        assert all(words[word] == count for word, count in result["frequent"].items())


def test_process_files_writes_to_a_folder_of_the_run(airflow: AirflowInstance, runs: Runs) -> None:
    """Each text's file holds its result, in a folder called by the run's id."""
    run = runs["process_files"]
    results = [result for result in value(airflow, run, "analyse") if "error" not in result]
    files = [Path(result.pop("file")) for result in results]
    assert {file.parent for file in files} == {airflow.home / "text_statistics" / run.run_id}
    assert [json.loads(file.read_text(encoding="utf-8")) for file in files] == results


def test_process_files_ranks(airflow: AirflowInstance, runs: Runs) -> None:
    """The ranking has every text that was read, and names the one that wasn't."""
    ranking = value(airflow, runs["process_files"], "rank")
    scores = [float(entry.rpartition("(")[2].rstrip(")")) for entry in ranking["easiest_first"]]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert ranking["unread"] == ["Frankenstein: FileNotFoundError: frankenstein.txt"]


def test_update_database_loses_no_update(airflow: AirflowInstance, runs: Runs) -> None:
    """Without a connection the shop is an SQLite file: every order booked once, to the last unit."""
    check_books(airflow, runs["update_database"])
    assert (airflow.home / "shop.db").exists()


def test_mapped_chunks_joins_in_order(airflow: AirflowInstance, runs: Runs) -> None:
    """Four instances with 250 numbers each; joined, every number has its own count."""
    run = runs["mapped_chunks"]
    assert [len(value(airflow, run, "collatz_steps", index)) for index in range(4)] == [250] * 4
    assert value(airflow, run, "join") == [_collatz(number) for number in range(1, 1001)]
    assert value(airflow, run, "find_longest") == {"numbers": 1000, "longest_from": 871, "longest": 178}


def _collatz(number: int) -> int:
    return 0 if number == 1 else 1 + _collatz(3 * number + 1 if number % 2 else number // 2)


def _csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
