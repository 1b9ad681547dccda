"""What the process of loky's resource tracker runs: loky's own function, with joblib put off."""

from airflow_joblib.lean.late import put_off_joblib

__all__ = ["main"]


def main(*arguments: int) -> None:
    """Track until every process that could own something has ended."""
    put_off_joblib()
    from joblib.externals.loky.backend.resource_tracker import main as track

    track(*arguments)
