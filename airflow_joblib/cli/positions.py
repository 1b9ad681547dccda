"""From what went wrong while a file was loaded to its place in that file."""

from __future__ import annotations

import ast
import re
from itertools import islice
from typing import TYPE_CHECKING

from airflow_joblib.cli.findings import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType, TracebackType

    _Span = tuple[int | None, int | None, int | None, int | None]

__all__ = ["Positions"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: Segments of a path that name something in the source: where a culprit is, as the check names it.
_SEGMENT = re.compile(r"^(?P<kind>global|closure|default|parameter) '(?P<name>[^']*)'")


class Positions:
    """The places in one file.

    Args:
        file: Path of the file, as its code objects have it.
        tree: Its syntax tree.
    """

    def __init__(self, file: str, tree: ast.Module) -> None:
        self._file = file
        self._tree = tree
        self._around: dict[ast.AST, ast.AST] = {
            child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)
        }

    def of_option(self, name: str, frame: FrameType | None) -> Place:
        """Return where a call that is being made gives an option, or the call itself."""
        while frame is not None and frame.f_code.co_filename != self._file:
            frame = frame.f_back
        if frame is None:
            return Place()
        spot = _spot(frame.f_code.co_positions(), frame.f_lasti)
        call = self._call_at(spot)
        keyword = _keyword(call, name)
        return _place(keyword or call) if call is not None else Place(spot[0], spot[1] + 1, spot[0])

    def of_error(self, error: BaseException) -> Place:
        """Return the innermost line of the file that an error has gone through."""
        if isinstance(error, SyntaxError) and error.filename == self._file:
            return Place(error.lineno or 1, error.offset or 1, error.lineno or 1)
        line, column = 1, 0
        traceback: TracebackType | None = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == self._file:
                spot = _spot(traceback.tb_frame.f_code.co_positions(), traceback.tb_lasti)
                line, column = traceback.tb_lineno, spot[1] if spot[0] == traceback.tb_lineno else 0
            traceback = traceback.tb_next
        return Place(line, column + 1, line)

    def of_function(self, first_line: int) -> Place:
        """Return where a function is, whose code begins in a line, with its decorators."""
        function = self._function(first_line)
        return _head(function) if function is not None else Place(first_line, 1, first_line)

    def of_decorator(self, first_line: int, option: str) -> Place | None:
        """Return where a decorator of a function gives an option; None where none does by its name."""
        keyword = self.decorator_keyword(first_line, option)
        return None if keyword is None else _place(keyword)

    def literal(self, first_line: int, option: str) -> object:
        """Return the value that a decorator of a function gives for an option as a literal; None where it doesn't."""
        keyword = self.decorator_keyword(first_line, option)
        try:
            return None if keyword is None else ast.literal_eval(keyword.value)
        except ValueError:
            return None

    def decorator_keyword(self, first_line: int, option: str) -> ast.keyword | None:
        """Return the keyword by which a decorator of a function gives an option, if one does."""
        function = self._function(first_line)
        decorators = function.decorator_list if function is not None else []
        return next((found for each in decorators if (found := _keyword(each, option)) is not None), None)

    def of_culprit(self, path: str, first_line: int) -> Place:
        """Return the place of a culprit: as near to the end of its path as the source names it.

        Args:
            path: ``update_record → global 'save' → closure 'conn'``.
            first_line: Line in which the code of the function begins that the path begins with.
        """
        node: ast.AST | None = self._function(first_line)
        if node is None:
            return Place(first_line, 1, first_line)
        place = _head(node)
        for segment in path.split(" → ")[1:]:
            match = _SEGMENT.match(segment)
            found = self._named(node, match["kind"], match["name"]) if match and node is not None else None
            if found is None:
                break
            place = _head(found)
            node = found if isinstance(found, (*_FUNCTIONS, ast.ClassDef)) else None
        return place

    def _named(self, function: ast.AST, kind: str, name: str) -> ast.AST | None:
        if kind in {"parameter", "default"}:
            arguments = getattr(function, "args", None)
            return next((each for each in ast.walk(arguments) if _is_argument(each, name)), None) if arguments else None
        around: ast.AST | None = self._tree if kind == "global" else self._around.get(function)
        while around is not None:
            bound = [node for node in _of_block(around) if _binds(node, name)]
            if bound:
                return bound[-1]
            around = self._around.get(around)
        return None

    def _function(self, first_line: int) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        for node in ast.walk(self._tree):
            if isinstance(node, _FUNCTIONS) and first_line in (_first_line(node), node.lineno):
                return node
        return None

    def _call_at(self, spot: tuple[int, int, int, int]) -> ast.Call | None:
        calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call)]
        ends = spot[2:]  # a call of what a call returns begins where that does
        return next((call for call in calls if (call.end_lineno, call.end_col_offset) == ends), None)


def _spot(
    positions: Iterable[tuple[int | None, int | None, int | None, int | None]], last: int
) -> tuple[int, int, int, int]:
    """Return where the instruction that runs begins, line and column, and where it ends."""
    line, end, column, end_column = next(islice(positions, last // 2, None), (1, 1, 0, 0))
    return line or 1, column or 0, end or 1, end_column or 0


def _keyword(call: ast.AST | None, name: str) -> ast.keyword | None:
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return next((keyword for keyword in keywords if keyword.arg == name), None)


def _place(node: ast.keyword | ast.expr) -> Place:
    return Place(node.lineno, node.col_offset + 1, node.end_lineno or node.lineno)


def _head(node: ast.AST) -> Place:
    """Return the place of a statement: of a function or class the line with its name."""
    line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
    compound = isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.With, ast.AsyncWith, ast.For, ast.AsyncFor))
    return Place(line, column + 1, line if compound else getattr(node, "end_lineno", line))


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _is_argument(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.arg) and node.arg == name


def _of_block(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements of a module or function, those in its ``if``, ``with`` and ``try`` too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child
            if not isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
                yield from _of_block(child)


def _binds(node: ast.AST, name: str) -> bool:
    """Return whether a statement gives something a name."""
    match node:
        case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) | ast.ClassDef(name=found):
            return found == name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return any((alias.asname or alias.name.partition(".")[0]) == name for alias in names)
        case ast.Assign(targets=targets):
            return any(_stores(target, name) for target in targets)
        case ast.AnnAssign(target=target) | ast.For(target=target) | ast.AsyncFor(target=target):
            return _stores(target, name)
        case ast.With(items=items) | ast.AsyncWith(items=items):
            return any(item.optional_vars is not None and _stores(item.optional_vars, name) for item in items)
    return False


def _stores(target: ast.AST, name: str) -> bool:
    return any(isinstance(each, ast.Name) and each.id == name for each in ast.walk(target))
