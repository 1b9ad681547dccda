"""What an item's exception means for the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_joblib.exceptions import FailItem, RetryItem

if TYPE_CHECKING:
    from airflow_joblib.wire.records import Verdict

__all__ = ["skips", "verdict"]


def verdict(error: BaseException, retry_on: tuple[type[Exception], ...]) -> Verdict:
    """Return whether an item may be tried again, has failed for good, or ends the run.

    Args:
        error: What it has raised.
        retry_on: Types of exceptions that are worth another try.
    """
    if not isinstance(error, Exception) or _airflow_says(error, "AirflowFailException"):
        return "end"
    if isinstance(error, FailItem):
        return "fail"
    return "retry" if isinstance(error, (RetryItem, *retry_on)) else "fail"


def skips(error: BaseException) -> bool:
    """Return whether an exception is Airflow's for what is to be skipped."""
    return _airflow_says(error, "AirflowSkipException")


def _airflow_says(error: BaseException, name: str) -> bool:
    """Return whether an exception is of the Airflow class *name*, without importing Airflow for it."""
    kinds = type(error).__mro__
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] == "airflow" for kind in kinds)
