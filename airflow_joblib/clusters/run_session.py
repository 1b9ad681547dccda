"""The session of a run in a worker process of a cluster: what surrounds the run's threads there."""

from __future__ import annotations

__all__ = ["RunSession"]


class RunSession:
    """A run's session in a worker process of a cluster. That of a task gives its threads Airflow, and a log."""

    def enter(self) -> None:
        """Surround the thread that calls, which is one of the run."""

    def take_log_lines(self) -> list[bytes]:
        """Return, and forget, what this thread has logged for the task's log."""
        return []

    def full(self) -> bool:
        """Return whether so much was logged that the chunk should be handed back."""
        return False

    def flush(self) -> None:
        """Send what this thread has logged, as no chunk is to be handed back any more."""

    def leave(self) -> None:
        """Take away all that the run has in this process."""
