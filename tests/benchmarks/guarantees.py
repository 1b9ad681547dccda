"""What guarantees cost: keeping finished items, finding them again, and the end of a run that fails."""

from __future__ import annotations

import functools
import json
import os
import struct
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from airflow_joblib.fan_out.host import Host
from airflow_joblib.fan_out.record.fitting import document
from airflow_joblib.taskflow import surroundings
from tests.benchmarks.clock import timed
from tests.benchmarks.contenders import ours
from tests.benchmarks.work import busy, no_op

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_joblib.fan_out.host import RunDisplay
    from tests.benchmarks.clock import Sample

__all__ = ["fail_fast", "keeping", "recording", "resuming"]

#: Seconds that it takes to write an XCom.
_WRITE = 0.02

#: Items that an earlier try has not finished.
_NEW = 10


def keeping(items: Sequence[float], jobs: int, *, kept: bool) -> list[Sample]:
    """Time items that use the CPU, with a checkpoint or without."""
    with tempfile.TemporaryDirectory() as folder, ours(jobs, checkpoint=folder if kept else False) as run:
        run(no_op, range(jobs))
        seconds, results = timed(run, busy, items)
    return [{"seconds": seconds, "ideal": sum(results) / jobs}]


class _Showing(Host):
    """Shows the record of a run as a task does, whose supervisor takes a while to answer."""

    def run_display(self) -> RunDisplay:
        """Return what makes the document, and waits for the answer."""

        def show(record: Mapping[str, Any], /, *, over: bool) -> None:
            json.dumps([over, document([record])])
            time.sleep(_WRITE)

        return show


def recording(items: Sequence[float], jobs: int, *, shown: bool) -> list[Sample]:
    """Time items that use the CPU, with a record of their run or without."""
    host = _Showing if shown else Host
    with mock.patch.object(surroundings, "host", host), ours(jobs) as run:
        run(no_op, range(jobs))
        seconds, results = timed(run, busy, items)
    return [{"seconds": seconds, "ideal": sum(results) / jobs}]


def resuming(count: int, jobs: int) -> list[Sample]:
    """Time a run of so many finished items and a few more: to the start of the first of those, and to the end."""
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile() as mended:
        function = functools.partial(_new_ones_fail, count, Path(mended.name))
        with ours(jobs, checkpoint=folder) as run:
            try:
                run(function, range(count + _NEW))
            except LookupError:
                mended.write(b"mended")
                mended.flush()
            began = time.perf_counter()
            seconds, results = timed(run, function, range(count + _NEW))
    assert results[:count] == [0.0] * count
    return [{"seconds": seconds, "first new item": min(results[count:]) - began}]


def _new_ones_fail(count: int, mended: Path, item: int) -> float:
    """Fail on the last items in the first run, and return when they begin in the second one."""
    if item < count:
        return 0.0
    if not mended.stat().st_size:
        raise LookupError(item)
    return time.perf_counter()


def fail_fast(count: int, seconds: float, jobs: int) -> list[Sample]:
    """Time a run from the failure of its third item to its end, and count the items that begin in between."""
    with tempfile.TemporaryDirectory() as folder, ours(jobs) as run:
        begun, failed = Path(folder, "begun"), Path(folder, "failed")
        function = functools.partial(_third_fails, begun, failed, seconds)
        began = time.perf_counter()
        try:
            run(function, range(count))
        except LookupError:
            ended = time.perf_counter()
        (moment,) = _stamps(failed)
        later = sum(stamp > moment for stamp in _stamps(begun))
    return [{"seconds": ended - began, "after the failure": ended - moment, "begun after it": float(later)}]


def _third_fails(begun: Path, failed: Path, seconds: float, item: int) -> None:
    """Sleep; the third one fails while others do."""
    _stamp(begun)
    time.sleep(seconds if item != 2 else seconds / 2)
    if item == 2:
        _stamp(failed)
        raise LookupError(item)


def _stamp(path: Path) -> None:
    """Append the time to a file, whole, whoever else does."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, struct.pack("d", time.perf_counter()))
    os.close(descriptor)


def _stamps(path: Path) -> tuple[float, ...]:
    data = path.read_bytes()
    return struct.unpack(f"{len(data) // 8}d", data)
