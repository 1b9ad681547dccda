"""How many CPUs this process may use, and what limits them.

joblib counts the affinity, ``LOKY_MAX_CPU_COUNT`` and a quota of the topmost cgroup that it sees, which is the one of a
container. This adds the process's own cgroup and those in between: a systemd unit's, or one that a job scheduler made.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import joblib

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["count", "quota", "shortage"]

_ROOT = Path("/")


def count() -> int:
    """Return the number of CPUs that this process may use, at least one."""
    allowed = quota()
    found = int(joblib.cpu_count())
    return found if allowed is None else max(1, min(found, math.ceil(allowed)))


def shortage() -> str | None:
    """Return why this process has fewer CPUs than the machine, as the end of a sentence.

    None where it has all, or where somebody has said how many by ``LOKY_MAX_CPU_COUNT``.
    """
    allowed, all_of_them = quota(), os.cpu_count() or 1
    having = count()
    if having >= all_of_them:
        return None
    if allowed is not None and math.ceil(allowed) <= having:
        return f"the cgroup that it runs in allows {allowed:g} of the machine's {all_of_them} CPUs"
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) <= having:
        return f"its affinity allows {having} of the machine's {all_of_them} CPUs"
    return None


def quota(root: Path = _ROOT) -> float | None:
    """Return the CPUs that the cgroups of this process allow it, a fraction perhaps; None where they set no bound.

    Args:
        root: Where ``proc`` and the mounted cgroups are.
    """
    return min((limit for folder in _folders(root) if (limit := _limit(folder)) is not None), default=None)


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folder of each cgroup of this process that could limit its CPUs, and of all mounted ones above it."""
    own = _own_groups(root)
    for line in _read(root / "proc/self/mountinfo").splitlines():
        where, _, what = line.partition(" - ")
        kind, _, options = what.split(" ", 2)
        controller = "" if kind == "cgroup2" else "cpu"
        if controller in own and (kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(","))):
            top, mount = where.split(" ")[3:5]
            yield from _up(root / mount.lstrip("/"), Path(own[controller]), Path(top))


def _up(mount: Path, group: Path, top: Path) -> Iterator[Path]:
    """Yield the folders from *group* up to *mount*, which shows the group *top*."""
    inner = group.relative_to(top) if group.is_relative_to(top) and ".." not in group.parts else Path()
    yield from (mount / part for part in (inner, *inner.parents))


def _own_groups(root: Path) -> dict[str, str]:
    """Return this process's group by controller; that of version 2, which has all controllers, under no name."""
    groups = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _limit(folder: Path) -> float | None:
    """Return the CPUs that one group allows, by version 2's file or by version 1's two."""
    words = _read(folder / "cpu.max").split() or [
        *_read(folder / "cpu.cfs_quota_us").split(),
        *_read(folder / "cpu.cfs_period_us").split(),
    ]
    with suppress(ValueError, ZeroDivisionError):  # "max", or no such files
        used, period = words
        if int(used) > 0:
            return int(used) / int(period)
    return None


def _read(file: Path) -> str:
    with suppress(OSError):
        return file.read_text()
    return ""
