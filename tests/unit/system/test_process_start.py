"""What a process is like while it starts others."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from typing import TYPE_CHECKING

from airflow_joblib.system.process_start import hidden_main, not_daemonic

if TYPE_CHECKING:
    import pytest


def test_two_threads_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one thread has hidden stays so while another needs it, and is as before when the last is done."""
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    monkeypatch.setitem(config, "daemon", True)
    main = sys.modules["__main__"]
    entered, go = threading.Event(), threading.Event()

    def other() -> None:
        with hidden_main(), not_daemonic():
            entered.set()
            go.wait(60)

    thread = threading.Thread(target=other)
    with hidden_main(), not_daemonic():
        thread.start()
        assert entered.wait(60)
    assert sys.modules["__main__"] is not main
    assert not config["daemon"]
    go.set()
    thread.join(60)
    assert sys.modules["__main__"] is main
    assert config["daemon"]
