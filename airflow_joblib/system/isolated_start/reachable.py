"""Whether a new interpreter finds this package."""

from __future__ import annotations

import os
import site
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = ["reachable"]


@cache
def reachable() -> bool:
    """Return whether a fresh interpreter finds this package, without a search path that was changed later.

    Not certain means no.
    """
    if sys.platform == "win32":
        return False
    from joblib.externals import loky

    home = Path(__file__).resolve().parents[3]
    return home == Path(loky.__file__).resolve().parents[3] or home in _paths_at_start()


def _paths_at_start() -> set[Path]:
    """Return what ``PYTHONPATH`` and ``.pth`` files put on every interpreter's search path."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(path).is_absolute()]
    for folder in site.getsitepackages():
        for file in Path(folder).glob("*.pth"):
            with suppress(OSError, UnicodeDecodeError):
                given += [line for line in file.read_text().splitlines() if line.startswith("/")]
    return {Path(path.strip()).resolve() for path in given}
