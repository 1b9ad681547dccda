"""What the process of loky's resource tracker runs: loky's own function, without joblib and the rest of loky."""

from airflow_joblib.lean.late import put_off

__all__ = ["main"]


def main(*arguments: int) -> None:
    """Track until every process that could own something has ended."""
    put_off("joblib", "joblib.externals.loky")
    from joblib.externals.loky.backend.resource_tracker import main as track

    track(*arguments)
