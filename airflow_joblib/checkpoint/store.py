"""What earlier tries have finished, and what this one adds."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_joblib.checkpoint import frames
from airflow_joblib.checkpoint.digests import digest
from airflow_joblib.checkpoint.segments import Segments
from airflow_joblib.system import clock
from airflow_joblib.system.credentials import without_credentials

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from airflow_joblib.checkpoint.folders import Folder

__all__ = ["Checkpoint", "Finished"]

log = logging.getLogger("airflow_joblib")

#: Seconds that a finished item may wait for being written: with the time a write takes, under the second promised.
BEAT = 0.4
#: Bytes that are written without waiting for the beat, and with which a run waits for those that are being written.
ENOUGH = 8 << 20
#: Seconds of one such wait.
STALL = 1.0
#: Bytes that may wait for a storage that can't be written.
MOST = 64 << 20
#: Seconds until the next try after a write has failed, the first time and at most; they double.
FIRST_PAUSE, LONGEST_PAUSE = 0.8, 30.0
#: Seconds that the end of a run waits for a slow storage.
PATIENCE = 20.0
#: The same where the task was killed, and should be gone within five.
HASTE = 2.0
#: Files that are reported by name.
SHOWN = 10
_OTHERS = (
    "%s finished items of an earlier call are not used: its shared arguments, or what its function is bound to, were "
    "others (in %s)."
)


class Finished(NamedTuple):
    """What became of an item in an earlier try."""

    value: Any
    skipped: bool


class Checkpoint:
    """The finished items of one call.

    Nothing here raises for what a file has in it, or because a storage can't be read or written: it is logged,
    and the run goes on.

    Args:
        folder: Where the files are.
        key: What :func:`~airflow_joblib.checkpoint.call_key` returned.

    Attributes:
        found: Finished items that were read.
    """

    def __init__(self, folder: Folder, key: str) -> None:
        self.folder = folder
        self.found = 0
        self._key = key
        self._segments = Segments(folder, key)
        self._restored: dict[bytes, Finished] = {}
        self._more: dict[bytes, deque[Finished]] = {}
        self._pending = _Pending()
        self._writer: threading.Thread | None = None
        self._writing_since = 0.0
        self._unwritten: _Pending | None = None  # for this thread to take back from the writer's
        self._failed_for = 0.0
        self._not_before = 0.0
        self._warned: set[str] = set()

    def load(self) -> None:
        """Read what earlier tries have left; what can't be used is reported by name, and ignored."""
        identities: set[bytes] = set()
        troubles: list[tuple[str, str]] = []
        try:
            for name, data in self._segments.read():
                troubles += [(name, trouble) for trouble in self._take_in(name, data, identities)]
        except Exception as error:  # noqa: BLE001 - whatever a remote storage raises
            self._warn("list", f"The checkpoint in {self.folder} can't be read, and so all items run", error)
        troubles += [(name, "it is not of this library") for name in self._segments.foreign]
        self._report(troubles)

    def _take_in(self, name: str, data: bytes | Exception, identities: set[bytes]) -> list[str]:
        if isinstance(data, Exception):
            return [f"it can't be read, {type(data).__name__}: {without_credentials(str(data))}"]
        troubles = []
        for frame in frames.decode(self._key, data):
            if isinstance(frame, str):
                troubles.append(frame)
            elif frame.identity not in identities:  # a merge that ended half-way leaves copies
                identities.add(frame.identity)
                self._restore(frame)
        if not troubles:
            self._segments.note_intact(name, len(data))
        return troubles

    def _restore(self, frame: frames.Frame) -> None:
        self.found += len(frame.digests)
        for place, (key, value) in enumerate(zip(frame.digests, frame.values, strict=True)):
            finished = Finished(value, place in frame.skipped)
            if key in self._restored:
                self._more.setdefault(key, deque()).append(finished)
            else:
                self._restored[key] = finished

    def _report(self, troubles: list[tuple[str, str]]) -> None:
        for name, why in troubles[:SHOWN]:
            log.warning("Checkpoint file %s/%s is not used, or in part: %s.", self.folder, name, why)
        if len(troubles) > SHOWN:
            log.warning("The same holds for %s more in that folder.", f"{len(troubles) - SHOWN:,}")
        if self._segments.others:
            log.info(_OTHERS, f"{self._segments.others:,}", self.folder)

    def take(self, item: object, key: bytes | None = None) -> Finished | None:
        """Return what became of an item of this content in an earlier try; of several, each is returned once.

        Args:
            item: The item.
            key: Its digest, where :meth:`digests` has returned it.
        """
        if not self._restored:
            return None
        try:
            key = digest(item) if key is None else key
        except Exception:  # noqa: BLE001 - then it was never kept
            return None
        finished = self._restored.pop(key, None)
        if self._more and (more := self._more.get(key)):
            self._restored[key] = more.popleft()
        return finished

    def digests(self, items: Iterable[object]) -> list[bytes] | None:
        """Return the digests of items, for :meth:`add`; None, and a warning once, if they can't be recognised."""
        try:
            return [digest(item) for item in items]
        except Exception as error:  # noqa: BLE001 - whatever pickling raises
            what = "An item has no content to be recognised by, and so finished items like it are not kept"
            self._warn("items", what, error)
            return None

    def add(
        self,
        items: Sequence[object],
        values: Sequence[Any],
        skipped: Collection[int] = (),
        digests: list[bytes] | None = None,
    ) -> None:
        """Keep finished items of one chunk.

        Args:
            items: The items.
            values: What became of each.
            skipped: Places in *items* of those that were skipped.
            digests: What :meth:`digests` returned before the items ran, where running may have changed them: in this
                process.
        """
        digests = self.digests(items) if digests is None else digests
        if not digests:
            return
        try:
            self._pending.add(frames.encode(self._key, digests, values, skipped), len(digests))
        except Exception as error:  # noqa: BLE001 - pickling runs code of the user
            what = "A result can't be pickled, and so finished items like it are not kept"
            self._warn("values", what, error)

    def beat(self, now: float | None = None) -> None:
        """Write what has waited long enough; to be called at least twice a second while a run lasts."""
        now = clock.now() if now is None else now
        pending = self._take_back()
        due = pending.size >= ENOUGH or (pending.frames and now - pending.since >= BEAT)
        if pending.size >= ENOUGH and self._is_writing():
            self._hold_back()
            pending = self._take_back()
        if due and now >= self._not_before and not self._is_writing():
            self._start_writing(pending)
        elif pending.size > MOST:
            self._pending = _Pending()
            what = f"{pending.items:,} finished items are not kept"
            self._warn("memory", what, MemoryError(f"over {MOST >> 20} MiB wait for {self.folder}"))

    def _hold_back(self) -> None:
        """Let the run wait for a storage that is slower than its items, but not for one that doesn't answer."""
        if clock.now() - self._writing_since < PATIENCE:
            self._wait(STALL)

    def flush(self, *, hasty: bool = False) -> None:
        """Write all that is pending now, and wait for it, not long if *hasty*."""
        patience = HASTE if hasty else PATIENCE
        until = clock.now() + patience
        self._wait(patience)
        if self._take_back().frames and not self._is_writing():
            self._start_writing(self._pending)
            self._wait(until - clock.now())
        if self.folder.slow and self._is_writing():
            what = f"The checkpoint in {self.folder} may lack the last finished items"
            self._warn("slow", what, TimeoutError(f"it was not written within {patience:.0f} s"))

    def clear(self, *, others: bool = False, spare: bool = False) -> None:
        """Remove the call's files, since it has succeeded, and folders that are empty then.

        Args:
            others: Remove the files of all calls: the whole task has succeeded.
            spare: Leave what was read, and not taken: it is of a call with other items.
        """
        self._wait()
        self._pending = _Pending()
        try:
            left, items = self._not_taken() if spare else (b"", 0)
            self._segments.clear(others=others, left=left, items=items)
        except Exception as error:  # noqa: BLE001 - whatever a remote storage raises
            self._warn("clear", "The checkpoint could not be removed, and stays", error)

    def _not_taken(self) -> tuple[bytes, int]:
        """Return a frame with what was read and not taken, and how many items it has."""
        pairs = [*self._restored.items(), *((key, each) for key, more in self._more.items() for each in more)]
        if not pairs:
            return b"", 0
        values = [finished.value for _, finished in pairs]
        skipped = {place for place, (_, finished) in enumerate(pairs) if finished.skipped}
        return frames.encode(self._key, [key for key, _ in pairs], values, skipped), len(pairs)

    def _start_writing(self, pending: _Pending) -> None:
        self._pending = _Pending()
        if not self.folder.slow:
            self._write(pending)
            return
        self._writing_since = clock.now()
        self._writer = threading.Thread(target=self._write, args=(pending,), name="joblib-checkpoint", daemon=True)
        self._writer.start()

    def _take_back(self) -> _Pending:
        if self._unwritten is not None and not self._is_writing():
            self._pending, self._unwritten = self._unwritten.before(self._pending), None
        return self._pending

    def _is_writing(self) -> bool:
        return self._writer is not None and self._writer.is_alive()

    def _wait(self, seconds: float = PATIENCE) -> None:
        if self._writer is not None:
            self._writer.join(max(0.0, seconds))

    def _write(self, pending: _Pending) -> None:
        self._unwritten = pending  # also if a timeout of the task is raised in the middle; twice does no harm
        try:
            self._segments.write(b"".join(pending.frames), pending.items)
        except Exception as error:  # noqa: BLE001 - a full disk, a lost connection
            self._failed_for = min(LONGEST_PAUSE, 2 * self._failed_for or FIRST_PAUSE)
            self._not_before = clock.now() + self._failed_for
            self._warn("write", f"The checkpoint in {self.folder} could not be written, and the run goes on", error)
        else:
            self._unwritten = None
            self._failed_for = 0.0

    def _warn(self, kind: str, what: str, error: Exception) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning("%s: %s: %s", what, type(error).__name__, without_credentials(str(error)))


class _Pending:
    """Frames that are to be written, and since when."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.size = self.items = 0
        self.since = 0.0

    def add(self, frame: bytes, items: int) -> None:
        """Add a frame of so many items."""
        self.since = self.since if self.frames else clock.now()
        self.frames.append(frame)
        self.size += len(frame)
        self.items += items

    def before(self, later: _Pending) -> _Pending:
        """Return this with what has come since."""
        self.frames += later.frames
        self.size += later.size
        self.items += later.items
        return self
