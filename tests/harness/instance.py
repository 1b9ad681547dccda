"""One Airflow, complete and real: scheduler with LocalExecutor, API server and DAG processor, each a process.

::

with AirflowInstance ──► airflow.cfg, airflow.db ──► services ──► healthy ──► trigger, wait, xcom, log
                exit ──► SIGTERM ──► what is left after a while: SIGKILL, and told by `killed`
"""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.error import URLError

from tests.harness.api import AirflowApi, ApiError
from tests.harness.processes import Service, airflow_command, describe, is_idle_worker, kill_all, marked
from tests.harness.results import DagRunResult, TaskResult, in_order, plain
from tests.harness.settings import child_environment, free_port, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import psutil

    from tests.harness.settings import Sections

__all__ = ["AirflowInstance", "HarnessError"]

_SERVICES = {"api-server": (), "scheduler": ("--skip-serve-logs",), "dag-processor": ()}
_OVER = ("success", "failed")
#: Seconds after which a service that goes on is asked to stop once more.
_ASK_AGAIN = 15.0


class HarnessError(RuntimeError):
    """Airflow didn't do what was waited for; the message has the tail of its logs."""


class AirflowInstance:
    """A context manager that starts an Airflow of its own and leaves nothing of it running.

    Attributes:
        home: Its AIRFLOW_HOME: configuration, database, logs.
        url: Where the UI and the API are.
        killed: After the exit, what didn't stop when asked to, in words; empty when all went well.
    """

    def __init__(
        self,
        home: Path,
        dags_folders: Sequence[Path],
        *,
        env: Mapping[str, str] | None = None,
        database: Path | None = None,
        config: Sections | None = None,
        services: Mapping[str, Sequence[str]] | None = None,
        start_timeout: float = 240,
        base_path: str = "",
    ) -> None:
        """Prepare it; nothing starts before ``with``.

        Args:
            home: Folder for everything it writes; made if it isn't there.
            dags_folders: Where the DAG files are, one bundle each.
            env: Environment variables for its processes, ``AIRFLOW__...`` ones included.
            database: A migrated SQLite file to start from, as `migrated_database` makes one; saves seconds.
            config: Options by section that go before the harness's own: another executor, another database.
            services: Further components by the name of their ``airflow`` command, with its arguments.
            start_timeout: Seconds until it must be healthy.
            base_path: What the paths of its addresses begin with, as behind a proxy: ``/team``.
        """
        self.home = home.resolve()
        self.killed: tuple[str, ...] = ()
        self._folders = tuple(folder.resolve() for folder in dags_folders)
        self._database = database
        self._config = config or {}
        self._components = {**_SERVICES, **(services or {})}
        self._start_timeout = start_timeout
        self._marker = secrets.token_hex(8)
        self._environment = child_environment(self.home, self._marker, env or {})
        self._services: list[Service] = []
        self.url = f"http://127.0.0.1:{free_port()}{base_path}"
        self.api = AirflowApi(self.url)

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def prepare(self) -> None:
        """Write the configuration and make the database; starts no service."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_config(self.home, self._folders, self.url, self._config)
        if self._database is None:
            self.run("db", "migrate")
        else:
            shutil.copyfile(self._database, self.home / "airflow.db")
        if "database" in self._config:  # not SQLite's file
            return
        with closing(sqlite3.connect(self.home / "airflow.db")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # readers and the writer don't block each other

    def run(self, *arguments: str) -> str:
        """Run an ``airflow`` command of this instance to its end; what it printed."""
        done = subprocess.run(
            airflow_command(*arguments), env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise HarnessError(f"`airflow {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def stop(self, timeout: float = 40) -> None:
        """Stop the services, then whatever is left of them, even when a second Ctrl-C interrupts the wait."""
        try:
            self._ask_to_stop(time.monotonic() + timeout)
            self._settle()
        finally:
            left = self.leftovers()
            self.killed += tuple(map(describe, left))
            kill_all(left)
            self._join(self._services, time.monotonic() + 1)  # reap them
            self._services.clear()

    def another(self, name: str, *options: str) -> Service:
        """Start one more component, which may end before the instance does."""
        log = self.home / f"{name}-{secrets.token_hex(4)}.log"
        return Service(name, environment=self._environment, log=log, options=options)

    def leftovers(self) -> list[psutil.Process]:
        """Every living process this instance has started, directly or not, orphans included."""
        return marked(self._marker)

    def import_errors(self) -> dict[str, str]:
        """Files that couldn't be parsed, by name, and why."""
        errors = self.api.all("importErrors", field="import_errors")
        return {error["filename"]: error["stack_trace"] for error in errors}

    def dag_ids(self) -> set[str]:
        """Every DAG parsed so far."""
        return {dag["dag_id"] for dag in self.api.all("dags", field="dags")}

    def wait_for_dags(self, *dag_ids: str, timeout: float = 240) -> None:
        """Wait until each of *dag_ids* was parsed; an import error of a file of that name ends the wait."""
        wanted, files = set(dag_ids), {f"{dag_id}.py" for dag_id in dag_ids}
        self._until(lambda: wanted <= self.dag_ids() or files & self.import_errors().keys(), timeout, str(dag_ids))
        if missing := wanted - self.dag_ids():
            errors = "\n".join(f"{file}: {error}" for file, error in self.import_errors().items())
            raise HarnessError(f"DAGs that couldn't be imported: {', '.join(sorted(missing))}.\n{errors}")

    def wait_for_import_error(self, filename: str, timeout: float = 240) -> str:
        """Wait until the DAG file called *filename* was refused; why."""
        self._until(lambda: filename in self.import_errors(), timeout, f"import error of {filename}")
        return self.import_errors()[filename]

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, logical_date: str | None = None) -> str:
        """Start a run now, with a logical date or without; its id."""
        body = {"logical_date": logical_date, "conf": dict(conf or {})}
        return str(self.api.post("dags", dag_id, "dagRuns", body=body)["dag_run_id"])

    def wait(self, dag_id: str, run_id: str, timeout: float = 400) -> DagRunResult:
        """Wait until the run is over, however it ends.

        Raises:
            HarnessError: It takes too long; a note has the last lines of every task that goes on.
        """
        try:
            self._until(lambda: self._state(dag_id, run_id) in _OVER, timeout, f"{dag_id} {run_id}")
        except HarnessError as error:
            with suppress(OSError, ApiError):  # the server may have ended
                error.add_note(self._unfinished(dag_id, run_id))
            raise
        return DagRunResult(dag_id, run_id, self._state(dag_id, run_id), self._tasks(dag_id, run_id))

    def _unfinished(self, dag_id: str, run_id: str) -> str:
        tasks = [task for task in self._tasks(dag_id, run_id) if task.state not in _OVER]
        logs = [self.log(dag_id, run_id, task.task_id, task.map_index, task.try_number) for task in tasks]
        return "\n\n".join(f"{task}:\n{log[-2000:]}" for task, log in zip(tasks, logs, strict=True))

    def _tasks(self, dag_id: str, run_id: str) -> tuple[TaskResult, ...]:
        found = self.api.all("dags", dag_id, "dagRuns", run_id, "taskInstances", field="task_instances")
        return in_order(map(TaskResult.from_api, found))

    def run_dag(self, dag_id: str, conf: Mapping[str, Any] | None = None, timeout: float = 400) -> DagRunResult:
        """Trigger a run and wait for its end."""
        return self.wait(dag_id, self.trigger(dag_id, conf), timeout)

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """An XCom as plain Python; None when there is none."""
        path = ("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "xcomEntries", key)
        try:
            return plain(self.api.get(*path, map_index=map_index, deserialize="false")["value"])
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def xcom_keys(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[str]:
        """Keys of every XCom that a task instance has pushed."""
        path = ("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "xcomEntries")
        found = self.api.all(*path, field="xcom_entries")
        return [entry["key"] for entry in found if entry["map_index"] == map_index]

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int = 1) -> str:
        """A task instance's log as written: one JSON object a line."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        if map_index >= 0:
            folder /= f"map_index={map_index}"
        file = folder / f"attempt={try_number}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def log_events(self, *task_instance: Any, **more: Any) -> list[dict[str, Any]]:
        """The same log, a dict a line: ``event``, ``level``, ``logger`` and whatever else was said."""
        return [json.loads(line) for line in self.log(*task_instance, **more).splitlines() if line.startswith("{")]

    def _start(self) -> None:
        for name, options in self._components.items():
            log = self.home / f"{name}.log"
            self._services.append(Service(name, environment=self._environment, log=log, options=options))
        self._until(self._healthy, self._start_timeout, "a healthy Airflow")

    def _healthy(self) -> bool:
        try:
            health = self.api.health()
        except (URLError, ApiError, ConnectionError, TimeoutError):
            return False
        return all(health.get(component) == "healthy" for component in ("metadatabase", "scheduler", "dag_processor"))

    def _state(self, dag_id: str, run_id: str) -> str:
        return str(self.api.get("dags", dag_id, "dagRuns", run_id)["state"])

    def _ask_to_stop(self, deadline: float) -> None:
        """Stop the API server last, since ending tasks report to it."""
        first = [service for service in self._services if service.name != "api-server"]
        for group in (first, self._services):
            # A scheduler ends by SystemExit from its signal handler, which is lost where it comes in the midst of a
            # callback of the garbage collector (seen on 3.3.2): so it is asked again.
            while any(service.exit_code is None for service in group) and time.monotonic() < deadline:
                for service in group:
                    service.terminate()
                self._join(group, min(deadline, time.monotonic() + _ASK_AGAIN))

    def _join(self, services: Sequence[Service], deadline: float) -> None:
        patience = time.monotonic() + 3
        while any(service.exit_code is None for service in services) and time.monotonic() < deadline:
            time.sleep(0.1)
            if time.monotonic() > patience:
                # LocalExecutor sends one "stop" for each worker that lives. A worker that has taken another's and is
                # gone before its own turn leaves one waiting for ever, and the scheduler with it (seen on 3.3.2).
                kill_all([process for process in self.leftovers() if is_idle_worker(process)])

    def _settle(self, seconds: float = 3) -> None:
        """Give what the services have just told to stop a moment to do so."""
        deadline = time.monotonic() + seconds
        while self.leftovers() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _until(self, happened: Callable[[], object], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not happened():
            if dead := [service for service in self._services if service.exit_code is not None]:
                raise HarnessError(f"{dead[0].name} ended ({dead[0].exit_code}):\n{dead[0].tail()}")
            if time.monotonic() > deadline:
                tails = "\n\n".join(f"{service.name}:\n{service.tail()}" for service in self._services)
                raise HarnessError(f"Waited {timeout:.0f} s in vain for {what}.\n{tails}")
            time.sleep(0.25)  # each look takes the API server some CPU time


def migrated_database(home: Path) -> Path:
    """Make an empty Airflow database in *home*, for other instances to start from."""
    AirflowInstance(home, [home]).prepare()
    with closing(sqlite3.connect(home / "airflow.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")  # one file again, so that it can be copied
    return home / "airflow.db"
