"""What a worker sends of its log: the channel, the conversion to plain data, and the worker's set-up. No Airflow."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import parallel_task
from airflow_joblib.fan_out.host import Host
from airflow_joblib.taskflow import surroundings
from airflow_joblib.taskflow.logs import records
from airflow_joblib.taskflow.logs.levels import Levels
from airflow_joblib.taskflow.logs.sender import Sender
from airflow_joblib.taskflow.logs.worker import Logs
from airflow_joblib.taskflow.relay import framing
from airflow_joblib.taskflow.relay.server import Relay
from tests.unit.helpers import PROCESSES, PROCESSES_BY_DAY, eventually, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

processes = pytest.mark.parametrize("backend", PROCESSES)
processes_by_day = pytest.mark.parametrize("backend", PROCESSES_BY_DAY)


class Lines:
    """Keeps what a relay hands over."""

    def __init__(self, *, delay: float = 0) -> None:
        self.delay = delay
        self.taken: list[tuple[int, bytes | None]] = []

    def __call__(self, number: int, line: bytes | None) -> None:
        time.sleep(self.delay)
        self.taken.append((number, line))

    @property
    def lines(self) -> list[bytes]:
        return [line for _, line in self.taken if line is not None]

    @property
    def data(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@contextmanager
def connected(relay: Relay) -> Iterator[Sender]:
    sender = Sender(relay.address, relay.key)
    assert sender.connect()
    yield sender
    if sender._socket is not None:
        sender._socket.close()


#: What a worker's code has of the package.
IMPORTS = """
from airflow_joblib.taskflow.logs.levels import Levels
from airflow_joblib.taskflow.logs.worker import Logs
"""


def in_worker(code: str, levels: Levels | None = None, *, check: bool = True) -> tuple[Lines, Any]:
    """Run *code* in a fresh process that sends its log here, with pid 0 for the task's."""
    lines = Lines()
    with Relay(bytes, lines) as relay:
        logs = Logs(relay.address, relay.key, 0, levels or Levels())
        start = f"{IMPORTS}logs = {logs!r}\nlogs()\n"
        done = run_python(start + code, check=check)
    return lines, done


class TestChannel:
    def test_lines_arrive_in_order(self) -> None:
        """Lines of several threads of several workers arrive once, each thread's in order."""
        lines = Lines()
        with Relay(bytes, lines) as relay, connected(relay) as first, connected(relay) as second:

            def send(sender: Sender, name: str) -> None:
                for number in range(500):
                    assert sender.send(f"{name} {number}\n".encode())

            threads = [
                threading.Thread(target=send, args=(sender, f"{name}{index}"))
                for name, sender in (("a", first), ("b", second))
                for index in range(3)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(lines.lines) == 3000
        for name in ("a0", "a1", "a2", "b0", "b1", "b2"):
            own = [line.decode() for line in lines.lines if line.startswith(name.encode())]
            assert own == [f"{name} {number}" for number in range(500)]

    def test_everything_sent_is_taken_before_the_end(self) -> None:
        """Leaving waits for what is on its way, however slow it is taken."""
        lines = Lines(delay=0.001)
        with Relay(bytes, lines) as relay, connected(relay) as sender:
            for number in range(300):
                sender.send(b"%d\n" % number)
        assert lines.lines == [b"%d" % number for number in range(300)]
        assert lines.taken[-1][1] is None

    def test_a_killed_worker_loses_nothing_it_sent(self) -> None:
        """What a worker sent before SIGKILL arrives."""
        lines, _ = in_worker(
            "import os, signal\nfor number in range(1000): print('line', number)\nos.kill(os.getpid(), signal.SIGKILL)",
            check=False,
        )
        assert [entry["message"].strip() for entry in lines.data] == [f"line {number}" for number in range(1000)]

    def test_a_worker_waits_for_a_slow_task(self) -> None:
        """A flood fills the kernel's buffer and no more: memory does not grow, and nothing is lost."""
        line = b"x" * 10_000 + b"\n"
        lengths: list[int] = []

        def take(_: int, got: bytes | None) -> None:
            time.sleep(0.0005)
            lengths.append(len(got or b""))

        before = psutil.Process().memory_info().rss
        with Relay(bytes, take) as relay, connected(relay) as sender:
            for _ in range(2000):
                sender.send(line)
            behind = 2000 - len(lengths)
            assert psutil.Process().memory_info().rss - before < 20 << 20
        assert behind < 200
        assert lengths.count(10_000) == 2000

    def test_folder_is_private_and_goes(self) -> None:
        """Only this user reaches the socket, and nothing stays."""
        with Relay(bytes, Lines()) as relay:
            folder = Path(relay.address).parent
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not folder.exists()

    def test_long_temporary_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path that is too long for a socket is not used."""
        long = tmp_path / ("long" * 20)
        long.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(long))
        with Relay(bytes, Lines()) as relay, connected(relay):
            assert not relay.address.startswith(str(long))

    def test_without_the_key_nobody_is_heard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither a worker with another key nor garbage gets a line through; a worker's arrive all the same."""
        monkeypatch.setattr(framing, "PATIENCE", 2)
        lines = Lines()
        with Relay(bytes, lines) as relay, connected(relay) as sender:
            assert not Sender(relay.address, b"another").connect()
            with raw(relay) as garbage:
                garbage.sendall(b'{"kind": "stream"}\n' * 100)
                assert eventually(lambda: not garbage_alive(garbage))
            with raw(relay) as idle:
                assert eventually(lambda: not garbage_alive(idle))
            assert sender.send(b"right\n")
        assert lines.lines == [b"right"]

    def test_other_users_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever is of another user is dropped, key or not."""
        with Relay(bytes, Lines()) as relay:
            user = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: user + 1)
            assert not Sender(relay.address, relay.key).connect()

    def test_a_false_task_is_refused(self, tmp_path: Path) -> None:
        """A worker sends nothing to one who doesn't know the key."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            sender = Sender(str(tmp_path / "s"), b"key")
            thread = threading.Thread(target=sender.connect)
            thread.start()
            channel, _ = listener.accept()
            with channel:
                channel.sendall(b"x" * 64)
                thread.join()
        assert not sender.send(b"secret\n")

    def test_a_line_without_end_is_cut_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who sends more than a line may have is dropped."""
        monkeypatch.setattr(framing, "LONGEST", 1 << 20)
        lines = Lines()
        with Relay(bytes, lines) as relay, connected(relay) as endless, connected(relay) as other:
            assert eventually(lambda: not endless.send(b"x" * 100_000))
            assert other.send(b"right\n")
        assert lines.lines == [b"right"]

    def test_leaving_while_the_thread_is_awake(self) -> None:
        """A relay that has just seen a worker go can be left at once."""
        for _ in range(100):
            with Relay(bytes, Lines()) as relay, connected(relay):
                pass
            assert not relay.peers

    def test_leaving_while_somebody_logs_nothing(self) -> None:
        """Who keeps a line open, and is no worker of the run, keeps nobody from leaving; what it has sent is taken."""
        lines = Lines()
        with Relay(bytes, lines) as relay:
            senders = [Sender(relay.address, relay.key) for _ in range(3)]
            assert all(sender.send(b"one\n") for sender in senders)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert lines.lines == [b"one"] * 3
        assert sorted(number for number, line in lines.taken if line is None) == sorted({n for n, _ in lines.taken})
        for sender in senders:
            assert eventually(lambda sender=sender: not sender.send(b"late\n"))  # type: ignore[misc]

    def test_requests_beside_a_log(self) -> None:
        """While a line of a log is being taken, requests over the same socket are answered."""
        held, taken = threading.Event(), threading.Event()

        def take(_number: int, _line: bytes | None) -> None:
            taken.set()
            assert held.wait(30)

        with Relay(lambda frame: framing.HEADER * b"\0" + frame, take) as relay, connected(relay) as sender:
            assert sender.send(b"one\n")
            assert taken.wait(30)
            with framing.connect(relay.address, relay.key) as line:
                line.sendall(b"\0\0\0\1x")
                assert framing.read_frame(line) == b""
            held.set()

    def test_neither_requests_nor_a_log(self) -> None:
        """Who has the key and means neither is hung up on."""
        lines = Lines()
        with Relay(bytes, lines) as relay, framing.connect(relay.address, relay.key, b"?{}\n") as line:
            line.settimeout(30)
            assert not garbage_alive(line)
        assert not lines.taken

    def test_sending_to_a_closed_relay(self) -> None:
        """It is told, and raises nothing."""
        with Relay(bytes, Lines()) as relay:
            sender = Sender(relay.address, relay.key)
            assert sender.connect()
        assert eventually(lambda: not sender.send(b"late\n"))
        assert not Sender(relay.address, relay.key).send(b"later\n")

    def test_interrupted_line(self) -> None:
        """A signal's handler that raises in the midst of a line costs that line only."""
        lines = Lines()
        held = threading.Event()

        def take(number: int, line: bytes | None) -> None:
            held.wait(30)
            lines(number, line and line[:20])

        def interrupt(*_: object) -> None:
            raise InterruptedHereError

        class InterruptedHereError(BaseException):
            pass

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            with Relay(bytes, take) as relay, connected(relay) as sender:
                sender.send(b"first\n")
                signal.setitimer(signal.ITIMER_REAL, 1)
                with pytest.raises(InterruptedHereError):
                    sender.send(b"t" * 5_000_000 + b"\n")
                held.set()
                assert sender.send(b"last\n")
        finally:
            signal.signal(signal.SIGALRM, before)
        assert lines.lines == [b"first", b"t" * 20, b"last"]

    def test_a_forked_process_of_an_item_has_a_line_of_its_own(self) -> None:
        """What a process forked by an item prints doesn't mix with what its parent does."""
        code = (
            "import os\n"
            "child = os.fork()\n"
            "for number in range(2000): print('child' if child == 0 else 'parent', number, 'x' * 200)\n"
            "os._exit(0) if child == 0 else os.waitpid(child, 0)\n"
        )
        lines, _ = in_worker(code)
        for name in ("child", "parent"):
            own = [entry["message"].split()[1] for entry in lines.data if entry["message"].startswith(name)]
            assert own == [str(number) for number in range(2000)]
        assert len({number for number, _ in lines.taken}) == 2

    def test_workers_hold_no_line_of_others_open(self) -> None:
        """A forked worker closes what it inherits of the task's end."""
        with Relay(bytes, Lines()) as relay, connected(relay):
            inherited = [relay._listener.fileno(), *(peer.line.fileno() for peer in relay.peers)]
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(writing, json.dumps([is_open(number) for number in inherited]).encode())
                os._exit(0)
            os.waitpid(child, 0)
            assert json.loads(os.read(reading, 1000)) == [False, False]
            assert all(map(is_open, inherited))


@contextmanager
def raw(relay: Relay) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(60)
        channel.connect(relay.address)
        assert len(channel.recv(32)) == 32
        yield channel


def garbage_alive(channel: socket.socket) -> bool:
    try:
        return bool(channel.recv(1))
    except ConnectionResetError:
        return False


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class TestConversion:
    def test_what_json_has_no_word_for(self) -> None:
        """Becomes text, whatever it is; the rest stays."""

        class Broken:
            def __str__(self) -> str:
                raise ValueError

        loop: list[Any] = []
        loop.append(loop)
        fields = {"number": 1, "path": Path("a"), "broken": Broken()}
        assert json.loads(records.encode({"fields": fields}))["fields"] == {
            "number": 1,
            "path": "a",
            "broken": f"<{Broken.__qualname__}>",
        }
        assert json.loads(records.encode({"fields": {"loop": loop, "keys": {(1, 2): 3}}}))["fields"] == {
            "loop": "[[...]]",
            "keys": "{(1, 2): 3}",
        }

    def test_one_line_whatever_the_text(self) -> None:
        """Line ends and characters that are none are escaped."""
        line = records.encode({"message": "a\nb\r\u2028c\ud800"})
        assert line.count(b"\n") == 1
        assert json.loads(line)["message"] == "a\nb\r\u2028c\ud800"

    def test_too_long_a_message_is_cut(self) -> None:
        """It says so, and how long it was."""
        line = records.encode({"message": "x" * (framing.LONGEST + 10), "fields": {"a": 1}})
        assert len(line) < framing.LONGEST
        assert json.loads(line)["message"].endswith("... (16,777,226 characters in all)")

    def test_exceptions_are_described_as_structlog_does(self) -> None:
        """Causes, contexts, notes, groups and syntax errors give what Airflow's logs have for the task's own."""
        structlog = pytest.importorskip("structlog")
        for raising in (raise_chain, raise_group, raise_syntax_error, raise_deep):
            try:
                raising()
            except Exception as error:
                told = structlog.tracebacks.ExceptionDictTransformer(use_rich=False, show_locals=False)(
                    (type(error), error, error.__traceback__)
                )
                assert records.error_of(error)["error"] == told

    def test_exception_texts(self) -> None:
        """An exception is taken from each form that loggers accept."""
        try:
            raise_chain()
        except ValueError as error:
            for given in (error, sys.exc_info(), True):
                text = records.error_of(given)["error_text"]
                assert text.endswith("ValueError: second\na note")
            assert records.error_of(None) == records.error_of(False) == {}
        assert records.error_of(True) == {}

    def test_fields_of_a_record(self) -> None:
        """Only what the call gave as extra."""
        record = logging.getLogger("a").makeRecord("a", 20, "f.py", 7, "m", (), None, extra={"shop": "north"})
        assert records.own_fields(record) == {"shop": "north"}
        place = records.place_of(record)
        assert (place["filename"], place["lineno"], place["process"]) == ("f.py", 7, os.getpid())

    def test_levels_of_namespaces(self) -> None:
        """The nearest namespace counts."""
        levels = Levels(structlog=(("", 20), ("a", 10), ("a.b.c", 40)))
        names = ("", "a", "a.b", "a.b.c", "a.b.c.d", "ab", "b")
        assert [levels.of_structlog(name) for name in names] == [20, 10, 10, 40, 40, 20, 20]


def raise_chain() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise TypeError("between") from error
    except TypeError:
        second = ValueError("second")
        second.add_note("a note")
        raise second  # noqa: B904 - its context is what is looked at


def raise_group() -> None:
    raise ExceptionGroup("several", [ValueError(1), OSError(2)])


def raise_syntax_error() -> None:
    compile("a b", "file.py", "exec")


def raise_deep(depth: int = 80) -> None:
    if depth:
        raise_deep(depth - 1)
    raise ValueError


class TestWorker:
    def test_all_ways(self) -> None:
        """Logging, print and warnings are sent in the order they were said, with level, logger and place."""
        code = (
            "import logging, sys, warnings\n"
            "logging.getLogger('shop').warning('%d of %s', 1, 'two', extra={'shop': 'north'})\n"
            "print('printed'); print('complained', file=sys.stderr)\n"
            "warnings.warn('beware')\n"
            "try: 1 / 0\n"
            "except ZeroDivisionError: logging.getLogger('shop').exception('caught', stack_info=True)\n"
        )
        lines, done = in_worker(code)
        record, printed, complained, warned, caught = lines.data
        assert (record["kind"], record["logger"], record["level"]) == ("logging", "shop", 30)
        assert (record["message"], record["fields"]) == ("1 of two", {"shop": "north"})
        assert (record["place"]["filename"], record["place"]["lineno"]) == ("<string>", 7)
        assert (printed["logger"], printed["message"]) == ("task.stdout", "printed\n")
        assert (complained["logger"], complained["message"]) == ("task.stderr", "complained\n")
        assert (warned["message"], warned["fields"]["category"]) == ("beware", "UserWarning")
        assert caught["error"][0]["exc_type"] == "ZeroDivisionError"
        assert caught["stack"].startswith("Stack (most recent call last)")
        assert done.stdout == done.stderr == ""

    def test_imports_neither_airflow_nor_structlog(self) -> None:
        """A worker that logs imports neither."""
        code = "import logging, sys; logging.getLogger().error('x'); print({'airflow', 'structlog'} & {*sys.modules})"
        lines, _ = in_worker(code)
        assert lines.data[-1]["message"] == "set()\n"

    def test_levels(self) -> None:
        """Loggers take what the task's do."""
        levels = Levels(
            loggers=(("", 30), ("a", 10), ("a.b", 40)), disabled=("off",), floor=15, structlog=(("", 30), ("a", 10))
        )
        code = (
            "import logging\n"
            "for name in ('', 'a', 'a.b', 'off'):\n"
            "    for level in (10, 20, 30, 40): logging.getLogger(name).log(level, '%s %d', name, level)\n"
            "import structlog\n"
            "for name in ('other', 'a.x'):\n"
            "    for level in ('debug', 'info', 'warning'): getattr(structlog.get_logger(name), level)(name + level)\n"
        )
        lines, _ = in_worker(code, levels)
        said = [entry["message"] for entry in lines.data]
        stdlib = [" 30", " 40", "a 20", "a 30", "a 40", "a.b 40"]
        assert said == [*stdlib, "otherwarning", "a.xdebug", "a.xinfo", "a.xwarning"]

    def test_structlog(self) -> None:
        """Its events are sent with their fields, those bound to the context too, and the place of the call."""
        code = (
            "import structlog\n"
            "structlog.contextvars.bind_contextvars(bound=1)\n"
            "log = structlog.get_logger('shop').bind(own={'a': [1]})\n"
            "log.info('100%% %s', 'right')\n"
            "try: 1 / 0\n"
            "except ZeroDivisionError: log.exception('caught')\n"
        )
        lines, done = in_worker(code)
        event, caught = lines.data
        assert (event["kind"], event["logger"], event["level"]) == ("structlog", "shop", 20)
        assert event["message"] == "100% right"
        assert event["fields"] == {"bound": 1, "own": {"a": [1]}}
        assert event["place"]["lineno"] == 9
        assert (caught["level"], caught["error"][0]["exc_type"]) == (40, "ZeroDivisionError")
        assert done.stdout == ""

    def test_structlog_of_the_users_own(self) -> None:
        """What a user sets up stands, as it would in the task; what it prints is sent."""
        code = "import structlog\nstructlog.configure(processors=[structlog.processors.JSONRenderer()])\n"
        lines, _ = in_worker(code + "structlog.get_logger().info('own')")
        assert [entry["message"] for entry in lines.data] == ['{"event": "own"}\n']

    def test_binary_and_unfinished_output(self) -> None:
        """What is written as bytes, and what has no line's end, is sent as well."""
        code = "import sys\nsys.stdout.buffer.write('gr\u00fcn'.encode()); print(sys.stdout.fileno())\n"
        lines, _ = in_worker(code)
        assert "".join(entry["message"] for entry in lines.data) == "gr\u00fcn1\n"

    def test_when_the_task_is_gone(self) -> None:
        """Everything goes to the standard streams, and nothing raises."""
        code = (
            "import logging, os, sys, time, warnings\n"
            "import airflow_joblib.taskflow.logs.worker_channel as here\n"
            "here._sender._socket.shutdown(2)\n"
            "import structlog\n"
            "print('printed'); logging.getLogger('shop').warning('warned'); warnings.warn('beware')\n"
            "structlog.get_logger('shop').error('structured', a=1)\n"
            "here.mask_secret('secret')\n"
        )
        _, done = in_worker(code)
        assert done.stdout == "printed\n"
        assert all(
            text in done.stderr for text in ("WARNING shop: warned", "UserWarning: beware", "ERROR shop: structured")
        )

    def test_without_a_task_nothing_is_changed(self) -> None:
        """A worker that can't connect keeps its streams and handlers."""
        logs = Logs("/nowhere/s", b"key", 0, Levels())
        code = f"{IMPORTS}import sys\nbefore = sys.stdout\n{logs!r}()\n"
        assert run_python(code + "print(sys.stdout is before)").stdout == "True\n"

    def test_the_task_itself_is_no_worker(self) -> None:
        """Where a backend runs items in the task's process, that process's logging stays."""
        before = sys.stdout, list(logging.root.handlers)
        with Relay(bytes, Lines()) as relay:
            Logs(relay.address, relay.key, os.getpid(), Levels())()
        assert before == (sys.stdout, logging.root.handlers)

    def test_secrets_are_told_once(self) -> None:
        """A secret is sent before what follows it, and once."""
        code = (
            "from airflow_joblib.taskflow.logs.worker_channel import mask_secret\n"
            "mask_secret('s3cret'); print('s3cret'); mask_secret('s3cret'); mask_secret('other', 'password')\n"
        )
        lines, _ = in_worker(code)
        assert [entry.get("secret") for entry in lines.data] == ["s3cret", None, "other"]
        assert lines.data[2]["name"] == "password"

    def test_forked_worker(self) -> None:
        """A forked worker sends nothing to the handlers it inherits, whose locks another thread may hold."""
        code = (
            "import logging, os, sys, threading, structlog\n"
            f"{IMPORTS}"
            "handler = logging.StreamHandler(sys.stderr); logging.getLogger('shop').addHandler(handler)\n"
            "logging.getLogger('shop').propagate = False\n"
            "structlog.configure(cache_logger_on_first_use=True); log = structlog.get_logger(); log.info('before')\n"
            "held = threading.Event()\n"
            "def hold():\n"
            "    with handler.lock: held.set(); threading.Event().wait(30)\n"
            "threading.Thread(target=hold, daemon=True).start(); held.wait()\n"
            "if (child := os.fork()) == 0:\n"
            "    {logs}()\n"
            "    logging.getLogger('shop').error('stdlib'); log.info('cached'); print('printed')\n"
            "    sys.stdout.flush(); os._exit(0)\n"
            "os._exit(os.waitpid(child, 0)[1])\n"
        )
        lines = Lines()
        with Relay(bytes, lines) as relay:
            logs = Logs(relay.address, relay.key, 0, Levels())
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", code.replace("{logs}", repr(logs))],
                check=True, capture_output=True, text=True, timeout=200,
            )  # fmt: skip
        assert [entry["message"].strip() for entry in lines.data] == ["stdlib", "cached", "printed"]
        assert "cached" not in done.stdout + done.stderr
        assert done.stderr == ""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Take what the workers of this test's runs send."""
    taken = Lines()

    class Serving(Host):
        @contextmanager
        def services(self) -> Iterator[Logs]:
            with Relay(bytes, taken) as relay:
                yield Logs(relay.address, relay.key, os.getpid(), Levels())

    monkeypatch.setattr(surroundings, "host", Serving)
    return taken


class TestRun:
    @processes
    def test_items_are_named(self, lines: Lines, backend: str) -> None:
        """Each line has the index of its item, and is there when the run's result is."""

        def speak(number: int) -> None:
            print("printed", number)
            logging.getLogger("shop").info("logged %d", number)

        parallel_task(n_jobs=2, backend=backend)(speak)(range(100))
        for item in range(100):
            own = [entry["message"] for entry in lines.data if entry.get("item") == item]
            assert own == [f"printed {item}\n", f"logged {item}"]

    @processes_by_day
    def test_a_failure_in_a_flood(self, lines: Lines, backend: str) -> None:
        """The run ends soon, and what was said until then is whole, in order and without a gap."""
        lines.delay = 0.0002

        def flood(number: int) -> None:
            log = logging.getLogger("shop")
            if number:
                time.sleep(1)
                raise KeyError(number)
            for line in range(10_000_000):
                log.info("%d", line)

        began = time.monotonic()
        with pytest.raises(KeyError):
            parallel_task(n_jobs=2, batch_size=1, backend=backend)(flood)([0, 1])
        assert time.monotonic() - began < 100  # all of it would take an hour
        whole = [json.loads(line)["message"] for line in lines.lines if line.endswith(b"}")]
        assert len(whole) >= len(lines.lines) - 1
        assert whole == [str(line) for line in range(len(whole))]
        assert len(whole) > 100

    @processes_by_day
    def test_a_killed_worker(self, lines: Lines, backend: str) -> None:
        """What it said before it was killed is there."""

        def die(number: int) -> None:
            print("last words", number)
            os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(Exception, match="ended its worker process for the second time"):
            parallel_task(n_jobs=2, batch_size=1, backend=backend)(die)([0, 1])
        assert {entry["message"] for entry in lines.data} & {"last words 0\n", "last words 1\n"}

    @pytest.mark.slow
    @processes
    def test_a_task_that_is_killed(self, backend: str, tmp_path: Path) -> None:
        """A worker that waits for its task to read goes with the task."""
        note = tmp_path / "note"
        code = (
            "import os, signal, sys, time\nTASK = os.getpid()\n"
            "from contextlib import contextmanager\n"
            "from airflow_joblib import parallel_task\n"
            "from airflow_joblib.taskflow import surroundings\n"
            "from airflow_joblib.fan_out.host import Host\n"
            "from airflow_joblib.taskflow.relay.server import Relay\n"
            f"{IMPORTS}"
            "class Serving(Host):\n"
            "    @contextmanager\n"
            "    def services(self):\n"
            "        with Relay(bytes, lambda number, line: time.sleep(0.002)) as relay:\n"
            "            yield Logs(relay.address, relay.key, os.getpid(), Levels())\n"
            "surroundings.host = Serving\n"
            f"NOTE = {str(note)!r}\n"
            "def flood(number):\n"
            "    while number and not os.path.exists(NOTE): time.sleep(0.05)\n"
            "    if number: time.sleep(1); os.kill(TASK, signal.SIGKILL); time.sleep(60)\n"
            "    with open(NOTE + '.new', 'w') as file: file.write(str(os.getpid()))\n"
            "    os.rename(NOTE + '.new', NOTE)\n"
            "    for _ in range(20_000): print('x' * 100)\n"
            f"parallel_task(n_jobs=2, batch_size=1, backend={backend!r})(flood)([0, 1])\n"
        )
        with tempfile.TemporaryDirectory(prefix="a", dir="/tmp") as folder:  # whose path is short
            environment = {**os.environ, "TMPDIR": folder}
            command = [sys.executable, "-c", code]
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL, timeout=200, env=environment)
            waiting = int(note.read_text())
            assert eventually(lambda: not psutil.pid_exists(waiting))
