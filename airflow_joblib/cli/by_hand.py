"""Find parallelism by hand in the tasks of a DAG file: AJ101, AJ102, AJ103. Reads the file, runs nothing of it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_joblib.cli.findings import Finding, Place
from airflow_joblib.cli.scopes import Scope, scopes_of
from airflow_joblib.cli.task_code import code_of_tasks, nodes_of, of_scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["find_by_hand"]

_JOBLIB: Final = {f"{where}.Parallel" for where in ("joblib", "joblib.parallel", "sklearn.utils.parallel")}
_CONFIGURE: Final = {
    f"{where}.{name}" for where in ("joblib", "joblib.parallel") for name in ("parallel_config", "parallel_backend")
}
_MULTIPROCESSING: Final = {
    f"{where}.{name}"
    for where in ("multiprocessing", "multiprocess", "billiard", "torch.multiprocessing")
    for name in ("Pool", "Process", "pool.Pool", "process.Process", "context.Process")
}
_EXECUTORS: Final = {
    f"{where}.ProcessPoolExecutor"
    for where in ("concurrent.futures", "concurrent.futures.process", "loky", "joblib.externals.loky")
} | {"loky.get_reusable_executor", "joblib.externals.loky.get_reusable_executor"}
#: Backends of joblib that are of this process.
_HERE: Final = ("threading", "sequential")

_INSTEAD: Final = "Decorate the function that handles one item with @parallel_task, and call that with the items."
#: What goes wrong with workers that are fresh processes, those of a pool of forks, and single forks.
_FRESH: Final = (
    "its workers can't load a function of a DAG file (BrokenProcessPool under an executor), reach no Variable or "
    "Connection and lose their logs; they keep the task's slot when it has ended, and go on when it is killed"
)
_POOL: Final = (
    "Variable.get in its workers returns the default in place of the value, a worker that is killed hangs the call for "
    "ever, and workers go on when the task is killed"
)
_PROCESS: Final = (
    "Variable.get in its processes returns the default in place of the value, what they log mixes with the task's own "
    "lines, and they go on when the task is killed"
)
_ELSEWHERE: Final = (
    "its workers can't load a function of a DAG file, reach no Variable or Connection and lose their logs"
)
#: What is worse under Celery, whose tasks are daemonic processes.
_ONE: Final = "; under Celery all runs in one process."
_NONE: Final = "; under Celery it fails to start any."
_JOBLIB_WRONG: Final = {"loky": _FRESH + _ONE, "multiprocessing": _POOL + _ONE}


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a ``with parallel_config(...)`` around a call sets.

    Attributes:
        backend: Name of the backend; None where it sets none, Ellipsis where the name isn't plain to see.
        n_jobs: Workers, likewise.
    """

    backend: object = None
    n_jobs: object = None


def find_by_hand(file: str, tree: ast.Module) -> Iterator[Finding]:
    """Yield a finding for each pool, process or executor that a task of the file starts.

    Args:
        file: Path, for the findings.
        tree: The file's syntax tree.
    """
    scopes = scopes_of(tree)
    chosen = _chosen_anywhere(scopes)
    seen: set[ast.AST] = set()
    for code in code_of_tasks(scopes):
        settings = _settings(code.node, scopes)
        for node, scope in nodes_of(code.node, scopes):
            if not isinstance(node, ast.Call) or node in seen:
                continue
            if found := _judge(node, scope, _with(settings.get(node, _Setting()), chosen)):
                seen.add(node)
                what, wrong = found[1:]
                message = f"{what} in {code.kind} {code.task!r}: {wrong} {_INSTEAD}"
                yield Finding(
                    file, Place(node.lineno, node.col_offset + 1, node.end_lineno or node.lineno), found[0], message
                )


def _chosen_anywhere(scopes: Mapping[ast.AST, Scope]) -> object:
    """Return Ellipsis where a configuration anywhere in the file may choose threads; None where none does.

    It may be on the way to any call, so one without a backend of its own is not judged then.
    """
    for outer, scope in scopes.items():
        for node in of_scope(outer, scopes):
            setting = _setting(node, scope) if isinstance(node, ast.expr) else None
            if setting is not None and (setting.backend is ... or setting.backend in _HERE):
                return ...
    return None


def _with(setting: _Setting, chosen: object) -> _Setting:
    return _Setting(chosen, setting.n_jobs) if setting.backend is None else setting


def _judge(call: ast.Call, scope: Scope, setting: _Setting) -> tuple[str, str, str] | None:
    """Return the code, what is called, and what is wrong with it; None where nothing is."""
    names = scope.dotted(call.func)
    if not names:
        return None
    if names <= _JOBLIB:
        wrong = _wrong_with_joblib(call, scope, setting)
        return ("AJ101", "joblib.Parallel", wrong) if wrong else None
    what = min(names)
    if names <= _MULTIPROCESSING:
        wrong = _PROCESS if what.endswith("Process") else _POOL
        return "AJ102", what, wrong + ("." if what.startswith("billiard") else _NONE)
    if names <= _EXECUTORS:
        return "AJ103", what, f"{_FRESH}." if "loky" in what else _PROCESS + _NONE
    return None


def _wrong_with_joblib(call: ast.Call, scope: Scope, setting: _Setting) -> str:
    """Return what is wrong with a call of joblib's Parallel; empty where its workers are threads, or one alone."""
    n_jobs = _option(call, scope, "n_jobs", 0, setting.n_jobs)
    backend = _option(call, scope, "backend", 1, setting.backend)
    if n_jobs in (None, 1) or backend is ... or backend in _HERE:
        return ""
    hints = (_option(call, scope, "prefer", None), _option(call, scope, "require", None))
    if backend is None and hints[0] not in (None, "processes"):
        return ""
    if hints[1] is not None:
        return ""
    return _JOBLIB_WRONG.get(str(backend or "loky"), f"{_ELSEWHERE}.")


def _option(call: ast.Call, scope: Scope, name: str, place: int | None, otherwise: object = None) -> object:
    """Return what a call gives for an option; Ellipsis where it isn't plain to see."""
    if place is not None and len(call.args) > place:
        return scope.constant(call.args[place])
    for keyword in call.keywords:
        if keyword.arg == name:
            found = scope.constant(keyword.value)
            return otherwise if found is None else found
        if keyword.arg is None:
            return ...
    return otherwise


def _settings(code: ast.AST, scopes: Mapping[ast.AST, Scope]) -> dict[ast.AST, _Setting]:
    """Return what is set around the calls in some code, by the call."""
    found: dict[ast.AST, _Setting] = {}
    for node, scope in nodes_of(code, scopes):
        if isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                setting = _setting(item.context_expr, scope)
                if setting is not None:
                    found.update((each, setting) for each in ast.walk(node) if isinstance(each, ast.Call))
    return found


def _setting(value: ast.expr, scope: Scope) -> _Setting | None:
    if not isinstance(value, ast.Call) or not (names := scope.dotted(value.func)) or not names <= _CONFIGURE:
        return None
    only_named = any(name.endswith("parallel_backend") for name in names)
    return _Setting(
        _option(value, scope, "backend", 0),
        _option(value, scope, "n_jobs", 1 if only_named else None, ... if only_named else None),
    )
