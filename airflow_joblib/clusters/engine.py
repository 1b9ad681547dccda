"""What an engine is to the rest, and what all of them check before anything runs."""

from __future__ import annotations

import functools
import importlib.util
import logging
import socket
import sys
from abc import ABC, abstractmethod
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_joblib.clusters.modules import airflow_version, check_airflow, check_modules, is_airflow, missing
from airflow_joblib.exceptions import ClusterError, InvalidOptionError
from airflow_joblib.options.options import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from airflow_joblib.wire.records import Payload, Rules

__all__ = [
    "TIMEOUT",
    "Engine",
    "Options",
    "check_reachable",
    "check_software",
    "require",
    "software",
    "unreachable",
    "warn_of_open",
]

log = logging.getLogger("airflow_joblib")

#: Seconds to wait for a cluster to answer, unless the option ``timeout`` is given.
TIMEOUT = 10.0
#: What must be the same on both sides: bytecode of one Python doesn't run in another, nor do pickles load.
_SAME = ("python", "cloudpickle", "airflow-joblib")
_NEEDED = ("joblib",)
#: Chunks of an asynchronous function that a worker has at a time: one that lasts must not keep others from coming.
_JOINED = 4


#: Clusters that have been warned of.
_warned: set[tuple[str, str]] = set()
_OPEN = (
    "The %s cluster at %s requires no authentication: whoever reaches it can read what this task sends there, and run "
    "code that requests Connections and Variables from the task. %s"
)


def warn_of_open(name: str, address: str, mend: str) -> None:
    """Warn, once, of a cluster that lets everybody in.

    Args:
        name: The engine.
        address: Where the cluster is.
        mend: What closes it.
    """
    if (name, address) not in _warned:
        _warned.add((name, address))
        log.warning(_OPEN, name, address.rpartition("@")[2], mend)


class Options:
    """The options of an engine, taken one by one; what is left at the end nobody knows."""

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        self._name = name
        self._left = dict(given)
        self._known: list[str] = []

    def take(self, option: str, default: Any = None) -> Any:
        """Return the value of an option."""
        self._known.append(option)
        return self._left.pop(option, default)

    def timeout(self) -> float:
        """Return how many seconds to wait for an answer.

        Raises:
            InvalidOptionError: It is no duration.
        """
        return seconds("backend_options['timeout']", self.take("timeout", TIMEOUT))

    def finish(self) -> None:
        """Check that nothing is left.

        Raises:
            InvalidOptionError: There is an option that the engine doesn't know.
        """
        if self._left:
            msg = (
                f"backend_options {sorted(self._left)} are not known for the backend {self._name!r}. It takes "
                f"{', '.join(sorted(self._known))}."
            )
            raise InvalidOptionError(msg)


class Engine(ABC):
    """A cluster that is connected.

    Attributes:
        name: Name of the backend.
        slots: Items that it can run at a time.
        place: Where it is, for messages.
        local: Whether it was started for the run.
        single: Whether one worker runs there as well; else, as one is no gain, the task's process runs the items.
        keeps_others: Whether the end of a worker fails what that one ran, and nothing else.
        parting: What workers' threads logged as they left a run, each with its unique id.
        dispatch_seconds: Work that is worth a dispatch; 0 for what holds of processes on one machine.
        joins: Whether a worker takes another chunk of an asynchronous function while items of the last still run.
        own_workers: Whether a run has workers of its own; else its items run on whichever of all slots is free.
    """

    name: str
    slots: int
    place: str
    local: bool = False
    single: bool = False
    keeps_others: bool = False
    dispatch_seconds: float = 0.0
    joins: bool = False
    own_workers: bool = False
    parting: Sequence[tuple[Any, Sequence[bytes]]] = ()

    @abstractmethod
    def backend(self, run: str, payload: Payload) -> Any:
        """Return a joblib backend, having sent the *payload* of a *run* once by the engine's own means."""

    @abstractmethod
    def task(self, data: bytes, indices: Sequence[int]) -> tuple[Callable[..., bytes], tuple[Any, ...]]:
        """Return the function that runs a chunk on a worker, and its arguments, without the payload itself."""

    def chunks_ahead(self, rules: Rules) -> int:
        """Return how many chunks a worker has at a time: the one that it runs, and the next; more where they join."""
        return _JOINED if self.joins and rules.concurrency else 2

    @abstractmethod
    def everywhere(self, function: Callable[[], Any]) -> Mapping[str, Any]:
        """Call a function once in every worker, or in one of each kind, and return what it gives by who gave it."""

    def check(self, needed: Mapping[str, str], perhaps: Mapping[str, str]) -> None:
        """Check that workers have what the function needs.

        Args:
            needed: Names of modules without which nothing runs, and what needs each.
            perhaps: Those that an item may or may not import, of which a missing one is warned of.

        Raises:
            ClusterError: A worker lacks a module, or has another Airflow than the task where that is needed.
        """
        if needed or perhaps:
            names = (*needed, *perhaps)
            check_modules(self.name, self.everywhere(functools.partial(missing, names)), needed, perhaps)
            if any(map(is_airflow, names)):
                check_airflow(self.name, self.everywhere(airflow_version), refuse=any(map(is_airflow, needed)))

    def request_channel(
        self,
        answer: Callable[[bytes], bytes],  # noqa: ARG002 - where there is no channel, nobody sends requests
    ) -> AbstractContextManager[Callable[[bytes], bytes] | None]:
        """Let workers send requests to the task's process while a run lasts.

        Gives what a worker calls with a request and gets the answer from, which can be pickled; None where there is
        no channel.

        Args:
            answer: Answers a request; must not raise. Called from many threads.
        """
        return nullcontext()

    def reason(self, error: BaseException) -> str:
        """Return the text of an error of the engine."""
        return f"{type(error).__name__}: {error}"

    def why_gone(self) -> str | None:  # noqa: B027 - an engine that can't know returns nothing
        """Return why the cluster is no more, or None while it is there."""

    def why_lost(self, job: Any) -> str | None:  # noqa: B027
        """Return why a chunk will never come back, or None if it still may."""

    def leave(self, *, resources: bool, failed: bool) -> Iterable[str]:
        """Have every worker leave the run: stop what it runs, leave its resources, forget all. Return what failed."""
        del resources, failed
        return ()


def require(extra: str, modules: Iterable[str]) -> None:
    """Check that an extra is installed here.

    Raises:
        ClusterError: It isn't.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        msg = (
            f"The backend {extra!r} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed where the task runs. Install it there: pip install 'airflow-joblib[{extra}]'"
        )
        raise ClusterError(msg)


def check_reachable(address: str, timeout: float, name: str, start: str) -> None:
    """Check that somebody listens at an address, so that the engine's own long wait is not begun.

    Raises:
        ClusterError: Nobody does.
    """
    parts = urlsplit(address if "//" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        msg = f"{address!r} is no address of a {name} cluster: it needs a host and a port."
        raise ClusterError(msg)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout).close()
    except OSError as error:
        raise unreachable(name, address, timeout, str(error), start) from None


def unreachable(name: str, address: str, timeout: float, why: str, start: str) -> ClusterError:
    """Return the error for a cluster that doesn't answer."""
    return ClusterError(
        f"No {name} cluster answered at {address} within {timeout:g} s: {why}. Check the address, that the cluster "
        f"runs ({start}), and that this host may reach it."
    )


def software() -> dict[str, str | None]:
    """Return the versions of Python and of the distributions that count; None if missing."""
    found: dict[str, str | None] = {"python": "{}.{}.{}".format(*sys.version_info)}
    for name in (*_SAME[1:], *_NEEDED):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def check_software(name: str, workers: Mapping[str, Mapping[str, str | None]]) -> None:
    """Compare the software of the workers with that of the task.

    Args:
        name: The engine.
        workers: What :func:`software` returns on each worker, by the worker's name.

    Raises:
        ClusterError: A worker has another Python, cloudpickle or version of this library, or lacks a package.
    """
    here = software()
    for worker, there in workers.items():
        for package in (*_SAME, *_NEEDED):
            wanted, found = here[package], there.get(package)
            if found is None:
                raise ClusterError(_missing(name, worker, package, wanted))
            if package in _SAME and not _alike(package, str(wanted), found):
                raise ClusterError(_differs(name, worker, package, str(wanted), found))


def _alike(package: str, ours: str, theirs: str) -> bool:
    if package == "python":  # bytecode is the same within a minor version
        return ours.split(".")[:2] == theirs.split(".")[:2]
    return ours == theirs


def _missing(name: str, worker: str, package: str, wanted: str | None) -> str:
    return (
        f"The {name} worker {worker} lacks {package}, which it needs to run the items. Nothing has run. Install it in "
        f"the environment of every worker: pip install '{package}{'==' + wanted if wanted else ''}'"
    )


def _differs(name: str, worker: str, package: str, ours: str, theirs: str) -> str:
    if package == "python":
        mend = f"Start the workers with Python {'.'.join(ours.split('.')[:2])}, or the task with theirs."
    else:
        mend = f"Install the task's version on every worker: pip install '{package}=={ours}'"
    return (
        f"The {name} worker {worker} has {package} {theirs}, the task has {ours}: what one pickles the other can't be "
        f"trusted to load. Nothing has run. {mend}"
    )
