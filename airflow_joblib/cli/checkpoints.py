"""List checkpoints, and remove them after a question. None is loaded: that would run what is in it."""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from airflow_joblib.checkpoint.folders import default_path, make
from airflow_joblib.checkpoint.listing import Kept, is_there, kept_below, remove
from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.taskflow import configuration
from airflow_joblib.taskflow.task.checkpoint_folder import object_storage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

__all__ = ["run", "seconds_of"]

_COULD_NOT = 2
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def run(given: argparse.Namespace, out: TextIO) -> int:
    """List the checkpoints that the arguments select, remove them if these do, and return the exit code.

    Args:
        given: The arguments.
        out: Where the list goes.
    """
    try:
        where = given.path or configuration.option("checkpoint_path") or default_path()
        least = seconds_of(given.older_than) if given.older_than else 0.0
        now = time.time()
        root = make(where, [], object_storage)
        if given.path and not is_there(root):
            return _could_not(f"There is no {root}.")
        found = [kept for kept in kept_below(root) if now - kept.added >= least]
        found.sort(key=lambda kept: kept.names)
    except Exception as error:  # noqa: BLE001 - whatever Airflow or a remote storage raises
        return _could_not(f"The checkpoints can't be listed: {error}")
    out.write(_json(found) if given.format == "json" else _text(found, now))
    out.flush()
    if not given.remove or not found:
        return 0
    if not given.yes and not _agreed(found):
        sys.stderr.write("Nothing was removed.\n")
        return _COULD_NOT
    return _remove(found)


def seconds_of(age: str) -> float:
    """Return the seconds of an age such as ``12h``.

    Raises:
        InvalidOptionError: It is none.
    """
    match = _AGE.fullmatch(age.strip())
    if match is None:
        msg = f"An age is a number and a unit, as in 30m, 12h, 7d or 2w, not {age!r}."
        raise InvalidOptionError(msg)
    return float(match[1]) * _UNITS[match[2]]


def _agreed(found: Sequence[Kept]) -> bool:
    if not sys.stdin.isatty():
        sys.stderr.write("There is nobody to ask: give --yes as well.\n")
        return False
    sys.stderr.write(f"Remove these {len(found)}? A task that is tried again then runs all its items. [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _remove(found: Iterable[Kept]) -> int:
    code = 0
    for kept in found:
        try:
            remove(kept)
        except Exception as error:  # noqa: BLE001 - whatever a remote storage raises
            code = _could_not(f"{kept.folder} was not removed: {error}")
    return code


def _could_not(why: str) -> int:
    sys.stderr.write(f"airflow-joblib: {why}\n")
    return _COULD_NOT


def _text(found: Sequence[Kept], now: float) -> str:
    lines = [
        f"{kept.owner}: {kept.items:,} finished item{'' if kept.items == 1 else 's'}, the last "
        f"{_age(now - kept.added)} ago, in {kept.folder}"
        for kept in found
    ]
    return "\n".join([*lines, ""]) if lines else "There are no checkpoints.\n"


def _age(seconds: float) -> str:
    unit = next((unit for unit in ("d", "h", "m") if seconds >= 2 * _UNITS[unit]), "s")
    return f"{max(0.0, seconds) / _UNITS[unit]:.0f} {unit}"


def _json(found: Iterable[Kept]) -> str:
    rows = [
        {
            "folder": str(kept.folder),
            "owner": list(kept.names),
            "items": kept.items,
            "added": datetime.fromtimestamp(kept.added, UTC).isoformat(timespec="seconds"),
        }
        for kept in found
    ]
    return f"{json.dumps(rows, indent=2, ensure_ascii=False)}\n"
