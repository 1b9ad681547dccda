"""A function runs in a process of its own for each key, whatever it does to that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_joblib.cli.processes import each_in_a_process
from tests.unit.helpers import eventually


def act(key: str) -> Any:
    """Do what the key says."""
    match key.split(":"):
        case ["exit", code]:
            print("the last words")
            sys.stdout.flush()
            os._exit(int(code))
        case ["raise", _]:
            raise SystemExit(3)
        case ["kill", _]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["hang", path]:
            started = subprocess.Popen(["sleep", "300"])
            Path(path).write_text(str(started.pid))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(300)
        case ["parent", name]:
            os.kill(os.getppid(), signal.Signals[name])
            time.sleep(300)
        case ["group", name]:
            os.killpg(0, signal.Signals[name])
            time.sleep(300)
        case ["daemon", path, *hang]:
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    Path(path).write_text(str(os.getpid()))
                    time.sleep(300)
                os._exit(0)
            eventually(lambda: Path(path).exists() and Path(path).read_text())
            time.sleep(300 if hang else 0)
        case ["fork", _]:
            if os.fork() == 0:
                return {"key": "the copy"}
            os.wait()
        case ["replace", _]:
            os._exit = os.getpid = None  # type: ignore[assignment]
        case ["closed", _]:
            os.closerange(3, 1000)
        case ["print", _]:
            os.write(1, b"x" * 200_000)
            print("more", sys.stdin.read())
    return {"key": key, "pid": os.getpid()}


def outcomes(*keys: str, seconds: float = 60.0) -> dict[str, Any]:
    return dict(each_in_a_process(act, keys, 2, seconds))


def test_answers() -> None:
    """Each key is answered by another process than this one."""
    found = outcomes("a", "b", "c")
    assert [found[key].answer["key"] for key in "abc"] == ["a", "b", "c"]
    assert len({outcome.answer["pid"] for outcome in found.values()} | {os.getpid()}) == 4
    assert not any(outcome.trouble for outcome in found.values())


@pytest.mark.parametrize(
    ("key", "trouble"),
    [
        ("exit:0", "its process ends with exit code 0, after 'the last words'"),
        ("exit:7", "its process ends with exit code 7, after 'the last words'"),
        ("raise:", "its process ends with exit code 1, after 'SystemExit: 3'"),
        ("replace:", "its process ends with exit code 1, after \"TypeError: 'NoneType' object is not callable\""),
        ("kill:", "its process ends by signal SIGKILL"),
    ],
)
def test_ends_without_an_answer(key: str, trouble: str) -> None:
    """A process that ends instead says how, and the others are answered."""
    found = outcomes(key, "other")
    assert found[key].answer is None
    assert found[key].trouble == trouble
    assert found["other"].answer["key"] == "other"


def test_prints(capfd: pytest.CaptureFixture[str]) -> None:
    """What is printed is no trouble, and not seen; nothing can be read."""
    assert outcomes("print:")["print:"].answer["key"] == "print:"
    assert capfd.readouterr() == ("", "")


def test_hangs(tmp_path: Path) -> None:
    """What hangs is killed with what it has started, and the others are answered."""
    key = f"hang:{tmp_path / 'pid'}"
    found = outcomes(key, "other", seconds=1.0)
    assert found[key].trouble == "it takes longer than 1 s"
    assert found["other"].answer["key"] == "other"
    assert eventually(lambda: not psutil.pid_exists(int((tmp_path / "pid").read_text())))


def test_daemon(tmp_path: Path) -> None:
    """A daemon of a session of its own, whose parent has ended, is killed too."""
    key = f"daemon:{tmp_path / 'pid'}"
    assert outcomes(key)[key].answer["key"] == key
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(("key", "signal_"), [("parent:SIGKILL", "SIGKILL"), ("group:SIGKILL", "SIGKILL")])
def test_kills_its_parent(key: str, signal_: str) -> None:
    """What kills its parent, or its whole process group, ends itself; the check goes on."""
    found = outcomes(key, "other")
    assert found[key].trouble == f"its process ends by signal {signal_}"
    assert found["other"].answer["key"] == "other"
    assert not psutil.Process().children(recursive=True)


def test_forks_itself() -> None:
    """Of a function that forks, the process answers that was started for it, not the copy."""
    assert outcomes("fork:")["fork:"].answer["key"] == "fork:"


def test_closes_all_files() -> None:
    """What closes files that are not its own can't answer, and ends."""
    assert outcomes("closed:")["closed:"].trouble.startswith("its process ends with exit code 1")


def test_check_is_killed(tmp_path: Path) -> None:
    """When the check itself is killed, what it has started ends: a daemon of a file too."""
    check = os.fork()
    if check == 0:
        try:
            outcomes(f"daemon:{tmp_path / 'daemon'}:hang", f"hang:{tmp_path / 'hanging'}")
        finally:
            os._exit(0)
    files = [tmp_path / "daemon", tmp_path / "hanging"]
    assert eventually(lambda: all(file.exists() and file.read_text() for file in files))
    os.kill(check, signal.SIGKILL)
    os.waitpid(check, 0)
    assert eventually(lambda: not any(psutil.pid_exists(int(file.read_text())) for file in files))


def test_left_early(tmp_path: Path) -> None:
    """Who stops asking leaves no process behind."""
    asked = each_in_a_process(act, ["a", f"hang:{tmp_path / 'pid'}"], 2, 60.0)
    next(asked)
    assert eventually((tmp_path / "pid").exists)
    asked.close()  # type: ignore[attr-defined]
    assert not psutil.Process().children(recursive=True)
