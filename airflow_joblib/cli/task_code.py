"""Which code of a DAG file runs in tasks: their functions, and what those refer to in the same file."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_joblib.cli.references import is_main, references

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_joblib.cli.scopes import Scope

__all__ = ["TaskCode", "code_of_tasks", "nodes_of", "of_scope"]

_TASK = ("airflow.sdk.task", "airflow.decorators.task")
_PARALLEL = ("airflow_joblib.parallel_task", "airflow_joblib.decorator.parallel_task")
#: Kinds of ``@task`` whose function runs in another process or place, which Airflow starts for it.
_ELSEWHERE = ("virtualenv", "external_python", "docker", "kubernetes", "snowpark")
_OPERATORS = ("Operator", "Sensor")
#: So many classes are followed from one to its base.
_BASES = 8
#: Methods of an operator that a task runs.
_RUN = ("execute", "poke")


@dataclass(frozen=True, slots=True)
class TaskCode:
    """A function, or a class, whose code runs in a task.

    Attributes:
        node: The function or class.
        task: Name of the task's function, or of the operator's class.
        kind: Which of the two it is.
    """

    node: ast.AST
    task: str
    kind: Literal["task", "operator"] = "task"


def code_of_tasks(scopes: Mapping[ast.AST, Scope]) -> Iterator[TaskCode]:
    """Yield the code that runs in tasks, each function once."""
    seen: set[ast.AST] = set()
    stack = list(_roots(scopes))[::-1]
    while stack:
        code = stack.pop()
        if code.node in seen:
            continue
        seen.add(code.node)
        yield code
        stack += [TaskCode(node, code.task, code.kind) for node in _referred(code.node, scopes)][::-1]


def nodes_of(code: ast.AST, scopes: Mapping[ast.AST, Scope]) -> Iterator[tuple[ast.AST, Scope]]:
    """Yield each node of a function, with its scope; what runs in other processes anyway is left out."""
    stack = [(code, scopes[code])]
    while stack:
        node, scope = stack.pop()
        yield node, scope
        children = node.orelse if isinstance(node, ast.If) and is_main(node) else ast.iter_child_nodes(node)
        for child in reversed(list(children)):
            inner = scopes.get(child, scope)
            stack += [] if _is_parallel(child, scope) else [(child, inner)]


def _is_parallel(node: ast.AST, scope: Scope) -> bool:
    """Return whether a node is the function of a parallel task, whose body runs in workers."""
    return any(name in _PARALLEL or name in {f"{task}.parallel" for task in _TASK} for name in _decorators(node, scope))


def _roots(scopes: Mapping[ast.AST, Scope]) -> Iterator[TaskCode]:
    """Yield the functions of tasks: decorated ones, callables of operators, and the methods that operators run."""
    for node, scope in scopes.items():
        if isinstance(node, ast.ClassDef):
            yield from _methods(node, scope)
        elif scope.parent is not None and _is_task(node, scope.parent):
            yield TaskCode(node, getattr(node, "name", "lambda"))
    for outer, scope in scopes.items():
        for node in of_scope(outer, scopes):
            if isinstance(node, ast.Call):
                yield from _callables(node, scope, scopes)
                yield from _made_tasks(node, scope, scopes)


def of_scope(node: ast.AST, scopes: Mapping[ast.AST, Scope]) -> Iterator[ast.AST]:
    """Yield the nodes of a scope without those of the scopes in it."""
    stack = list(ast.iter_child_nodes(node))
    while stack:
        child = stack.pop()
        yield child
        if child not in scopes:
            stack += ast.iter_child_nodes(child)


def _is_task(node: ast.AST, scope: Scope) -> bool:
    return not _is_parallel(node, scope) and any(_runs_here(name) for name in _decorators(node, scope))


def _decorators(node: ast.AST, scope: Scope) -> set[str]:
    found: set[str] = set()
    for each in getattr(node, "decorator_list", ()):
        found |= scope.dotted(each.func if isinstance(each, ast.Call) else each)
    return found


def _runs_here(decorator: str) -> bool:
    for task in _TASK:
        if decorator == task or decorator.startswith(f"{task}."):
            return not any(kind in decorator for kind in _ELSEWHERE)
    return decorator == "airflow.decorators.python.python_task"


def _methods(node: ast.ClassDef, scope: Scope) -> Iterator[TaskCode]:
    """Yield the methods of an operator that a task runs, and those beside them."""
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    if any(each.name in _RUN for each in methods) and _is_operator(node, scope, _BASES):
        yield from (TaskCode(each, node.name, "operator") for each in methods if each.name != "__init__")


def _is_operator(node: ast.ClassDef, scope: Scope, steps: int) -> bool:
    """Return whether a class derives from an operator, by its bases' names or by theirs in the same file."""
    if any(getattr(base, "attr", getattr(base, "id", "")).endswith(_OPERATORS) for base in node.bases):
        return True
    names = [base.id for base in node.bases if isinstance(base, ast.Name)] if steps else []
    found = [each for name in names for _, each in (scope.parent or scope).defined(name)]
    return any(_is_operator(each, scope, steps - 1) for each in found if isinstance(each, ast.ClassDef))


def _made_tasks(call: ast.Call, scope: Scope, scopes: Mapping[ast.AST, Scope]) -> Iterator[TaskCode]:
    """Yield the functions that ``task(function)`` and ``task(...)(function)`` make tasks of."""
    made = scope.dotted(call.func.func if isinstance(call.func, ast.Call) else call.func)
    if not made or not all(map(_runs_here, made)):
        return
    for around, each in references([(argument, scope) for argument in call.args[:1]], scopes):
        if not _is_parallel(each, around):
            yield TaskCode(each, getattr(each, "name", "lambda"))


def _callables(call: ast.Call, scope: Scope, scopes: Mapping[ast.AST, Scope]) -> Iterator[TaskCode]:
    """Yield the functions that an operator is given."""
    made = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if any(kind in made.lower() for kind in ("virtualenv", "externalpython")):
        return
    for keyword in call.keywords:
        if keyword.arg == "python_callable":
            nodes = list(ast.walk(keyword.value))
            yield from (TaskCode(node, "lambda") for node in nodes if isinstance(node, ast.Lambda))
            for around, each in references([(node, scope) for node in nodes], scopes):
                if not _is_parallel(each, around):
                    yield TaskCode(each, getattr(each, "name", "lambda"))


def _referred(code: ast.AST, scopes: Mapping[ast.AST, Scope]) -> Iterator[ast.AST]:
    """Yield the functions of the file that some code runs."""
    found = references(nodes_of(code, scopes), scopes)
    yield from (each for around, each in found if not _is_parallel(each, around))
