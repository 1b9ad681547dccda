"""The relay's transport, with an answering function in the place of Airflow's supervisor."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_joblib.taskflow.relay import framing as lines
from airflow_joblib.taskflow.relay import handshake
from airflow_joblib.taskflow.relay.server import Relay
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = b"hello"


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def echo(frame: bytes) -> bytes:
    return framed(b"answer to " + frame)


def drop(number: int, line: bytes | None) -> None:
    """Take a line of a log."""


def ask(line: socket.socket, request: bytes) -> bytes:
    line.sendall(framed(request))
    return lines.read_frame(line)


def hung_up(line: socket.socket) -> bool:
    """Whether the other end hangs up, whatever it says before."""
    line.settimeout(10)
    try:
        while line.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay that answers every frame with the frame."""
    with Relay(echo, drop) as running:
        yield running


@pytest.fixture
def witness(relay: Relay) -> Iterator[socket.socket]:
    """An honest peer, which must get its answers whatever others do."""
    with lines.connect(relay.address, relay.key) as line:
        assert ask(line, HELLO) == b"answer to hello"
        yield line
        assert ask(line, HELLO) == b"answer to hello"


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def plain(relay: Relay) -> socket.socket:
    """A line that has proved nothing yet."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(10)
    line.connect(relay.address)
    return line


class TestPeers:
    """Who gets an answer."""

    def test_peer_with_the_key(self, relay: Relay) -> None:
        """Requests on one line are answered in turn, of any size."""
        with lines.connect(relay.address, relay.key) as line:
            for request in (b"", b"one", b"x" * 3_000_000):
                assert ask(line, request) == b"answer to " + request

    @pytest.mark.usefixtures("witness")
    def test_peer_without_the_key(self, relay: Relay) -> None:
        """A process of the same user that hasn't the key is refused, and no one else notices."""
        with pytest.raises((OSError, EOFError)):
            lines.connect(relay.address, b"\0" * 32)

    @pytest.mark.usefixtures("witness")
    def test_relay_without_the_key(self, relay: Relay) -> None:
        """A worker hangs up where another listens in the relay's place."""
        with Relay(echo, drop) as other:
            other.address, before = relay.address, other.key
            with pytest.raises((OSError, EOFError)):
                lines.connect(relay.address, before)

    @pytest.mark.usefixtures("witness")
    def test_replayed_handshake(self, relay: Relay) -> None:
        """What was overheard on one line proves nothing on another."""
        with plain(relay) as first, plain(relay) as second:
            nonces = first.recv(32), b"\1" * 32
            proof = nonces[1] + handshake._mac(relay.key, b"worker", b"".join(nonces))
            second.recv(32)
            second.sendall(proof)
            assert second.recv(32) == b""
            first.sendall(proof)
            assert first.recv(32) == handshake._mac(relay.key, b"task", b"".join(nonces))

    @pytest.mark.usefixtures("witness")
    def test_another_user_who_got_in(self, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
        """Were the folder open to others, the relay would still go by the kernel's word, and hang up at once."""
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with plain(relay) as line:
            assert line.recv(1) == b""
        monkeypatch.undo()

    def test_only_the_user_may_enter(self, relay: Relay) -> None:
        """The socket is in a folder of its own, closed to others."""
        folder = Path(relay.address).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [entry.name for entry in folder.iterdir()] == ["relay"]


class TestHarm:
    """What one peer can do to others: nothing."""

    @pytest.mark.usefixtures("witness")
    @pytest.mark.parametrize("said", [b"", b"x", b"x" * 64, b"\0" * 10_000])
    def test_garbage_for_a_proof(self, relay: Relay, said: bytes) -> None:
        """Whoever says something else than the proof is hung up on, or left waiting alone."""
        with plain(relay) as line:
            line.sendall(said)
            line.shutdown(socket.SHUT_WR)
            assert hung_up(line)

    def test_silent_peers(self, relay: Relay, witness: socket.socket) -> None:
        """Peers that connect and say nothing, or half a frame, hold nobody up."""
        silent = [plain(relay) for _ in range(20)]
        half = lines.connect(relay.address, relay.key)
        half.sendall(b"\0\0\0\5ab")
        began = time.monotonic()
        assert ask(witness, HELLO) == b"answer to hello"
        assert time.monotonic() - began < 5
        for line in (*silent, half):
            line.close()

    def test_silent_peer_is_hung_up_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A peer gets so long to prove that it has the key, and no longer."""
        monkeypatch.setattr(lines, "PATIENCE", 0.1)
        with Relay(echo, drop) as relay, plain(relay) as line:
            assert hung_up(line)

    @pytest.mark.usefixtures("witness")
    def test_too_long_a_frame(self, relay: Relay) -> None:
        """A frame beyond the limit gets the answer to garbage, and the line is closed."""
        with lines.connect(relay.address, relay.key) as line:
            line.sendall((lines.LIMIT + 1).to_bytes(4, "big"))
            assert lines.read_frame(line) == b"answer to "
            assert hung_up(line)

    @pytest.mark.usefixtures("witness")
    def test_peer_that_takes_no_answer(self, relay: Relay) -> None:
        """A peer that sends and never reads fills its own line only."""
        with lines.connect(relay.address, relay.key) as line:
            line.settimeout(0.2)
            with pytest.raises(TimeoutError):
                while True:
                    line.sendall(framed(b"x" * 100_000))

    @pytest.mark.usefixtures("witness")
    def test_peer_killed_in_the_middle(self, relay: Relay) -> None:
        """A worker that dies in a request, or in a frame, takes nobody along."""
        code = """
import os, signal, sys
from airflow_joblib.taskflow.relay import handshake
from airflow_joblib.taskflow.relay import framing as lines
line = lines.connect(sys.argv[1], bytes.fromhex(sys.stdin.read()))
line.sendall(bytes.fromhex(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""
        for said in (b"", b"\0\0", b"\0\0\0\5ab", framed(HELLO), framed(HELLO) * 3):
            command = [sys.executable, "-c", code, relay.address, said.hex()]
            assert subprocess.run(command, check=False, input=relay.key.hex(), text=True).returncode == -9

    @given(said=st.lists(st.binary(max_size=300), max_size=4), proved=st.booleans())
    @example(said=[b"\xff\xff\xff\xff"], proved=True)
    @example(said=[b"\0\0\0\0" * 50], proved=True)
    def test_any_bytes(self, said: list[bytes], proved: bool) -> None:
        """Whatever bytes come, before or after the proof, an honest peer gets its answer."""
        with _shared().connect(proved) as line:
            try:
                for part in said:
                    line.sendall(part)
            except OSError:
                pass  # hung up on already
        assert ask(_shared().witness, HELLO) == b"answer to hello"


class _Shared:
    """A relay for all examples of a property."""

    def __init__(self) -> None:
        self.relay = Relay(echo, drop).__enter__()
        self.witness = lines.connect(self.relay.address, self.relay.key)

    def connect(self, proved: bool) -> socket.socket:
        return lines.connect(self.relay.address, self.relay.key) if proved else plain(self.relay)


_made: list[_Shared] = []


def _shared() -> _Shared:
    if not _made:
        _made.append(_Shared())
    return _made[0]


@pytest.fixture(autouse=True, scope="module")
def _close_shared() -> Iterator[None]:
    yield
    for shared in _made:
        shared.witness.close()
        shared.relay.__exit__()


class TestReplies:
    """Whose answer is whose."""

    def test_many_lines(self) -> None:
        """A thousand requests over sixteen lines at once: none gets another's answer."""

        def slowly(frame: bytes) -> bytes:
            time.sleep(frame[-1] % 3 / 2000)
            return framed(frame)

        def peer(number: int) -> int:
            with lines.connect(running.address, running.key) as line:
                requests = [f"{number} {n}".encode() for n in range(63)]
                return sum(ask(line, request) == request for request in requests)

        with Relay(slowly, drop) as running, ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(peer, range(16))) == 16 * 63

    def test_a_slow_answer(self) -> None:
        """A request that takes long holds up its own line only."""
        held = threading.Event()

        def answer(frame: bytes) -> bytes:
            assert frame != b"slow" or held.wait(10)
            return framed(frame)

        with Relay(answer, drop) as relay:
            slow, quick = (lines.connect(relay.address, relay.key) for _ in range(2))
            slow.sendall(framed(b"slow"))
            assert ask(quick, b"quick") == b"quick"
            held.set()
            assert lines.read_frame(slow) == b"slow"
            slow.close()
            quick.close()


class TestEnd:
    """What is left when a run has ended."""

    def test_nothing_is_left(self) -> None:
        """Socket, folder, threads and descriptors are gone, and every peer is hung up on."""
        with Relay(echo, drop):  # the first of a process starts joblib's tracker, which stays
            pass
        threads, descriptors = threading.active_count(), open_descriptors()
        with Relay(echo, drop) as relay:
            folder = Path(relay.address).parent
            connected = [lines.connect(relay.address, relay.key), plain(relay)]
            assert ask(connected[0], HELLO)
        assert not folder.exists()
        assert all(map(hung_up, connected))
        for line in connected:
            line.close()
        assert eventually(lambda: threading.active_count() <= threads)
        assert eventually(lambda: open_descriptors() <= descriptors)
        with pytest.raises(FileNotFoundError):
            lines.connect(relay.address, relay.key)

    def test_peer_that_comes_as_it_closes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The thread that was to answer it ends too, however late it started."""
        start, before = threading.Thread.start, threading.active_count()

        def start_late(thread: threading.Thread) -> None:
            time.sleep(0.3)
            start(thread)

        with Relay(echo, drop) as relay:
            monkeypatch.setattr(threading.Thread, "start", start_late)
            line = plain(relay)
            time.sleep(0.1)
        assert threading.active_count() <= before
        assert hung_up(line)
        line.close()

    def test_no_thread_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A peer for whom no thread can be started waits until one can, and is served."""
        start = threading.Thread.start
        failed: list[threading.Thread] = []

        def start_later(thread: threading.Thread) -> None:
            if len(failed) < 3:
                failed.append(thread)
                raise RuntimeError("can't start new thread")
            start(thread)

        with Relay(echo, drop) as relay:
            monkeypatch.setattr(threading.Thread, "start", start_later)
            with lines.connect(relay.address, relay.key) as line:
                assert ask(line, HELLO) == b"answer to hello"
            assert len(failed) == 3

    def test_leaving_with_no_thread_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A peer that still waits for a thread is hung up on at the end."""

        def fail(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with Relay(echo, drop) as relay:
            monkeypatch.setattr(threading.Thread, "start", fail)
            line = plain(relay)
            time.sleep(0.1)
        assert hung_up(line)
        assert not relay.peers
        line.close()

    def test_request_under_way(self) -> None:
        """A request that is being answered is answered before the relay closes."""
        asked, answered = threading.Event(), threading.Event()

        def answer(frame: bytes) -> bytes:
            asked.set()
            time.sleep(0.3)
            answered.set()
            return framed(frame)

        with Relay(answer, drop) as relay:
            line = lines.connect(relay.address, relay.key)
            line.sendall(framed(HELLO))
            assert asked.wait(5)
        assert answered.is_set()
        line.close()

    def test_killed_process(self, tmp_path: Path) -> None:
        """When the task's process is killed, joblib's tracker removes the socket's folder."""
        code = """
import os, signal
from airflow_joblib.taskflow.relay.server import Relay
with Relay(bytes, print) as relay:
    print(relay.address, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, check=False, stderr=subprocess.DEVNULL, text=True
        )
        assert str(tmp_path) in done.stdout
        assert eventually(lambda: not Path(done.stdout.strip()).parent.exists(), 15)

    def test_fork_lets_go(self) -> None:
        """A fork of the task's process keeps no copy of a line: when the task hangs up, the peer sees it."""
        with Relay(echo, drop) as relay:
            line = lines.connect(relay.address, relay.key)
            assert ask(line, HELLO)
            inside, outside = os.pipe()
            with warnings.catch_warnings(action="ignore"):  # that there are threads is what is tested
                child = os.fork()
            if child == 0:
                os.read(inside, 1)
                os._exit(0)
        assert hung_up(line)
        os.write(outside, b"x")
        os.waitpid(child, 0)
        for descriptor in (inside, outside):
            os.close(descriptor)
        line.close()

    def test_long_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the folder for temporary files has too long a path for a socket, another is taken."""
        deep = tmp_path / ("x" * 100)
        deep.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(deep))
        with Relay(echo, drop) as relay, lines.connect(relay.address, relay.key) as line:
            assert ask(line, HELLO) == b"answer to hello"
        assert not list(deep.iterdir())


def test_added_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A request costs less than 2 ms on its way there and back: the median of the quietest of five rounds."""
    with Relay(echo, drop) as relay, lines.connect(relay.address, relay.key) as line:
        rounds = []
        for _ in range(5):
            times = []
            for _ in range(200):
                began = time.perf_counter()
                ask(line, HELLO)
                times.append(time.perf_counter() - began)
            rounds.append(sorted(times)[100])
    with capsys.disabled():
        print(f"\nthere and back over the relay's line: {min(rounds) * 1e6:.0f} µs")
    assert min(rounds) < 2e-3
