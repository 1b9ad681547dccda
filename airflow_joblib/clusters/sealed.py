"""Requests and answers that pass through the hands of others, which prove whose they are without showing the key.

::

    worker:  number, request, mac(key, "asks", number, request)    ─► ... ─► task
    task:    answer, mac(key, "answers", number, answer)           ─► ... ─► worker
"""

from __future__ import annotations

import hmac

__all__ = ["ANSWERS", "ASKS", "seal", "unseal"]

#: Who sends it, so that nobody is sent back what it has sent itself.
ASKS, ANSWERS = b"asks", b"answers"
_SIZE = 32


def seal(key: bytes, who: bytes, number: str, data: bytes) -> bytes:
    """Return *data* behind what shows that somebody has made it who has the key, for that *number*."""
    return _mac(key, who, number, data) + data


def unseal(key: bytes, who: bytes, number: str, sealed: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        PermissionError: Who has made it hasn't the key, or made it for something else.
    """
    mac, data = sealed[:_SIZE], sealed[_SIZE:]
    if not hmac.compare_digest(mac, _mac(key, who, number, data)):
        raise PermissionError("what came by the cluster's channel was not made by this run")
    return data


def _mac(key: bytes, who: bytes, number: str, data: bytes) -> bytes:
    mac = hmac.new(key, f"{who.decode()} {number} ".encode(), "sha256")
    mac.update(data)
    return mac.digest()
