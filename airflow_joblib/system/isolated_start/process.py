"""Starts processes of ours: the current directory not on their search path, no environment that others may see."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from airflow_joblib.system import isolation

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CLOSED", "OPEN", "start", "visible"]

#: What is required of a process.
OPEN, CLOSED = "open", "closed"
#: Names in the environment that count before any code of ours runs.
_FIRST = ("LD_", "DYLD_", "PYTHON", "LC_", "MALLOC_", "GLIBC_", "COVERAGE_")
_FIRST_TOO = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR"})


class _Process(subprocess.Popen[bytes]):
    """A process that somebody else waits for."""

    def __del__(self, *_: Any) -> None:
        """Leave it alone."""


def start(module: str, *arguments: str, keep: int, environment: Mapping[str, str] = os.environ, **more: Any) -> int:
    """Run a module as a program, and return the id of its process, for which somebody else waits.

    Where this process is closed to others, what it starts is made so as well. Until it is, its environment can be
    seen: it has only what an interpreter needs as it starts.

    Args:
        module: Its name.
        arguments: What it is given, after the word for what it should be like.
        keep: A descriptor that it needs.
        environment: What it may need of the environment.
        more: What else to pass to :mod:`subprocess`.
    """
    how = OPEN if isolation.open_to_others() else CLOSED
    command = [sys.executable, "-P", "-m", module, how, *arguments]
    return _Process(command, env=visible(environment), pass_fds=[keep], **more).pid


def visible(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return what of an environment a process may have that other processes of its user can look into."""
    if isolation.open_to_others():
        return environment
    return {name: value for name, value in environment.items() if name.startswith(_FIRST) or name in _FIRST_TOO}
