"""Many workers at once, workers that say nothing, and a task that has no descriptors left."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib.taskflow.logs.sender import Sender
from airflow_joblib.taskflow.relay import framing as lines
from airflow_joblib.taskflow.relay import handshake, server
from airflow_joblib.taskflow.relay.request_size import has_more_values
from airflow_joblib.taskflow.relay.server import Relay
from tests.unit.helpers import eventually, run_python

if TYPE_CHECKING:
    import socket

CROWD = 200


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def ask(line: socket.socket, request: bytes) -> bytes:
    line.sendall(framed(request))
    return lines.read_frame(line)


def at_once(act: Any) -> list[Any]:
    """Call *act* with a number in so many threads at the same moment."""
    gate = threading.Barrier(CROWD)

    def one(number: int) -> Any:
        gate.wait(60)
        return act(number)

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(one, range(CROWD)))


@pytest.mark.parametrize("waiting", [0, 1024])
def test_all_that_ask_at_once_are_answered(waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the kernel lets wait, each of 200 threads that connect at the same moment gets its answer."""
    monkeypatch.setattr(server, "_WAITING", waiting)

    def asks(number: int) -> bytes:
        with lines.connect(running.address, running.key) as line:
            return ask(line, str(number).encode())

    with Relay(framed, print) as running:
        assert at_once(asks) == [str(number).encode() for number in range(CROWD)]


@pytest.mark.parametrize("waiting", [0, 1024])
def test_no_log_is_lost(waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 that begin to log at the same moment every line arrives."""
    monkeypatch.setattr(server, "_WAITING", waiting)
    taken: list[bytes | None] = []

    def says(number: int) -> bool:
        sender = senders[number] = Sender(running.address, running.key)
        return sender.send(b'"%d"\n' % number)

    senders: dict[int, Sender] = {}
    with Relay(framed, lambda _, line: taken.append(line)) as running:
        assert all(at_once(says))
    assert {line for line in taken if line} == {b'"%d"' % number for number in range(CROWD)}
    for sender in senders.values():
        assert sender._socket is not None
        sender._socket.close()


def test_nobody_listens(tmp_path: Any) -> None:
    """Where nobody will ever listen a worker is told at once, and doesn't try again."""
    began = time.monotonic()
    with pytest.raises(FileNotFoundError):
        handshake.connect(str(tmp_path / "none"), b"", 30)
    with Relay(framed, print) as running:
        address, key = running.address, running.key
    with pytest.raises(OSError, match="No such file"):
        lines.connect(address, key)
    assert time.monotonic() - began < 5


class TestSilence:
    """Who begins something and doesn't end it is hung up on after a while; who has begun nothing is not."""

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lines, "STALLED", 0.3)

    @pytest.mark.parametrize("begun", [b"\0", b"\0\0\0\5ab"])
    def test_half_a_request(self, begun: bytes) -> None:
        """A worker that falls silent in the midst of a request loses its line."""
        with Relay(framed, print) as running, lines.connect(running.address, running.key) as line:
            line.sendall(begun)
            line.settimeout(10)
            assert line.recv(1) == b""

    def test_answer_that_is_not_taken(self) -> None:
        """So does one that doesn't take its answer, and the thread that was to send it ends."""
        before = threading.active_count()
        with (
            Relay(lambda _: framed(bytes(16 << 20)), print) as running,
            lines.connect(running.address, running.key) as line,
        ):
            line.sendall(framed(b""))
            assert eventually(lambda: threading.active_count() == before + 2)
            assert eventually(lambda: threading.active_count() == before + 1)

    def test_no_request(self) -> None:
        """Between two requests a worker may say nothing for as long as it likes."""
        with Relay(framed, print) as running, lines.connect(running.address, running.key) as line:
            for _ in range(2):
                assert ask(line, b"x") == b"x"
                time.sleep(0.8)


#: A process of which :func:`crowded` takes all the descriptors while it lasts.
CROWDED = """
import os, resource, socket, time
from contextlib import ExitStack, contextmanager
from airflow_joblib.taskflow.relay import handshake
from airflow_joblib.taskflow.relay.server import Relay

resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

@contextmanager
def crowded():
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        yield
    finally:
        for one in held:
            os.close(one)
"""


def test_no_descriptor_is_left() -> None:
    """A task that can take nobody in waits without using a CPU; when a descriptor is free the worker is taken in."""
    code = f"""{CROWDED}
with Relay(bytes, print) as listening:
    waiting = socket.socket(socket.AF_UNIX)
    with crowded():
        waiting.connect(listening.address)
        began = time.process_time()
        time.sleep(1.5)
        print(time.process_time() - began < 0.5)
    waiting.settimeout(10)
    print(len(waiting.recv(handshake.NONCE)) == handshake.NONCE)
    began = time.monotonic()
print(time.monotonic() - began < 3)
"""
    assert run_python(code).stdout.split() == ["True"] * 3


def test_leaving_with_no_descriptor_left() -> None:
    """A worker that still knocks doesn't keep a task from ending that can't take it in."""
    code = f"""{CROWDED}
waiting = socket.socket(socket.AF_UNIX)
with ExitStack() as stack:
    with Relay(bytes, print) as listening:
        stack.enter_context(crowded())
        waiting.connect(listening.address)
        began = time.monotonic()
    print(time.monotonic() - began < 3)
"""
    assert run_python(code).stdout == "True\n"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=40) | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=20),
)


def count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(count(key) + count(each) for key, each in value.items())
    return 1 + (sum(map(count, value)) if isinstance(value, list) else 0)


@pytest.mark.slow
@given(json_values)
def test_values_of_a_message(value: Any) -> None:
    """The values of a message are counted right without making any."""
    message, number = msgspec.msgpack.encode(value), count(value)
    assert not has_more_values(message, number)
    assert has_more_values(message, number - 1) == (len(message) > number - 1)


@pytest.mark.parametrize("size", [0, 40, 300, 70_000])
def test_long_values(size: int) -> None:
    """Lengths of all widths are read right, of texts, bytes, lists, mappings and types of one's own."""
    for value in ("x" * size, bytes(size), [1] * size, dict.fromkeys(range(size)), msgspec.msgpack.Ext(5, bytes(size))):
        parts = len(value) * (2 if isinstance(value, dict) else 1) if isinstance(value, list | dict) else 0
        message = msgspec.msgpack.encode([value, None])
        assert not has_more_values(message, parts + 3)
        assert has_more_values(message, parts + 2)


def test_announced_values() -> None:
    """A message that only says how many values it has is taken at its word."""
    assert has_more_values(b"\xdd\xff\xff\xff\xff" + bytes(20), 10)
