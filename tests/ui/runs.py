"""Runs of the DAGs in ``dag_files``, most of which write records as a fan-out would."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tests.ui.records import record, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness import AirflowInstance

#: The DAG whose XComs nobody may read.
NO_XCOMS = "no_xcoms"
#: The DAG of a run that is not one of ``shown``.
DAGS = {"mapped": "shown_mapped", "no rights": NO_XCOMS, "real": "gallery"}

RECORDS: dict[str, dict[str, Any]] = {
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
}


class Runs:
    """Starts one run for each of `RECORDS`, and one that goes on until it is told."""

    def __init__(self, airflow: AirflowInstance, folder: Path) -> None:
        self._airflow = airflow
        self._gates = {name: folder / name for name in ("begin", "go on", "end")}
        airflow.wait_for_dags("shown", *DAGS.values())
        self.ids = {name: airflow.trigger(DAGS.get(name, "shown"), conf) for name, conf in RECORDS.items()}

    @cached_property
    def running(self) -> str:
        """The run that goes on: it records nothing, then half of its items, then all."""
        half = run(250, total=500, failed=3, state="running", seconds_left=9.0)
        steps = [
            {"record": None, "until": str(self._gates["begin"])},
            {"record": record(half), "until": str(self._gates["go on"])},
            {"record": record(run(500, failed=3)), "until": str(self._gates["end"])},
        ]
        return self._airflow.trigger("shown", {"steps": steps})

    def over(self, name: str) -> str:
        """Wait until a run is over; its id."""
        self._airflow.wait(DAGS.get(name, "shown"), self.ids[name])
        return self.ids[name]

    def wait_until_it_runs(self) -> None:
        """Wait until the task of `running` does."""
        deadline = time.monotonic() + 240
        path = ("dags", "shown", "dagRuns", self.running, "taskInstances", "thumbnail")
        while self._airflow.api.get(*path)["state"] != "running":
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def step(self, gate: str) -> None:
        """Let the run go on: past ``begin``, ``go on`` or ``end``."""
        self._gates[gate].touch()

    def end(self) -> None:
        """Let every task end."""
        for gate in self._gates.values():
            gate.touch()
