"""The way of a worker process to the log of its task: all that it logs and prints goes through :func:`send`."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow.logs import records

if TYPE_CHECKING:
    from airflow_joblib.taskflow.logs.sender import Sender

__all__ = ["fall_back", "mask_secret", "send", "use"]

_sender: Sender | None = None
_masked: set[tuple[str, str | None]] = set()


def use(sender: Sender | None) -> None:
    """Send by this from now on."""
    global _sender  # noqa: PLW0603 - a worker process is what this module's state describes
    _sender = sender


def send(data: dict[str, Any]) -> bool:
    """Send; False if the task can't be reached any more."""
    return _sender is not None and _sender.send(records.encode(data))


def fall_back(text: str, descriptor: int = 2) -> None:
    """Write to a standard stream of the process."""
    with suppress(OSError):
        os.write(descriptor, text.encode("utf-8", "backslashreplace"))


def mask_secret(secret: str, name: str | None = None) -> None:
    """Have the task mask a text in all that follows in its log.

    Args:
        secret: What is not to be seen.
        name: The name it has; it is masked only if that is one of a secret.
    """
    if (secret, name) not in _masked:
        _masked.add((secret, name))
        send(records.of_secret(secret, name))
