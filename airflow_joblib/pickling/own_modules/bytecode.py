"""What functions import in their bodies, read from their code, which is not run."""

from __future__ import annotations

import dis
import functools
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Import", "absolute_name", "imports_of", "names_of"]

#: What an ``except`` has to name for an import before it to be one that may fail.
_EXPECTED = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


class Import(NamedTuple):
    """One import statement.

    Attributes:
        name: The module as the statement names it.
        level: Dots before the name.
        members: What is imported from it.
        optional: Whether the code goes on where there is no such module.
    """

    name: str
    level: int
    members: tuple[str, ...]
    optional: bool


@functools.lru_cache(maxsize=4096)
def names_of(code: CodeType) -> frozenset[str]:
    """Return every global and attribute that code names, in the functions that it defines as well."""
    return frozenset(code.co_names).union(*map(names_of, _inner(code)))


@functools.lru_cache(maxsize=4096)
def imports_of(code: CodeType) -> tuple[Import, ...]:
    """Return what code imports, in the functions that it defines as well."""
    inner = (found for each in _inner(code) for found in imports_of(each))
    return *_imports(code), *inner


def _inner(code: CodeType) -> list[CodeType]:
    return [const for const in code.co_consts if isinstance(const, CodeType)]


def _imports(code: CodeType) -> Iterator[Import]:
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for place, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            level, members = (each.argval for each in steps[place - 2 : place])
            yield Import(step.argval, level, members or (), _is_optional(code, steps, step.offset))


def _is_optional(code: CodeType, steps: Sequence[dis.Instruction], offset: int) -> bool:
    """Return whether an instruction stands in a ``try`` that expects an import to fail, or in what runs instead."""
    entries: Sequence[Any] = getattr(dis.Bytecode(code), "exception_entries", ())
    targets = {entry.target for entry in entries if entry.start <= offset < entry.end}
    handlers = {entry.target for entry in entries}
    # A handler is guarded in its turn, from its first instruction on, by what ends it.
    begun = (min(entry.start for entry in entries if entry.target == target) for target in tuple(targets))
    targets.update(start for start in begun if start in handlers)
    return any(_expects_failure(code, steps, target) for target in targets)


def _expects_failure(code: CodeType, steps: Sequence[dis.Instruction], target: int) -> bool:
    handler = [step for step in steps if step.offset >= target]
    for place, step in enumerate(handler):
        if step.opname == "WITH_EXCEPT_START":  # as under contextlib.suppress
            return "suppress" in code.co_names and not _EXPECTED.isdisjoint(code.co_names)
        if step.argval in _EXPECTED or (place == 1 and step.opname == "POP_TOP"):  # the latter of a bare except
            return True
        if step.opname == "RERAISE":
            break
    return False


def absolute_name(found: Import, namespace: Mapping[str, Any]) -> str | None:
    """Return the dotted name that an import in a function with these globals requests; None if it is beyond reach."""
    if not found.level:
        return found.name
    package = namespace.get("__package__")
    if package is None:
        package = str(namespace.get("__name__", ""))
        if "__path__" not in namespace:
            package = package.rpartition(".")[0]
    parts = package.split(".")
    kept = parts[: len(parts) - found.level + 1]
    return ".".join([*kept, *filter(None, [found.name])]) if kept and package else None
