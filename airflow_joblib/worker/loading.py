"""How long a worker takes to load what it is sent, and which package makes it so long."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Loading"]

#: Of which some modules are always among those that are imported late, and none takes long.
_OURS = __name__.partition(".")[0]
#: Seconds below which nobody looks.
_LEAST = 0.5


class Loading:
    """Adds up what is loaded.

    Attributes:
        seconds: How long it took; 0 where that is not worth a word.
        package: The package that the most modules are of which were imported in that time.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.package = ""
        self._all = 0.0
        self._modules: Counter[str] = Counter()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure what the block takes."""
        # Not the names: to look at each would give a forked worker a copy of the memory that they are in, of 4 MiB.
        began, before = clock.now(), len(sys.modules)
        try:
            yield
        finally:
            self._all += clock.now() - began
            if self._all >= _LEAST:
                found = (name.partition(".")[0] for name in list(sys.modules)[before:])
                self._modules.update(name for name in found if name != _OURS)
                self.seconds = self._all
                self.package = next((name for name, _ in self._modules.most_common(1)), "")
