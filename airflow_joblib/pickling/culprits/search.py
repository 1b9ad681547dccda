"""Find every object that can't travel, and the path that leads to it.

Runs only after pickling the whole has failed. From the top down::

    root ──► pickle it ──► fails? ──► its parts ──► those that fail are entered in turn
                             │             └──────► none does: the object itself is the culprit
                             └─► passes: nothing to look for

While a part is tried, whatever has a path already is taken as it is, by a persistent id. So nothing is blamed for
what it shares with others or for the object that contains it, each object is named once, and a web of references costs
no more than a tree.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import Culprit
from airflow_joblib.pickling.culprits.advice import Failure, advise, is_known, known_object, too_deep
from airflow_joblib.pickling.culprits.containers import PLAIN, Child
from airflow_joblib.pickling.culprits.parts import children_of
from airflow_joblib.pickling.pickler import Pickler
from airflow_joblib.pickling.refusals import dotted_name, is_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["find_all_culprits", "find_culprits"]

#: So many culprits are listed at most: a list of a million locks is one mistake.
MOST_CULPRITS = 1000
AND_MORE = "The search ended here; there may be more."

#: So deep is a chain of objects followed that all exceed the recursion limit, in search of a method without end.
_DEEPEST = 100

#: Into so many groups are the parts of an object divided to find the failing ones.
_GROUPS = 16


def find_culprits(value: object, path: str) -> list[Culprit]:
    """Return every object in *value* that can't travel; empty if all of it can.

    Args:
        value: What failed to be pickled.
        path: How a path names *value* itself.
    """
    return find_all_culprits([Child(path, value)])


def find_all_culprits(roots: Iterable[Child], fails: Callable[[bytes], bool] | None = None) -> list[Culprit]:
    """Return every object in *roots* that can't travel, an object that they share once.

    Args:
        roots: Values by the name that a path begins with.
        fails: Returns whether a part that was pickled can't be loaded; None to load it here.
    """
    return _Search(fails).run(roots)


@dataclass(slots=True, eq=False)
class _Node:
    """A failing object, its place, and the failing object that it is a part of.

    Attributes:
        endless: How many objects from here upwards exceed the recursion limit in a row.
    """

    child: Child
    parent: _Node | None
    failure: Failure
    endless: int = 0

    @property
    def kind(self) -> type:
        return self.child.kind or type(self.child.value)

    @property
    def path(self) -> str:
        labels = []
        node: _Node | None = self
        while node is not None:
            labels.append(node.child.label)
            node = node.parent
        return " → ".join(label for label in reversed(labels) if label)


class _Probe(Pickler):
    """Pickles *root*, with a number in place of each of the objects that have a path already."""

    def __init__(self, file: io.BytesIO, root: object, known: dict[int, object], met: set[int]) -> None:
        super().__init__(file, whole=False)
        self.root = root
        self.known = known
        self.met = met

    def persistent_id(self, obj: object) -> int | None:
        number = id(obj)
        if number not in self.known or obj is self.root:
            return None
        self.met.add(number)
        return number


class _Loader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, known: dict[int, object]) -> None:
        super().__init__(file)
        self.known = known

    def persistent_load(self, number: Any) -> object:
        return self.known[number]


@dataclass(slots=True)
class _Search:
    """One search.

    Attributes:
        fails: As above.
        known: Every object that has a path, by identity; held so that no other gets the same identity.
        entered: Those of them whose parts are being looked at.
        blamed: Those of them that are culprits.
    """

    fails: Callable[[bytes], bool] | None = None
    known: dict[int, object] = field(default_factory=dict)
    entered: set[int] = field(default_factory=set)
    blamed: set[int] = field(default_factory=set)
    culprits: list[Culprit] = field(default_factory=list)

    def run(self, roots: Iterable[Child]) -> list[Culprit]:
        failing = self._failing_parts(roots, None)
        stack = failing[::-1]
        while stack and len(self.culprits) < MOST_CULPRITS:
            node = stack.pop()
            if self._try(node.child.value) is not None:  # else it only holds what has been named elsewhere
                stack.extend(reversed(self._enter(node)))
        if failing and not self.culprits:  # its parts only fail together
            self._blame(failing[0])
        if len(self.culprits) == MOST_CULPRITS:
            self.culprits[-1] = _with_note(self.culprits[-1])
        return self.culprits

    def _enter(self, node: _Node) -> list[_Node]:
        """Return the failing parts of *node*, or blame it."""
        if is_known(node.kind) or is_refused(node.kind) or known_object(node.child.value):
            self._blame(node)
            return []
        if node.endless > _DEEPEST:
            self._blame(_outermost_alike(node))
            return []
        self.entered.add(id(node.child.value))
        found = self._parts(node)
        if not found:
            self._blame(node)
        return found

    def _parts(self, node: _Node) -> list[_Node]:
        """Return the failing parts of *node*, none if reading them fails, which then is the reason."""
        try:
            return self._failing_parts(children_of(node.child.value), node)
        except Exception:  # noqa: BLE001 - the user's own reducers run here, and have failed before
            return []

    def _blame(self, node: _Node) -> None:
        if id(node.child.value) in self.blamed:
            return
        self.blamed.add(id(node.child.value))
        reason, advice = known_object(node.child.value) or advise(node.kind, node.failure)
        self.culprits.append(Culprit(node.path, dotted_name(node.kind), reason, advice))

    def _failing_parts(self, children: Iterable[Child], parent: _Node | None) -> list[_Node]:
        new: dict[int, Child] = {}
        for child in children:
            if self._is_new(child):
                new.setdefault(id(child.value), child)
        nodes = []
        for child, failure in self._failing(list(new.values())):
            endless = 1 + (parent.endless if parent else 0) if too_deep(failure) else 0
            nodes.append(_Node(child, parent, failure, endless))
        self.known.update((id(node.child.value), node.child.value) for node in nodes)
        return nodes

    def _is_new(self, child: Child) -> bool:
        return type(child.value) not in PLAIN and id(child.value) not in self.known

    def _failing(self, children: Sequence[Child]) -> list[tuple[Child, Failure]]:
        """Return those of *children* that can't travel, by trying them in ever smaller groups."""
        found: list[tuple[Child, Failure]] = []
        stack = _groups(children)[::-1]
        while stack and len(found) < MOST_CULPRITS:
            group = stack.pop()
            failure = self._try(group[0].value if len(group) == 1 else [child.value for child in group])
            if failure is None:
                continue
            if len(group) == 1:
                found.append((group[0], failure))
            else:
                stack.extend(_groups(group)[::-1])
        return found

    def _try(self, value: object) -> Failure | None:
        """Return what goes wrong when *value* travels, what has a path already left out of it."""
        with io.BytesIO() as file:
            met: set[int] = set()
            probe = (
                _Probe(file, value, self.known, met) if self.known else Pickler(file, whole=False)
            )  # the latter is faster
            try:
                probe.dump(value)
            except Exception as error:  # noqa: BLE001 - anything may be raised by the user's own reducers
                return Failure(error)
            if probe.unsure and met <= self.entered:
                return self._try_to_load(file)
        return None

    def _try_to_load(self, file: io.BytesIO) -> Failure | None:
        """Load what was pickled, objects with a path being themselves.

        Never called where one of these is a culprit: a copy may be dropped at once, and close it as it goes.
        """
        if self.fails is not None:
            return Failure(RuntimeError(), loading=True) if self.fails(file.getvalue()) else None
        file.seek(0)
        try:
            _Loader(file, self.known).load()
        except Exception as error:  # noqa: BLE001 - anything may be raised by the user's own code
            return Failure(error, loading=True)
        return None


def _groups(children: Sequence[Child]) -> list[Sequence[Child]]:
    size = -(-len(children) // _GROUPS) or 1
    return [children[start : start + size] for start in range(0, len(children), size)]


def _outermost_alike(node: _Node) -> _Node:
    """Return the outermost object of the same type in the chain of those that exceed the recursion limit."""
    outermost = node
    above = node.parent
    while above is not None and above.endless:
        if above.kind is node.kind:
            outermost = above
        above = above.parent
    return outermost


def _with_note(culprit: Culprit) -> Culprit:
    return Culprit(culprit.path, culprit.type, culprit.reason, f"{culprit.advice} {AND_MORE}")
