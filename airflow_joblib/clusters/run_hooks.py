"""What a run has in a worker of a cluster, around its threads there."""

from __future__ import annotations

__all__ = ["Guest"]


class Guest:
    """One run in one worker process. This one brings nothing along; a task's gives its threads Airflow, and a log."""

    def enter(self) -> None:
        """Surround the thread that calls, which is one of the run."""

    def said(self) -> list[bytes]:
        """Return, and forget, what this thread has said for the task's log."""
        return []

    def full(self) -> bool:
        """Tell whether so much was said that the chunk should be handed back."""
        return False

    def flush(self) -> None:
        """Send what this thread has said, as no chunk is to be handed back any more."""

    def leave(self) -> None:
        """Take away all that the run has in this process."""
