"""What the names in a file mean: which import, function or class one leads to, without running anything."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Function", "Scope", "scopes_of"]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SCOPES = (*_FUNCTIONS, ast.ClassDef)
#: So many names are followed from one to the next.
_STEPS = 8
#: Calls that return a module's like: pools and processes are attributes of it.
_LIKE_MODULES = (".get_context",)


class Scope:
    """The names that a module, class or function binds.

    Args:
        node: The module, class or function.
        parent: The scope around it; None for a module.

    Attributes:
        bound: Name to all that it was bound to: a dotted name that was imported, an expression, a function or class.
    """

    def __init__(self, node: ast.AST, parent: Scope | None = None) -> None:
        self.node = node
        self.parent = parent
        self.bound: dict[str, list[str | ast.AST | None]] = {}
        if isinstance(node, _FUNCTIONS):
            for argument in _arguments(node):
                self._bind(argument.arg, None)

    def _bind(self, name: str, value: str | ast.AST | None) -> None:
        self.bound.setdefault(name, []).append(value)

    def see(self, node: ast.AST) -> None:
        """Take in what one statement or expression binds."""
        match node:
            case ast.Import(names=names):
                for alias in names:
                    self._bind(alias.asname or alias.name.partition(".")[0], _imported(alias))
            case ast.ImportFrom(module=module, names=names, level=level):
                for alias in names:
                    self._bind(alias.asname or alias.name, f"{'.' * level}{module or ''}.{alias.name}")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                self._bind(name, node)
            case ast.ExceptHandler(name=str(name)):
                self._bind(name, None)
            case _:
                self._see_assignment(node)

    def _see_assignment(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._see_target(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                self._see_target(target, value)
            case ast.For(target=target) | ast.AsyncFor(target=target) | ast.comprehension(target=target):
                self._see_target(target, None)
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                self._see_target(target, value)

    def _see_target(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, value)
            return
        for each in ast.walk(target):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                self._bind(each.id, None)

    def find(self, name: str) -> tuple[Scope, list[str | ast.AST | None]]:
        """Return what a name was bound to, and in which scope; nothing where it is bound in none."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bound and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                return scope, scope.bound[name]
            scope = scope.parent
        return self, []

    def dotted(self, value: ast.expr, steps: int = _STEPS) -> set[str]:
        """Return the dotted names of libraries that an expression may stand for."""
        match value:
            case ast.Name(id=name) if steps:
                scope, bound = self.find(name)
                return set().union(*(_dotted(scope, each, steps - 1) for each in bound))
            case ast.Attribute(value=inner, attr=attr):
                return {f"{found}.{attr}" for found in self.dotted(inner, steps)}
            case ast.Call(func=func):
                called = self.dotted(func, steps)
                return {name.removesuffix(end) for name in called for end in _LIKE_MODULES if name.endswith(end)}
        return set()

    def constant(self, value: ast.expr | None, steps: int = _STEPS) -> object:
        """Return the value of an expression where it is plain to see; Ellipsis where it isn't."""
        if isinstance(value, ast.Name) and steps:
            scope, bound = self.find(value.id)
            first = bound[0] if len(bound) == 1 else None
            return scope.constant(first, steps - 1) if isinstance(first, ast.expr) else ...
        try:
            return ast.literal_eval(value) if value is not None else ...
        except (ValueError, TypeError, SyntaxError, RecursionError):
            return ...

    def defined(self, name: str, steps: int = _STEPS) -> Iterator[tuple[Scope, ast.AST]]:
        """Yield the functions and classes of the file that a name may stand for, with the scope around each."""
        scope, bound = self.find(name)
        for each in bound:
            if isinstance(each, _SCOPES):
                yield scope, each
            elif isinstance(each, ast.Name) and steps:
                yield from scope.defined(each.id, steps - 1)


def _dotted(scope: Scope, bound: str | ast.AST | None, steps: int) -> set[str]:
    if isinstance(bound, str):
        return {bound}
    if isinstance(bound, ast.ClassDef):
        return set().union(*(scope.dotted(base, steps) for base in bound.bases))
    return scope.dotted(bound, steps) if isinstance(bound, ast.expr) else set()


def _arguments(node: Function) -> Iterator[ast.arg]:
    given = node.args
    yield from (*given.posonlyargs, *given.args, *given.kwonlyargs)
    yield from (each for each in (given.vararg, given.kwarg) if each is not None)


def _imported(alias: ast.alias) -> str:
    return alias.name if alias.asname else alias.name.partition(".")[0]


def scopes_of(tree: ast.Module) -> dict[ast.AST, Scope]:
    """Return the scope of the module, and of each class and function in it, by node."""
    found: dict[ast.AST, Scope] = {tree: Scope(tree)}
    stack: list[tuple[ast.AST, Scope]] = [(tree, found[tree])]
    while stack:
        node, scope = stack.pop()
        for child in ast.iter_child_nodes(node):
            scope.see(child)
            if isinstance(child, _SCOPES):
                found[child] = Scope(child, scope)
                stack.append((child, found[child]))
            else:
                stack.append((child, scope))
    return found
