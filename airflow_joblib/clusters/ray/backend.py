"""Ray's backend for joblib and its pool of actors, driven so that chunks start as soon as one actor is there."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ray
from ray.util.joblib.ray_backend import RayBackend
from ray.util.multiprocessing.pool import Pool, PoolTaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

__all__ = ["Backend", "has_actors"]

log = logging.getLogger("airflow_joblib")

#: Seconds after which the log has that actors are missing.
_PATIENCE = 10.0
_MISSING = (
    "%d of %d workers are there after %.0f s: the Ray cluster may have no more CPUs free, until others end. Items run "
    "on those that are there, and on more as they come. Ask for fewer with n_jobs, or give the cluster more nodes."
)
#: Seconds after which to look whether the cluster is still there.
_LOOK = 1.0

_here = threading.local()


def has_actors() -> bool:
    """Return whether this thread has actors already, for another fan-out."""
    return getattr(_here, "actors", False)


class _Actors(Pool):
    """Ray's pool, which waits for none of its actors: two pools that wait for all could wait for each other.

    Nor does it refuse to request more than there are CPUs, as after the end of a node.
    """

    def _init_ray(self, processes: int, ray_address: str | None = None) -> int:
        del ray_address
        return processes

    def _start_actor_pool(self, processes: int) -> None:
        self._actor_pool = [self._new_actor_entry() for _ in range(processes)]


class Backend(RayBackend):
    """Ray's backend, which gives a chunk to the actor that has the least to do, and is notified when it is done.

    Ray's own gives chunks to its actors in turn, and has a thread for each that polls time and again.

    Args:
        gone: Returns why the cluster is no more, or None.
        ahead: Chunks that an actor has at a time.
    """

    def __init__(self, gone: Callable[[], str | None], ahead: int) -> None:
        super().__init__()
        self._gone = gone
        self._ahead = ahead

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return *n_jobs*: one actor is fine, in whichever thread."""
        return n_jobs

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: object) -> int:
        """Start the actors. Not as Ray does, which changes joblib's own pool for the whole process."""
        self.parallel = parallel
        # A CPU for each actor, lest Ray puts them all on one node; and a thread more than for its chunks, for the end.
        self._pool = _Actors(n_jobs, ray_remote_args={"num_cpus": 1, "max_concurrency": self._ahead + 1})
        self._dispatcher = _Dispatcher(self._pool, self._ahead)
        _here.actors = True
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> None:
        """Hand a batch over; the callback gets its result, or the error."""
        self._dispatcher.submit(func, callback)

    def call_all(self, function: Callable[..., Any], *args: object, timeout: float | None) -> list[Any]:
        """Return what a function returns in every actor's process that is there; None for one that didn't answer."""
        return self._dispatcher.call_all(function, args, timeout, self._gone)

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001, FBT002 - joblib's signature
        """End the actors."""
        del ensure_ready
        self.terminate()

    def terminate(self) -> None:
        """End the actors."""
        pool: Any = self._pool
        self._pool = None  # type: ignore[assignment]
        if pool is not None:
            _here.actors = False
            self._dispatcher.end()
            for actor, _ in () if self._gone() else pool._actor_pool:  # noqa: SLF001
                with suppress(Exception):
                    ray.kill(actor)


class _Dispatcher:
    """Hands batches to the actors of a pool, as they come up and have room."""

    def __init__(self, pool: Pool, ahead: int) -> None:
        self._pool = pool
        self._ahead = ahead
        self._size = len(pool._actor_pool)  # noqa: SLF001
        self._busy: dict[int, int] = {}
        self._waiting: deque[tuple[Any, Callable[[Any], None]]] = deque()
        self._lock = threading.Lock()
        self._missing: deque[int] = deque()
        self._spares = 2 * self._size
        self._broken: BaseException | None = None
        self._changed = threading.Event()
        self._ended = False
        threading.Thread(target=self._tend, name="airflow-joblib actors", daemon=True).start()
        for place in range(self._size):
            self._await(place)

    def submit(self, batch: Any, callback: Callable[[Any], None]) -> None:
        """Give a batch to an actor, now or when one has room."""
        self._waiting.append((batch, callback))
        self._dispatch()

    def call_all(
        self, function: Callable[..., Any], args: Iterable[Any], timeout: float | None, gone: Callable[[], str | None]
    ) -> list[Any]:
        """Run a function in every actor's process that is there; wait no longer than the cluster is."""
        with self._lock:
            places = sorted(self._busy)
        actors = [self._pool._actor_pool[place][0] for place in places]  # noqa: SLF001
        pending = [actor.run_batch.remote(function, [(args, {})]) for actor in actors]
        until, left = float("inf") if timeout is None else time.monotonic() + timeout, list(pending)
        while left and time.monotonic() < until:
            if gone():
                return [None] * len(pending)
            left = ray.wait(left, num_returns=len(left), timeout=min(_LOOK, max(0.0, until - time.monotonic())))[1]
        return [None if ref in left else _answer(ref) for ref in pending]

    def end(self) -> None:
        """Hand over nothing more."""
        self._waiting.clear()
        self._ended = True
        self._changed.set()

    def _await(self, place: int) -> None:
        actor, _ = self._pool._actor_pool[place]  # noqa: SLF001
        actor.ping.remote().future().add_done_callback(functools.partial(self._up, place))

    def _up(self, place: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            with self._lock:
                self._busy[place] = 0
        elif self._spares:  # on a node that is gone, which the head has not noticed yet
            self._spares -= 1
            self._missing.append(place)
        else:
            self._broken = error
        self._changed.set()

    def _replace(self) -> None:
        """Start an actor in the place of each that has not come up."""
        while self._missing:
            place = self._missing.popleft()
            self._pool._actor_pool[place] = self._pool._new_actor_entry()  # noqa: SLF001
            self._await(place)

    def _tend(self) -> None:
        """Hand over what waits, when an actor comes up or has room: Ray's own threads that notify of that must not."""
        until: float | None = time.monotonic() + _PATIENCE
        while not self._ended:
            self._changed.wait(None if until is None else max(0.0, until - time.monotonic()))
            self._changed.clear()
            if until is not None and time.monotonic() >= until and not self._ended:
                until = None
                self._warn_of_missing()
            with suppress(Exception):  # that the cluster is lost is for the run to see
                self._replace()
                self._dispatch()

    def _warn_of_missing(self) -> None:
        with self._lock:
            there = len(self._busy)
        if there < self._size:
            log.warning(_MISSING, there, self._size, _PATIENCE)

    def _dispatch(self) -> None:
        while (due := self._take()) is not None:
            place, batch, callback = due
            try:
                ref = self._pool._run_batch(place, batch, [((), {})])  # noqa: SLF001
                ref.future().add_done_callback(functools.partial(self._done, place, callback))
            except Exception as error:  # noqa: BLE001 - of a cluster that is lost
                callback(error)
        while self._broken and not self._busy and self._waiting:
            _, callback = self._waiting.popleft()
            callback(self._broken)

    def _take(self) -> tuple[int, Any, Callable[[Any], None]] | None:
        """Take a batch that waits, for the actor with the least to do. Sending it must not hold the lock."""
        with self._lock:
            place = min(self._busy, key=self._busy.__getitem__, default=None)
            if place is None or self._busy[place] >= self._ahead or not self._waiting:
                return None
            if self._busy[place] and len(self._waiting) <= self._size - len(self._busy):
                return None  # one each for those that are still to come up
            self._busy[place] += 1
            return place, *self._waiting.popleft()

    def _done(self, place: int, callback: Callable[[Any], None], future: Future[Any]) -> None:
        with self._lock:
            self._busy[place] -= 1
        error = future.exception()
        callback(_unwrapped(future.result()) if error is None else error)
        if self._waiting:
            self._changed.set()


def _unwrapped(results: list[Any]) -> Any:
    (result,) = results
    return result.underlying if isinstance(result, PoolTaskError) else result


def _answer(ref: Any) -> Any:
    with suppress(ray.exceptions.RayError):
        return _unwrapped(ray.get(ref))
    return None
