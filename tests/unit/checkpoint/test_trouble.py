"""What a checkpoint makes of trouble: bad files, a place that can't be written, SIGKILL at any moment."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.checkpoint import LocalFolder, call_key
from airflow_joblib.checkpoint.frames import encode
from tests.unit.checkpoint.helpers import KEY, keep, loaded
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from pathlib import Path


def test_bad_files_are_named_and_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Torn, corrupt, foreign and unreadable files are reported by name with the reason, and the others are used."""
    folder = LocalFolder(tmp_path)
    for item in range(4):
        keep(folder, [item])
    incomplete, corrupt, gone, _ = sorted(folder.names())
    (tmp_path / incomplete).write_bytes((tmp_path / incomplete).read_bytes()[:-1])
    (tmp_path / corrupt).write_bytes(b"\0" + (tmp_path / corrupt).read_bytes()[1:])
    (tmp_path / gone).unlink()
    (tmp_path / gone).symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f"{folder.names()[0]}.01234567.tmp").write_text("half")
    checkpoint = loaded(folder)
    assert checkpoint.found == 1
    messages = [record.getMessage() for record in caplog.records]
    for name, why in {
        incomplete: "incomplete",
        corrupt: "not of this library",
        gone: "can't be read",
        "notes.txt": "not of",
    }.items():
        assert (
            sum(f"/{name} is not used, or in part: it " in message and why in message for message in messages) == 1
        ), messages
    assert len(messages) == 4
    checkpoint.clear()
    assert folder.names() == ["notes.txt"]


def test_many_bad_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where very many files are bad the first are named, the others counted."""
    for number in range(1500):
        (tmp_path / f"{number}.txt").touch()
    assert loaded(LocalFolder(tmp_path)).found == 0
    assert len(caplog.records) == 11
    assert "1,490 more" in caplog.records[-1].getMessage()


def test_folder_that_is_no_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A place that can't be listed, written or cleared is reported each time it matters; nothing is raised."""
    (tmp_path / "file").touch()
    checkpoint = keep(LocalFolder(tmp_path / "file"), [1])
    checkpoint.clear()
    listed, written, cleared = (record.getMessage() for record in caplog.records)
    assert "can't be read, and so all items run: NotADirectoryError" in listed
    assert "could not be written, and the run goes on: NotADirectoryError" in written
    assert "could not be removed" in cleared


class Breaks(LocalFolder):
    """A folder on a disk that is full for a while."""

    full = True

    def write(self, name: str, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(name, data)


class BreaksSlowly(Breaks):
    """The same, written by a thread."""

    slow = True


@pytest.mark.parametrize("kind", [Breaks, BreaksSlowly])
def test_failed_write_is_made_up_for(kind: type[Breaks], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A write that fails is said once and tried again, less and less often; nothing is lost once it works."""
    folder = kind(tmp_path / "kept")
    checkpoint = loaded(folder)
    for item in range(5):
        checkpoint.add([item], [item])
        checkpoint.beat(time.monotonic() + 100 * item)
    checkpoint.flush()
    (message,) = [record.getMessage() for record in caplog.records]
    assert "could not be written, and the run goes on: OSError: [Errno 28] No space left on device" in message
    folder.full = False
    checkpoint.add([5], [5])
    checkpoint.beat()
    assert folder.names() == []  # not yet: it has just failed
    checkpoint.beat(time.monotonic() + 100)
    assert eventually(folder.names)
    assert loaded(folder).found == 6
    assert len(caplog.records) == 1


def test_memory_is_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What waits for a disk that stays full is dropped when it is too much, which is said."""
    folder = Breaks(tmp_path / "kept")
    checkpoint = loaded(folder)
    for item in range(9):
        checkpoint.add([item], [bytes(8 << 20)])
        checkpoint.beat(0)
    checkpoint.add([9], [9])
    folder.full = False
    checkpoint.flush()
    assert caplog.records[1].getMessage().startswith("8 finished items are not kept: MemoryError:")
    assert loaded(folder).found == 2


class Slow(LocalFolder):
    """A folder of a storage that takes its time."""

    slow = True

    def write(self, name: str, data: bytes) -> None:
        time.sleep(0.2)
        super().write(name, data)


def test_storage_that_is_slower_than_the_items(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The run waits for it, so that no more waits than is written at a time, and all is kept."""
    checkpoint = loaded(Slow(tmp_path / "kept"))
    for item in range(10):
        checkpoint.add([item], [bytes(8 << 20)])
        checkpoint.beat()
        assert checkpoint._pending.size < 9 << 20
    checkpoint.flush()
    assert loaded(checkpoint.folder).found == 10
    assert not caplog.records


def test_frame_put_under_the_calls_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A frame of another call in a file of this one's name isn't used."""
    folder = LocalFolder(tmp_path)
    keep(folder, [1])
    (name,) = folder.names()
    (tmp_path / name).write_bytes(encode(call_key("shop.sort", {}), [bytes(16)], [1], ()))
    assert loaded(folder).found == 0
    assert "it is of another call" in caplog.text


KILLED = """
import sys
from pathlib import Path
from airflow_joblib.checkpoint import Checkpoint, LocalFolder
checkpoint = Checkpoint(LocalFolder(Path(sys.argv[1])), sys.argv[2])
checkpoint.load()
print("found", checkpoint.found, flush=True)
missing = [item for item in range(3000) if checkpoint.take(item) is None]
while missing:
    chunk, missing = missing[:5], missing[5:]
    checkpoint.add(chunk, [f"{item}" * 50 for item in chunk])
    checkpoint.flush()
    print("flushed", *chunk, flush=True)
print("done", flush=True)
"""


def items_of(line: str) -> set[int]:
    """Return what the process says that it has flushed."""
    word, *items = line.split()
    return set(map(int, items)) if word == "flushed" else set()


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """After SIGKILL at any moment everything flushed is there, right and once; an incomplete file is not loaded."""
    folder = LocalFolder(tmp_path / "kept")
    flushed: set[int] = set()
    for attempt in range(10):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "kept"), KEY]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = iter(process.stdout)
            assert int(next(lines).split()[1]) >= len(flushed)
            if attempt % 5:  # else before the first flush
                flushed |= items_of(next(lines))
                threading.Timer(0.004 * attempt, process.kill).start()
            else:
                process.kill()
            flushed |= {item for line in lines for item in items_of(line)}
    checkpoint = loaded(folder)
    assert flushed
    assert checkpoint.found >= len(flushed)
    taken = {item: checkpoint.take(item) for item in range(3000)}
    assert all(found is None or found.value == f"{item}" * 50 for item, found in taken.items())
    assert {item for item, found in taken.items() if found} >= flushed
    assert all(checkpoint.take(item) is None for item in range(3000))
