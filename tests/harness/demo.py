"""Run the example DAGs on a real Airflow and show what came of them.

``python -m tests.harness.demo [--ui] [--home DIR] [DAG ...]``, from the top of the repository. Exit code 0 says that
every run succeeded and that no process is left.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.harness.instance import AirflowInstance, HarnessError
from tests.harness.processes import describe
from tests.harness.report import outline, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.harness.results import DagRunResult, TaskResult

DAGS = Path(__file__).parents[2] / "dags"
#: What is run for its tab, where the UI stays up.
SHOWN = Path(__file__).parent / "shown"
WORKERS = "2"
_AIRFLOW = "/site-packages/airflow/"  # whose own frames say nothing about a failed task


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    if options.home:
        return _demo(options.home, options)
    with tempfile.TemporaryDirectory(prefix="airflow-joblib-demo-") as home:
        return _demo(Path(home), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("dags", nargs="*", metavar="DAG", help="the DAGs to run (default: every example)")
    parser.add_argument("--ui", action="store_true", help="leave the UI up afterwards, until Ctrl-C")
    parser.add_argument("--home", type=Path, help="AIRFLOW_HOME to use and keep (default: a temporary folder)")
    return parser


def _demo(home: Path, options: argparse.Namespace) -> int:
    airflow = AirflowInstance(home, [DAGS, *([SHOWN] if options.ui else [])], env={"AIRFLOW__JOBLIB__N_JOBS": WORKERS})
    began = time.monotonic()
    succeeded = False
    try:
        _say(f"Starting Airflow in {airflow.home} ...")
        with airflow:
            _say(f"Healthy after {time.monotonic() - began:.0f} s.")
            succeeded = _run_all(airflow, options.dags or sorted(file.stem for file in DAGS.glob("*.py")))
            if options.ui:
                _serve(airflow)
    except HarnessError as error:
        _say(f"\nFAILED: {error}")
    except KeyboardInterrupt:
        _say("\nInterrupted.")
    return 0 if _nothing_left(airflow) and succeeded else 1


def _run_all(airflow: AirflowInstance, dag_ids: Sequence[str]) -> bool:
    """Run the DAGs one after another, for seconds that mean something; whether each run succeeded."""
    airflow.wait_for_dags(*dag_ids)
    results = [_run(airflow, dag_id) for dag_id in dag_ids]
    _say("")
    _say(table(("DAG", "task", "state", "seconds", "workers"), _rows(airflow, results)))
    for result in results:
        _show(airflow, result)
    return all(result.ok for result in results)


def _run(airflow: AirflowInstance, dag_id: str) -> DagRunResult:
    _say(f"Running {dag_id} ...")
    return airflow.run_dag(dag_id, timeout=300)


def _rows(airflow: AirflowInstance, results: Sequence[DagRunResult]) -> list[tuple[object, ...]]:
    return [
        (result.dag_id, task.name, task.state, task.seconds, _workers(airflow, result, task))
        for result in results
        for task in result.tasks
    ]


def _workers(airflow: AirflowInstance, run: DagRunResult, task: TaskResult) -> int | None:
    """How many workers a parallel task had, by its own account in the log."""
    events = airflow.log_events(run.dag_id, run.run_id, task.task_id, task.map_index, task.try_number)
    told = (re.search(r" items (?:\(.+?\) )?on (\d+) worker", str(event.get("event"))) for event in events)
    return next((int(match[1]) for match in told if match), None)


def _show(airflow: AirflowInstance, run: DagRunResult) -> None:
    """The run's XComs, and the log of each task that failed."""
    _say(f"\n{run.dag_id}: {run.state}")
    for task in run.tasks:
        value = airflow.xcom(run.dag_id, run.run_id, task.task_id, task.map_index)
        if value is not None:
            _say(f"  {task.name}\n{outline(value, '    ')}")
    for task in run.failed:
        _say(f"\nLog of {run.dag_id}.{task.name}, which FAILED:")
        events = airflow.log_events(run.dag_id, run.run_id, task.task_id, task.map_index, task.try_number)
        _say("\n".join(_log_line(event) for event in events if "group::" not in event.get("event", "")))


def _log_line(event: dict[str, Any]) -> str:
    """One log line: when, level, text, and the error with its traceback's last frames."""
    line = f"  {event.get('timestamp', '')[11:19]} {event.get('level', ''):8} {event.get('event', '')}"
    for error in event.get("error_detail") or []:
        own = [frame for frame in error.get("frames", []) if _AIRFLOW not in frame["filename"]]
        frames = "".join(f"\n      {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in own)
        line += f"{frames}\n    {error.get('exc_type')}: {error.get('exc_value')}"
        line += "".join(f"\n      {note}" for note in error.get("exc_notes") or [])
    return line


def _serve(airflow: AirflowInstance) -> None:
    """Keep the UI up until Ctrl-C or SIGTERM."""
    try:
        airflow.wait_for_dags("gallery")
        run = _run(airflow, "gallery")
        _say(f"\nA fan-out is shown at {tab_address(airflow, run, 'thumbnail')}")
        _say(f"\nThe UI is at {airflow.url} (no login needed, everyone is an admin). Ctrl-C ends it.")
        signal.pause()
    except KeyboardInterrupt:
        _say("\nStopping ...")


def tab_address(airflow: AirflowInstance, run: DagRunResult, task_id: str) -> str:
    """Where the UI shows the fan-out of a task."""
    return f"{airflow.url}/dags/{run.dag_id}/runs/{quote(run.run_id)}/tasks/{task_id}/plugin/fan-out"


def _nothing_left(airflow: AirflowInstance) -> bool:
    """Say whether every process is gone."""
    left = [*airflow.killed, *map(describe, airflow.leftovers())]
    _say("\nStopped. No process is left." if not left else "\nProcesses that had to be killed:\n" + "\n".join(left))
    return not left


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
