"""The thread of a worker of a cluster that runs its items."""

from __future__ import annotations

import subprocess
import sys
import threading

from airflow_joblib.system.daemon_thread import OwnThread

BUSY = """
import threading, time
from airflow_joblib.system.daemon_thread import OwnThread

began = threading.Event()
thread = OwnThread("items", lambda: None, KeyError)
thread.submit(lambda: (began.set(), time.sleep(600)))
began.wait()
print("began", flush=True)
"""


class OverError(BaseException):
    pass


def test_process_may_end() -> None:
    """An item that goes on doesn't keep its worker's process from ending."""
    done = subprocess.run([sys.executable, "-c", BUSY], check=True, capture_output=True, timeout=200)
    assert done.stdout == b"began\n"


def test_results_errors_and_interruptions() -> None:
    """Whoever waits gets the result or the error; the thread goes on after both, and runs all by itself."""
    thread = OwnThread("items", lambda: None, OverError)

    def fail() -> None:
        raise OverError("an item's")

    assert thread.submit(lambda: 1).result(5) == 1
    assert isinstance(thread.submit(fail).exception(5), OverError)
    assert thread.submit(threading.get_ident).result(5) == thread.submit(threading.get_ident).result(5)
    thread.end()


def test_nobody_waits_after_the_end() -> None:
    """What comes after the end is answered: nobody would do it."""
    thread = OwnThread("items", lambda: None, OverError)
    last = thread.submit(lambda: 1)
    thread.end()
    assert isinstance(thread.submit(lambda: 2).exception(5), OverError)
    assert last.result(5) == 1
