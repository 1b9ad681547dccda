"""What a forked worker has of its task from before the fork, and what both can therefore name to each other."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.class_keys import known_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


__all__ = ["Inherited", "inherited_state", "object_of", "set_inherited_state"]


@dataclass(frozen=True, eq=False)
class Inherited:
    """The state of a task that its forked workers have without being sent it. To be made just before the fork.

    Attributes:
        call: The function with everything but the item; None where it has yet to be sent.
        items: The first items of the input, or all of them.
        modules: Names of the modules that are loaded.
        classes: Classes that travel by value and have a key, the same here and in the workers.
        objects: Objects without a name that may be sent back, by their identity.
        prepare: Called between the task's fork and those of the workers, for what would be the same in each.
    """

    call: Any = None
    items: Sequence[Any] = ()
    modules: frozenset[str] = field(default_factory=lambda: frozenset(sys.modules))
    classes: set[type] = field(default_factory=known_classes)
    objects: dict[int, object] = field(default_factory=dict)
    prepare: Callable[[], object] = bool
    _old: set[int] = field(default_factory=set)

    @classmethod
    def of(
        cls, call: object, functions: Iterable[object], items: Sequence[Any], prepare: Callable[[], object] = bool
    ) -> Inherited:
        """Return what workers have that are forked now.

        Args:
            call: The function with everything but the item.
            functions: Those of the call, which may be sent back.
            items: The first items.
            prepare: Called between the forks.
        """
        return cls(call, items, objects={id(each): each for each in functions}, prepare=prepare)

    def had(self, obj: object) -> bool:
        """Return whether an object was there before the fork; where this is the task, whether it may have been.

        A template freezes what it has inherited (``gc.freeze``), so what the collector still lists was made since.
        """
        if _current is not self or id(obj) in self._old:
            return True
        if any(each is obj for each in gc.get_objects()):
            return False
        self._old.add(id(obj))
        return True

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let what workers send back name *objects*, for as long as the block runs."""
        _shared.append(self)
        try:
            yield
        finally:
            _shared.remove(self)


#: Those of the runs that go on in this process, and in a forked worker the one that it is a part of.
_shared: list[Inherited] = []
_current: Inherited | None = None


def inherited_state() -> Inherited | None:
    """Return what this process has inherited; None where it is no forked worker."""
    return _current


def set_inherited_state(given: Inherited) -> None:
    """Make this process one that has inherited *given*."""
    global _current  # noqa: PLW0603 - a process is one or it isn't
    _current = given
    _shared[:] = [given]


def object_of(identity: int) -> object:
    """Return the object that both a task and its workers know by this identity."""
    return next(given.objects[identity] for given in _shared if identity in given.objects)
