"""An error without a message that could be shown."""

from airflow.sdk import dag


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


raise OddError  # AJ901
