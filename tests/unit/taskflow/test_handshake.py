"""The handshake of both kinds of line, above all with a process that really is another user's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.taskflow.logs.receiver import Receiver
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


@pytest.fixture(params=["relay", "logs"])
def listener(request: pytest.FixtureRequest) -> Iterator[Relay | Receiver]:
    """What the task's process listens with, for each kind of line."""
    with Relay(bytes) if request.param == "relay" else Receiver(lambda *_: None) as listening:
        yield listening


def hostile(address: str, key: bytes) -> str:
    """What comes of another user's attempt."""
    command = [sys.executable, "-c", HOSTILE, address]
    return subprocess.run(command, input=key.hex(), stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@as_root
def test_another_user(listener: Relay | Receiver) -> None:
    """Another user's process can't even connect: the folder is closed to it. One of this user can."""
    assert hostile(listener.address, listener.key) == "PermissionError"
    handshake.connect(listener.address, listener.key, 10).close()


@as_root
def test_another_user_in_an_open_folder(listener: Relay | Receiver) -> None:
    """Were the folder open, another user's process would be hung up on before a word is said, key or not."""
    address = Path(listener.address)
    address.parent.chmod(0o755)
    address.chmod(0o777)
    assert hostile(listener.address, listener.key) == "EOFError"
    assert hostile(listener.address, b"\0" * 32) == "EOFError"
    handshake.connect(listener.address, listener.key, 10).close()


def test_both_have_the_key() -> None:
    """Each side takes the other for what it is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        admitting = threading.Thread(target=handshake.admit, args=(ours, KEY, 10.0))
        admitting.start()
        nonces = handshake.read(theirs, handshake.NONCE) + b"n" * handshake.NONCE
        theirs.sendall(nonces[handshake.NONCE :] + handshake._mac(KEY, b"worker", nonces))
        assert handshake.read(theirs, handshake.NONCE) == handshake._mac(KEY, b"task", nonces)
        admitting.join()


@pytest.mark.parametrize("said", [b"", b"x" * 64, b"n" * 32 + handshake._mac(KEY, b"task", b"t" * 32 + b"n" * 32)])
def test_wrong_answer(said: bytes) -> None:
    """Another key, garbage, or this side's own proof sent back, prove nothing."""
    with pytest.raises(PermissionError, match="doesn't have the key"):
        handshake.answer(KEY, b"t" * 32, said)
