"""What passes through the hands of others on a cluster, and shows whose it is."""

from __future__ import annotations

import pytest

from airflow_joblib.clusters.sealed import ANSWERS, ASKS, seal, unseal

KEY = b"k" * 32


@pytest.mark.parametrize("data", [b"", b"request", bytes(100_000)])
def test_whoever_has_the_key(data: bytes) -> None:
    """What was sealed comes out as it was, and the key is not in it."""
    sealed = seal(KEY, ASKS, "7", data)
    assert unseal(KEY, ASKS, "7", sealed) == data
    assert KEY not in sealed


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"request",
        KEY + b"request",
        seal(b"x" * 32, ASKS, "7", b"request"),
        seal(KEY, ANSWERS, "7", b"request"),
        seal(KEY, ASKS, "8", b"request"),
        seal(KEY, ASKS, "7", b"request") + b"!",
        seal(KEY, ASKS, "7 ", b"request"),
    ],
)
def test_everybody_else(sealed: bytes) -> None:
    """Another key, the other side's word, another request's number, or other data prove nothing."""
    with pytest.raises(PermissionError, match="not made by this run"):
        unseal(KEY, ASKS, "7", sealed)
