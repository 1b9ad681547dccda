"""The handshake of a line, above all with a process that really is another user's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.taskflow.relay import handshake
from airflow_joblib.taskflow.relay.server import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = b"k" * 32
#: Becomes another user once all is imported, which that user may not be allowed to read, and tries to connect.
HOSTILE = """
import os, sys
from airflow_joblib.taskflow.relay import handshake
key = bytes.fromhex(sys.stdin.read())
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    handshake.connect(sys.argv[1], key, 10)
except (OSError, EOFError) as error:
    print(type(error).__name__)
else:
    print("admitted")
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def listener() -> Iterator[Relay]:
    """What the task's process listens with."""
    with Relay(bytes, print) as listening:
        yield listening


def hostile(address: str, key: bytes) -> str:
    """What comes of another user's attempt."""
    command = [sys.executable, "-c", HOSTILE, address]
    return subprocess.run(command, input=key.hex(), stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@as_root
def test_another_user(listener: Relay) -> None:
    """Another user's process can't even connect: the folder is closed to it. One of this user can."""
    assert hostile(listener.address, listener.key) == "PermissionError"
    handshake.connect(listener.address, listener.key, 10).close()


@as_root
def test_another_user_in_an_open_folder(listener: Relay) -> None:
    """Were the folder open, another user's process would be hung up on before a word is said, key or not."""
    address = Path(listener.address)
    address.parent.chmod(0o755)
    address.chmod(0o777)
    assert hostile(listener.address, listener.key) == "EOFError"
    assert hostile(listener.address, b"\0" * 32) == "EOFError"
    handshake.connect(listener.address, listener.key, 10).close()


def prove(said: bytes) -> bytes:
    """Send something to who admits a peer; return what that one would send."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        return handshake.admit(ours, KEY, 10)


def test_both_have_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side takes the other for what it is."""
    monkeypatch.setattr("secrets.token_bytes", lambda size: b"t" * size)
    nonces = b"t" * 32 + b"n" * 32
    proof = prove(b"n" * 32 + handshake._mac(KEY, b"worker", nonces))
    assert proof == handshake._mac(KEY, b"task", nonces)


@pytest.mark.parametrize("said", [b"x" * 64, b"n" * 32 + handshake._mac(KEY, b"task", b"t" * 32 + b"n" * 32)])
def test_wrong_answer(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another key, garbage, or this side's own proof sent back, prove nothing."""
    monkeypatch.setattr("secrets.token_bytes", lambda size: b"t" * size)
    with pytest.raises(PermissionError, match="doesn't have the key"):
        prove(said)
