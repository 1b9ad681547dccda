"""Runs of the DAGs in ``dag_files``, most of which write records as a fan-out would."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.ui.records import record, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness import AirflowInstance

#: The DAG whose XComs nobody may read.
NO_XCOMS = "no_xcoms"
#: The DAG of a run that is not one of ``shown``.
DAGS = {"mapped": "shown_mapped", "no rights": NO_XCOMS, "real": "gallery", "retried": "shown_again"}

GATES = ("begin", "go on", "end", "fail", "record again", "end again")

RECORDS: dict[str, dict[str, Any]] = {
    # Goes on until it is told: it records nothing, then half of its items, then all.
    "running": {
        "steps": [
            {"record": None, "until": "begin"},
            {"record": record(run(250, total=500, failed=3, state="running", seconds_left=9.0)), "until": "go on"},
            {"record": record(run(500, failed=3)), "until": "end"},
        ]
    },
    "failed": {
        "steps": [{"record": record(run(60), run(500, failed=23, state="failed"))}],
        "fails": True,
    },
    "large": {"steps": [{"record": record(run(100_000, workers=16, failed=140))}]},
    "mapped": {"steps": [{"record": record(run(60))}]},
    "empty": {},
    "elsewhere": {"steps": [{"record": "s3://xcoms/shown/run/thumbnail/fan_out"}]},
    "later": {"steps": [{"record": {"version": 7, "runs": []}}]},
    "killed": {"steps": [{"record": record(run(100, total=500, state="running"))}], "fails": True},
    "real": {},
    "no rights": {"steps": [{"record": record(run(60))}]},
    # Fails once, with a record, and is tried again; each try goes on until it is told.
    "retried": {
        "tries": [
            {
                "steps": [
                    {"record": record(run(100, total=500, state="running", seconds_left=14.0)), "until": "fail"},
                    {"record": record(run(240, total=500, failed=23, state="failed"))},
                ],
                "fails": True,
            },
            {
                "steps": [
                    {"record": None, "until": "record again"},
                    {"record": record(run(100, total=500, state="running", seconds_left=14.0)), "until": "end again"},
                    {"record": record(run(500, failed=3))},
                ]
            },
        ]
    },
}


class Runs:
    """Starts one run for each of `RECORDS`."""

    def __init__(self, airflow: AirflowInstance, folder: Path) -> None:
        self._airflow = airflow
        self._gates = {name: folder / name for name in GATES}
        gates = {name: str(path) for name, path in self._gates.items()}
        airflow.wait_for_dags("shown", *DAGS.values())
        # No task may start meanwhile. Airflow 3.2 logs such a request in its event loop, which then waits until SQLite
        # is free, as the request of a task that starts may wait for the event loop with SQLite locked.
        airflow.api.patch("dags", body={"is_paused": True}, dag_id_pattern="%")
        conf = {name: {**conf, "gates": gates} for name, conf in RECORDS.items()}
        self.ids = {name: airflow.trigger(DAGS.get(name, "shown"), conf[name]) for name in RECORDS}
        airflow.api.patch("dags", body={"is_paused": False}, dag_id_pattern="%")

    def over(self, name: str) -> str:
        """Wait until a run is over; its id."""
        self._airflow.wait(DAGS.get(name, "shown"), self.ids[name])
        return self.ids[name]

    def wait_until_it_runs(self) -> None:
        """Wait until the task of ``running`` does."""
        deadline = time.monotonic() + 240
        path = ("dags", "shown", "dagRuns", self.ids["running"], "taskInstances", "thumbnail")
        while self._airflow.api.get(*path)["state"] != "running":
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def step(self, gate: str) -> None:
        """Let the run go on that waits for one of `GATES`."""
        self._gates[gate].touch()

    def end(self) -> None:
        """Let every task end."""
        for gate in self._gates.values():
            gate.touch()
