"""From what level on the log of the task takes lines: what a worker is given, so that it sends no others."""

from __future__ import annotations

import logging
from dataclasses import dataclass

__all__ = ["Levels"]


@dataclass(frozen=True)
class Levels:
    """From what level on the task's loggers take records.

    Attributes:
        loggers: Level of every logger of ``logging`` that has one of its own; the root's name is empty.
        disabled: Names of loggers that are switched off.
        floor: The lowest level that any handler of the task takes.
        off: Level up to which ``logging`` is switched off altogether.
        structlog: Level of namespaces of structlog's loggers; that of all others has an empty name.
    """

    loggers: tuple[tuple[str, int], ...] = (("", logging.INFO),)
    disabled: tuple[str, ...] = ()
    floor: int = logging.NOTSET
    off: int = logging.NOTSET
    structlog: tuple[tuple[str, int], ...] = (("", logging.INFO),)

    def of_structlog(self, name: str) -> int:
        """Return the level of a logger of structlog: that of the nearest namespace."""
        levels = dict(self.structlog)
        while name and name not in levels:
            name = name.rpartition(".")[0]
        return levels.get(name, logging.INFO)

    @property
    def takes_warnings(self) -> bool:
        """Whether Airflow's logger of Python's warnings takes any."""
        return self.of_structlog("py.warnings") <= logging.WARNING
