"""Which functions of a file some code runs: those that it calls or passes on, and methods that it names of classes."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_joblib.cli.scopes import Scope

__all__ = ["is_main", "references"]

#: Methods that making an object runs, and that ``with`` does.
_MADE = ("__new__", "__init__", "__post_init__")
_ENTERED = ("__enter__", "__exit__", "__aenter__", "__aexit__")
#: So many names are followed from one to the next.
_STEPS = 8


def references(
    nodes: Iterable[tuple[ast.AST, Scope]], scopes: Mapping[ast.AST, Scope]
) -> Iterator[tuple[Scope, ast.AST]]:
    """Yield the functions that some code runs, each with the scope around it.

    Args:
        nodes: The nodes of the code, each with its scope.
        scopes: The scopes of the file.
    """
    found = list(nodes)
    named = {each for node, _ in found for each in _only_named(node)}
    for node, scope in found:
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if node not in named:
                yield from (each for each in scope.defined(name) if not isinstance(each[1], ast.ClassDef))
            case ast.Attribute(value=value, attr=attr):
                yield from _methods(value, (attr,), scope, scopes)
            case ast.Call(func=func):
                made = isinstance(func, ast.Name) and any(
                    isinstance(e, ast.ClassDef) for _, e in scope.defined(func.id)
                )
                yield from _methods(func, _MADE if made else ("__call__",), scope, scopes)
            case ast.withitem(context_expr=value):
                yield from _methods(value, _ENTERED, scope, scopes)


def is_main(node: ast.AST) -> bool:
    """Return whether a node is ``if __name__ == "__main__"``, which no task comes into."""
    match node:
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()])):
            return True
    return False


def _only_named(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the names in a node that it neither calls nor passes on."""
    match node:
        case ast.Attribute(value=ast.Name() as name) | ast.Expr(value=ast.Name() as name):
            yield name
        case ast.Assign(value=ast.Name() as name):  # the new name is followed where it is called
            yield name
        case ast.Compare():
            yield from (each for each in (node.left, *node.comparators) if isinstance(each, ast.Name))
        case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
            yield from ast.walk(annotation)
        case ast.FunctionDef(returns=ast.expr() as returns) | ast.AsyncFunctionDef(returns=ast.expr() as returns):
            yield from ast.walk(returns)


def _methods(
    value: ast.expr, names: tuple[str, ...], scope: Scope, scopes: Mapping[ast.AST, Scope]
) -> Iterator[tuple[Scope, ast.AST]]:
    """Yield the methods of these names, of the classes that an expression may be of."""
    for found in _classes(value, scope, _STEPS):
        for name in names:
            yield from _method(found, name, scopes, _STEPS)


def _classes(value: ast.expr, scope: Scope, steps: int) -> Iterator[ast.ClassDef]:
    """Yield the classes of the file that an expression may be, or may be an object of."""
    if isinstance(value, ast.Call):
        value = value.func
    if not isinstance(value, ast.Name) or not steps:
        return
    yield from (each for _, each in scope.defined(value.id) if isinstance(each, ast.ClassDef))
    around, bound = scope.find(value.id)
    for each in bound:
        if isinstance(each, ast.Call):
            yield from _classes(each, around, steps - 1)
    if (method := _first_argument_of(value.id, around)) is not None:
        yield method


def _first_argument_of(name: str, scope: Scope) -> ast.ClassDef | None:
    """Return the class that ``self`` or ``cls`` is of, where a name is that."""
    arguments = getattr(scope.node, "args", None)
    first = [*arguments.posonlyargs, *arguments.args][:1] if arguments else []
    outer = scope.parent.node if scope.parent is not None else None
    return outer if first and first[0].arg == name and isinstance(outer, ast.ClassDef) else None


def _method(
    found: ast.ClassDef, name: str, scopes: Mapping[ast.AST, Scope], steps: int
) -> Iterator[tuple[Scope, ast.AST]]:
    """Yield a method of a class, or of the classes that it derives from."""
    scope = scopes[found]
    own = [each for each in scope.bound.get(name, ()) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    yield from ((scope, each) for each in own)
    for base in found.bases if steps and not own else ():
        for each in _classes(base, scope, steps - 1):
            yield from _method(each, name, scopes, steps - 1)
