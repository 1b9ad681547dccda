"""Check DAG files: read each, then load each in a process of its own.

::

    paths ─► files ─► read (syntax tree) ──► findings in the text
                          └─► load (process) ─► findings of decorators and of what they refer to
                                                     └─► without what # noqa silences
"""

from __future__ import annotations

import ast
import tokenize
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from airflow_joblib.cli.by_hand import find_by_hand
from airflow_joblib.cli.findings import Finding, Place, not_silenced

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_joblib.cli.files import DagFile
    from airflow_joblib.cli.processes import Outcome

__all__ = ["check", "read"]

#: Seconds in which a file that has taken too long may report where it is, before its process is killed.
_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read.

    Attributes:
        file: The file.
        source: Its text.
        tree: Its syntax tree; None where it has none.
        found: What was found in it.
    """

    file: DagFile
    source: str
    tree: ast.Module | None
    found: list[Finding]


def check(files: Iterable[DagFile], at_once: int, seconds: float, *, load: bool = True) -> list[Finding]:
    """Return what is wrong in some files, in order.

    Args:
        files: The files.
        at_once: Files that are loaded at a time.
        seconds: How long the loading of one may take.
        load: Whether to load them; else they are only read.
    """
    all_read = {file.path: read(file) for file in files}
    if load:
        _load_each(all_read, at_once, seconds)
    return [finding for each in all_read.values() for finding in not_silenced(each.found, each.source)]


def read(file: DagFile) -> _Read:
    """Read a file, and look for parallelism by hand in it."""
    try:
        with tokenize.open(file.path) as opened:
            source = opened.read()
        tree = ast.parse(source, file.path)
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        place = Place(line, getattr(error, "offset", None) or 1, line)
        said = getattr(error, "msg", None) or str(error)
        message = f"The file can't be read: {type(error).__name__}: {said}. Airflow can't load it either."
        return _Read(file, "", None, [Finding(file.path, place, "AJ901", message)])
    return _Read(file, source, tree, list(find_by_hand(file.path, tree)))


def _load_each(all_read: dict[str, _Read], at_once: int, seconds: float) -> None:
    from airflow_joblib.cli.load_file import load_file, prepare
    from airflow_joblib.cli.processes import each_in_a_process

    def load(path: str) -> list[Any]:
        each = all_read[path]
        assert each.tree is not None  # noqa: S101 - those without are left out below
        return [astuple(finding) for finding in load_file(path, each.file.folder, each.tree, seconds)]

    prepare()
    sound = [path for path, each in all_read.items() if each.tree is not None]
    for path, outcome in each_in_a_process(load, sound, at_once, seconds + _GRACE):
        all_read[path].found.extend(_findings(path, outcome))


def _findings(path: str, outcome: Outcome) -> list[Finding]:
    if outcome.trouble:
        message = f"The file can't be loaded: {outcome.trouble}. Airflow loads it for each task that it runs."
        return [Finding(path, Place(), "AJ901", message)]
    return [Finding(file, Place(*place), code, message) for file, place, code, message in outcome.answer]
