"""What is wrong with the parallel tasks of a file that is being loaded, as findings with their places."""

from __future__ import annotations

import inspect
import weakref
from typing import TYPE_CHECKING, Any

from airflow_joblib.cli.combinations import combinations
from airflow_joblib.cli.findings import Finding, Place
from airflow_joblib.exceptions import InvalidOptionError, NotPicklableError, ParallelTaskError
from airflow_joblib.options import error_collector

if TYPE_CHECKING:
    from airflow_joblib.cli.positions import Positions

__all__ = ["TOO_LONG", "Faults"]

#: Characters of an error's message that are shown.
_LONGEST = 300
TOO_LONG = (
    "The file can't be loaded in {seconds:g} s, and was here then. Airflow loads it again and again, and for each task "
    "that it runs: leave what takes long to a task, or give more time with --timeout."
)


class Faults(error_collector.ErrorCollector):
    """Takes what decorators and calls of parallel tasks would raise.

    Args:
        file: Path of the file.
        positions: The places in it.

    Attributes:
        found: The findings so far.
    """

    def __init__(self, file: str, positions: Positions) -> None:
        self.file = file
        self.found: list[Finding] = []
        self._positions = positions
        self._decorated: list[weakref.ref[Any]] = []  # what the file drops, as `f` in `f.override(...)`, nobody calls
        self._tasks: list[Any] = []

    def option(self, name: str, error: InvalidOptionError) -> None:
        """Take an option that is invalid or misspelt."""
        self._add("AJ203", self._positions.of_option(name, inspect.currentframe()), str(error))

    def decorated(self, parallel: Any) -> None:
        """Take a parallel task, which may be one of a class or a list."""
        self._decorated.append(weakref.ref(parallel))

    def task(self, parallel: Any) -> None:
        """Take a parallel task that a DAG has."""
        if not any(parallel is known for known in self._tasks):
            self._tasks.append(parallel)

    def fault(self, parallel: Any, error: ParallelTaskError) -> None:
        """Take what keeps a parallel task from its workers, a finding for each culprit."""
        if not isinstance(error, NotPicklableError):
            self.error(error)
            return
        line = self._first_line(parallel)
        for culprit in error.culprits:
            context = culprit.type.startswith("context[")
            self._add("AJ202" if context else "AJ201", self._of_culprit(culprit.path, line), str(culprit))

    def error(self, error: BaseException) -> None:
        """Take what has ended the loading."""
        place = self._positions.of_error(error)
        if isinstance(error, InvalidOptionError):
            self._add("AJ203", place, str(error))
        elif isinstance(error, NotPicklableError):
            for culprit in error.culprits:
                self._add("AJ201", place, str(culprit))
        else:
            self._add("AJ901", place, unloadable(error))

    def too_long(self, error: BaseException, seconds: float) -> None:
        """Take what was being done when the time for the loading was over."""
        self._add("AJ901", self._positions.of_error(error), TOO_LONG.format(seconds=seconds))

    def finish(self) -> None:
        """Look at parallel tasks as a whole: those that DAGs have, and those the file defines and calls elsewhere."""
        alive = [parallel for reference in self._decorated if (parallel := reference()) is not None]
        for parallel in (each for each in alive if self._first_line(each)):
            if not any(parallel is known for known in self._tasks):
                self._tasks.append(parallel)
                if parallel.uses_processes():
                    with error_collector.errors_collected(parallel):
                        parallel.check()
        for parallel in self._tasks:
            line = self._first_line(parallel)
            if line:
                for place, message in combinations(parallel, line, self._positions):
                    self._add("AJ301", place, message)

    def _first_line(self, parallel: Any) -> int:
        """Return the line in which the function of a parallel task begins; 0 where it is not of this file."""
        code = getattr(inspect.unwrap(parallel.function), "__code__", None)
        return code.co_firstlineno if code is not None and code.co_filename == self.file else 0

    def _of_culprit(self, path: str, line: int) -> Place:
        if not line:  # the function is of another file, and this one has made the task
            return self._positions.of_option("", inspect.currentframe())
        if path.startswith("per_worker "):
            return self._positions.of_decorator(line, "per_worker") or self._positions.of_function(line)
        return self._positions.of_culprit(path, line)

    def _add(self, code: str, place: Place, message: str) -> None:
        line = "".join(each if each.isprintable() else "?" for each in " ".join(message.split()))
        self.found.append(Finding(self.file, place, code, line))


def unloadable(error: BaseException) -> str:
    """Return why a file can't be loaded, and what to do about it."""
    if isinstance(error, SystemExit):
        return "The file ends the process that loads it (SystemExit): leave that to code below `if __name__ == ...`."
    said = _said(error)
    shown = ": ".join(filter(None, (type(error).__name__, said.partition("\n")[0][:_LONGEST].rstrip("."))))
    return f"The file can't be loaded here: {shown}. {_advice(error, said)}"


def _said(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001 - the file's own class
        return ""


def _advice(error: BaseException, said: str) -> str:
    if isinstance(error, ImportError):
        return "Run the check where the DAG's own packages are installed, and give the DAGs folder as a path."
    said = f"{type(error).__name__} {said}"
    if "VARIABLE" in said or "Variable" in said:
        return "The check has no database: set AIRFLOW_VAR_... for it, or read the Variable in the task."
    if "CONNECTION" in said or "conn_id" in said or "AirflowNotFound" in said:
        return "The check has no database: set AIRFLOW_CONN_... for it, or use the Connection in the task."
    return "An executor would fail at this line too, unless what it needs is only there."
