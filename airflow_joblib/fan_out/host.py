"""What surrounds a run: nothing, or the Airflow task that it happens in.

The run calls its host and never Airflow; :mod:`airflow_joblib.taskflow` puts a task in the place of this one.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from airflow_joblib.exceptions import InvalidOptionError

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from airflow_joblib.wire.call import Call

__all__ = ["ClusterServices", "Figures", "Host", "RunDisplay"]


def _nothing(worker: object, lines: Sequence[bytes]) -> None:
    """Take lines of a log that nobody reads."""


class ClusterServices(NamedTuple):
    """What the workers of a cluster need of the task, and what takes the lines that they log.

    Attributes:
        prepare: Called in every worker process, returns the run's session there; can be pickled. None for none.
        take: Takes the lines that a thread of a worker has logged, with a number that identifies the thread.
    """

    prepare: Callable[[], Any] | None = None
    take: Callable[[Any, Sequence[bytes]], None] = _nothing


class Figures(NamedTuple):
    """A run in numbers.

    Attributes:
        function: The function's name.
        backend: What the workers were of.
        workers: How many there were.
        state: ``success`` or ``failed``.
        items: What became of how many items: ``total``, ``done``, ``failed``, ``skipped``, ``earlier``, ``retried``.
        seconds: How long the run took.
        durations: About how many seconds tries of items took, and how many did.
    """

    function: str
    backend: str
    workers: int
    state: str
    items: Mapping[str, int]
    seconds: float
    durations: Sequence[tuple[float, int]]


class RunDisplay(Protocol):
    """Shows the record of one run. Called from a thread of its own, and does not raise."""

    def __call__(self, record: Mapping[str, Any], /, *, over: bool) -> None:
        """Show how the run stands now, or that it is over."""


class Host:
    """No task: a unit test, a notebook, a script."""

    @contextmanager
    def services(self) -> Iterator[Callable[[], None] | None]:
        """Serve worker processes for the length of a run; gives what each of them runs first."""
        yield None

    def before_fork(self) -> None:
        """Import what worker processes need of this host, so that each forked one has it."""

    def cluster_services(
        self,
        engine: str,  # noqa: ARG002 - a task names it in messages
        channel: Callable[[Callable[[bytes], bytes]], AbstractContextManager[Callable[[bytes], bytes] | None]],  # noqa: ARG002
    ) -> AbstractContextManager[ClusterServices]:
        """Serve the workers of a cluster for the length of a run.

        Args:
            engine: Name of the backend.
            channel: The engine's channel, by which workers send requests to this process.
        """
        return nullcontext(ClusterServices())

    @contextmanager
    def watched(self) -> Iterator[Callable[[], None]]:
        """Let a run be ended from outside; gives a function to call now and then, which raises when it must end."""
        yield lambda: None

    def result_check(self, call: Call) -> Callable[[int, object], str | None] | None:
        """Return a check of whether an item's result fits an XCom; None where the results will not be one.

        It takes the item's position in the input and its result, and returns None for a result that can.
        """
        del call
        return None

    def size_of(self, call: Call, values: Sequence[Any]) -> int | None:
        """Return the size in bytes that the results will have as an XCom; None where they will not be one."""
        del call, values
        return None

    def completed(
        self,
        signature: inspect.Signature,  # noqa: ARG002 - a unit test fills in what this has
        given: Callable[[], Mapping[str, Any]],  # noqa: ARG002 - as above
        kwargs: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Return the keyword arguments of a call, with what the host fills in besides.

        Args:
            signature: Of the call.
            given: Returns the arguments of the call by the parameter that takes them.
            kwargs: Its keyword arguments.
        """
        return kwargs

    def take_results(self, call: Call, values: list[Any]) -> None:
        """Take the results of a run that has succeeded."""
        del call, values

    def publish_failures(self, records: list[Mapping[str, Any]]) -> None:
        """Make the records of the failed items known."""

    def run_display(self) -> RunDisplay | None:
        """Return what shows the record of a run that begins now; None where nothing does."""
        return None

    def measure(self, figures: Figures) -> None:
        """Send the figures of a run that is over to where those of many runs are watched."""

    def hides(self, name: str) -> bool:
        """Return whether what goes by *name* is a secret: nothing is, where there is no Airflow."""
        del name
        return False

    def mask(self, text: str) -> str:
        """Return a text with the secrets masked that are known."""
        return text

    def keep_secret(self, secret: str) -> None:
        """Have a text masked from now on, wherever it is shown."""

    def shows_notes(self) -> bool:
        """Return whether an exception that leaves the run is shown with its notes and the worker's traceback."""
        return True

    def is_whole_task(self, call: Call) -> bool:
        """Return whether this run is all that its task does."""
        del call
        return False

    def when_succeeded(self, act: Callable[[], object]) -> None:
        """Act once the task that this run is a part of has succeeded or was skipped: now, where there is none."""
        act()

    def call_off(self) -> None:
        """Let nothing be done once the task has succeeded that this or another run was to have done then."""

    def checkpoint_folder(self, where: str | None) -> Any:
        """Return the folder for finished items, as a path; None where the run is to find one itself.

        Args:
            where: What the option names; None for the configured place.
        """
        del where

    def connection(self, backend: str, conn_id: str) -> Mapping[str, Any]:
        """Return the options of a backend that an Airflow connection holds.

        Raises:
            InvalidOptionError: There is no Airflow here, or the backend has no use for the connection.
        """
        msg = (
            f"backend_options name the Airflow connection {conn_id!r}, and this is no task. Give the options of the "
            f"backend {backend!r} themselves, as its address."
        )
        raise InvalidOptionError(msg)
