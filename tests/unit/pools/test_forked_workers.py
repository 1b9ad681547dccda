"""Workers that are forked from a template: what they have, how they end, and when there are others instead."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ParallelTaskError, WorkerLostError, parallel_task
from airflow_joblib.pools import fork_safety
from airflow_joblib.pools.template import Template
from airflow_joblib.system import clock
from tests.unit.helpers import eventually, note, notes, run_python, task, worker_processes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are for Linux")


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of the test runner are no reason against a fork."""
    monkeypatch.setattr(fork_safety, "_unsafe_threads", list)


@pytest.mark.usefixtures("forks")
class TestState:
    """What a worker has."""

    def test_shared_arguments_are_inherited(self) -> None:
        """Shared arguments are there as they are in the task, and no copy of them."""
        shared = [object()]
        identity = id(shared[0])

        def same(item: Any, shared: Any) -> bool:
            return id(shared[0]) == identity

        assert task(same, backend="auto")([1, 2, 3], shared=shared) == [True] * 3

    def test_names_that_are_set_in_a_worker(self) -> None:
        """What an item binds to a global name is sent by value: the task has something else under that name."""
        code = """
from collections import namedtuple
from airflow_joblib import parallel_task
Late, LateError, helper = None, None, None
def late(n):
    global Late, LateError, helper
    if Late is None:
        Late = namedtuple("Late", "a")
        def helper(n): return -n
        class LateError(Exception): pass
        LateError.__qualname__, helper.__qualname__ = "LateError", "helper"
    if n == 3:
        raise LateError("own")
    return Late(n), helper
if __name__ == "__main__":
    print([(made.a, f(made.a)) for made, f in parallel_task(n_jobs=2)(late).map([1, 2])])
    try:
        parallel_task(n_jobs=2)(late).map([1, 2, 3])
    except Exception as error:
        print(type(error).__name__, error)
"""
        assert run_python(code).stdout.splitlines() == ["[(1, -1), (2, -2)]", "LateError own"]

    def test_items_are_inherited(self) -> None:
        """So are items that are known before the fork."""
        items = [[n] for n in range(9)]
        identities = [id(item) for item in items]
        assert task(lambda item: id(item) == identities[item[0]], backend="auto")(items) == [True] * 9

    def test_what_the_caller_has_set(self) -> None:
        """A global set just before the call is what a worker sees, and what it sets stays there."""
        code = """
from airflow_joblib import parallel_task
STATE = "before"
def look(n):
    global STATE
    was, STATE = STATE, "in the worker"
    return was
STATE = "set late"
print(parallel_task(n_jobs=2, backend="auto", batch_size=1)(look).map([1, 2])[0], "|", STATE)
"""
        assert run_python(code).stdout == "set late | set late\n"

    def test_sockets_are_the_tasks(self) -> None:
        """A socket of the task is none in a worker, which can't disturb what the task talks over it."""
        ours, theirs = socket.socketpair()
        number = ours.fileno()

        def use(item: int) -> str:
            try:
                socket.socket(fileno=os.dup(number)).send(b"x")
            except OSError as error:
                return type(error).__name__
            return "sent"

        with ours, theirs:
            assert task(use, backend="auto")([1, 2]) == ["OSError"] * 2
            theirs.setblocking(False)
            with pytest.raises(BlockingIOError):
                theirs.recv(1)

    def test_signal_handlers_are_not_inherited(self) -> None:
        """A handler of SIGSEGV in Python would spin for ever in a worker that crashes: there it is the default."""
        before = signal.signal(signal.SIGSEGV, lambda *_: None)
        try:
            with pytest.raises(WorkerLostError, match="SIGSEGV"):
                task(lambda item: os.kill(os.getpid(), signal.SIGSEGV), backend="auto")([1, 2])
        finally:
            signal.signal(signal.SIGSEGV, before)

    def test_random_numbers_differ(self) -> None:
        """NumPy's global generator gives every worker numbers of its own."""
        np = pytest.importorskip("numpy")
        np.random.random()
        drawn = task(lambda item: float(np.random.random()), backend="auto", batch_size=1)(range(40))
        assert len(set(drawn)) == 40

    def test_first_worker_does_not_wait_for_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its item runs before the next worker is forked."""
        path, fork = tmp_path / "began", Template.fork
        forked: list[tuple[int, int]] = []

        def fork_once_it_runs(self: Template, descriptors: Any) -> Any:
            if forked:
                eventually(path.exists)
            forked.append(fork(self, descriptors))
            return forked[-1]

        def work(item: int) -> int:
            note(path)
            return item

        monkeypatch.setattr(Template, "fork", fork_once_it_runs)
        assert task(work, backend="auto", batch_size=1)(range(6)) == list(range(6))
        assert len({pid for pid, _ in forked}) == 2

    def test_a_failure_ends_the_run_while_workers_are_forked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the first worker reports is taken between two forks."""
        fork, forked = Template.fork, []

        def fork_slowly(self: Template, descriptors: Any) -> Any:
            forked.append(clock.now())
            time.sleep(0.3 if len(forked) > 1 else 0.0)
            return fork(self, descriptors)

        def fail(item: int) -> int:
            raise ValueError(item)

        monkeypatch.setattr(Template, "fork", fork_slowly)
        with pytest.raises(ValueError, match="0"):
            task(fail, backend="auto", n_jobs=8, batch_size=1)(range(16))
        assert len(forked) < 8

    def test_no_room_for_all_workers(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Where the machine refuses another process, those that there are do the work, and a warning says so."""
        fork = Template.fork
        forked: list[tuple[int, int]] = []

        def fork_two(self: Template, descriptors: Any) -> Any:
            if len(forked) == 2:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            forked.append(fork(self, descriptors))
            return forked[-1]

        monkeypatch.setattr(Template, "fork", fork_two)
        assert task(abs, backend="auto", n_jobs=4, batch_size=1)(range(20)) == list(range(20))
        warnings_of_it = [line for line in caplog.messages if "of 4 workers" in line]
        assert warnings_of_it == [
            f"2 of 4 workers run: the machine has no room for another process ({os.strerror(errno.EAGAIN)})."
        ]

    def test_no_room_for_any_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing runs, and the error is the machine's."""

        def refuse(self: Template, descriptors: Any) -> Any:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        monkeypatch.setattr(Template, "fork", refuse)
        with pytest.raises(BlockingIOError):
            task(abs, backend="auto", n_jobs=4)(range(20))

    def test_pool_inside_an_item(self) -> None:
        """An item may have processes of its own."""

        def inner(item: int) -> list[int]:
            from concurrent.futures import ProcessPoolExecutor

            with ProcessPoolExecutor(2) as pool:
                return list(pool.map(abs, [item, -item]))

        assert task(inner, backend="auto")([1, 2]) == [[1, 1], [2, 2]]

    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_what_an_item_has_forked_does_not_answer(self) -> None:
        """A process that an item has forked, and that comes back from the item, ends: the worker answers, once."""

        def split(item: int) -> tuple[int, bool]:
            worker = os.getpid()
            if not os.fork():
                return -1, False
            os.wait()
            return item, os.getpid() == worker

        assert task(split, backend="auto", batch_size=1)([1, 2, 3]) == [(1, True), (2, True), (3, True)]

    @pytest.mark.slow
    @pytest.mark.parametrize("backend", ["auto", "loky"])
    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_what_an_item_has_forked_can_be_ended(self, backend: str) -> None:
        """SIGTERM ends a process that an item has forked at any time, before it has run at all too."""

        def end(item: int) -> list[int]:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # so that parent and child take turns
            codes = []
            for _ in range(20):
                if not (child := os.fork()):
                    time.sleep(5)
                    os._exit(0)
                os.kill(child, signal.SIGTERM)
                codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            return codes

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert task(end, backend=backend, batch_size=1)([1, 2]) == [[-signal.SIGTERM] * 20] * 2

    def test_standard_input_is_empty(self) -> None:
        """Standard input, by which a task talks to its supervisor, is nothing in a worker."""
        assert task(lambda item: os.read(0, 10), backend="auto")([1, 2]) == [b"", b""]

    def test_no_page_is_copied_by_a_collection(self) -> None:
        """Garbage collection in a worker leaves what was there before the fork alone."""
        assert all(count > 1000 for count in task(lambda item: gc.get_freeze_count(), backend="auto")([1, 2]))


@pytest.mark.usefixtures("forks")
class TestEnds:
    """How workers, and what they are forked from, end."""

    def test_a_worker_is_replaced(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Where a worker is killed only what it ran runs again, in another worker; the others go on."""
        ran = tmp_path / "ran"

        def work(item: int) -> int:
            note(ran, f"{item} {os.getpid()}")
            if (
                item == 3
                and notes(ran).count(f"3 {os.getpid()}")
                and len([1 for n in notes(ran) if n[:2] == "3 "]) == 1
            ):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.02)
            return item

        assert task(work, backend="auto", batch_size=1)(range(30)) == list(range(30))
        items = [line.split()[0] for line in notes(ran)]
        assert sorted(items) == sorted([*map(str, range(30)), "3"])
        assert "was ended by SIGKILL while it ran item 3; 1 unfinished item" in caplog.text

    def test_what_an_item_left_behind(self, tmp_path: Path) -> None:
        """The end of a worker is seen though a process that its item has forked goes on, with all that it holds."""
        tried = tmp_path / "tried"

        def work(item: int) -> int:
            if item == 3 and not notes(tried):
                note(tried)
                if os.fork() == 0:
                    time.sleep(15)
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGKILL)
            return item

        began = time.monotonic()
        assert task(work, backend="auto", batch_size=1)(range(10)) == list(range(10))
        assert time.monotonic() - began < 12

    def test_an_idle_worker_is_replaced(self, caplog: pytest.LogCaptureFixture) -> None:
        """A worker that is killed between two chunks costs nothing."""

        def draw() -> Any:
            yield from range(8)
            time.sleep(0.5)  # the workers have done these
            victim = min(child.pid for child in worker_processes() if child.ppid() != os.getpid())
            os.kill(victim, signal.SIGKILL)
            yield from range(8, 20)

        assert task(abs, backend="auto", batch_size=1)(draw()) == list(range(20))

    def test_the_template_is_killed(self, tmp_path: Path) -> None:
        """A run whose template was killed ends with an error of its own, and leaves nobody behind."""
        began = tmp_path / "began"

        def kill_template() -> None:
            eventually(lambda: len(notes(began)) == 2)
            os.kill(int(notes(began)[0]), signal.SIGKILL)

        def work(item: int) -> None:
            note(began, os.getppid())
            time.sleep(60)

        thread = threading.Thread(target=kill_template)
        thread.start()
        with pytest.raises(ParallelTaskError, match="process that the workers are forked from has ended"):
            task(work, backend="auto", batch_size=1)(range(10))
        thread.join()
        assert not worker_processes()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_nobody_outlives_the_task(self, number: int, tmp_path: Path) -> None:
        """Workers and template are gone at once when their task is ended by a signal."""
        code = f"""
import os, time
from airflow_joblib import parallel_task
def work(item):
    open({str(tmp_path)!r} + f"/{{os.getpid()}}", "w").close()
    time.sleep(60)
parallel_task(n_jobs=2, backend="auto")(work).map([1, 2])
"""
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL) as process:
            assert eventually(lambda: len(list(tmp_path.iterdir())) == 2)
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) == 3
            process.send_signal(number)
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive

    def test_nothing_is_left(self) -> None:
        """A later call has the descriptors, threads and processes of the first."""
        task(abs, backend="auto")([1, 2])
        gc.collect()  # what tests before this one have left to it
        before = psutil.Process().num_fds(), threading.active_count()
        for _ in range(8):
            task(abs, backend="auto")([1, 2])
        assert (psutil.Process().num_fds(), threading.active_count()) == before
        assert not worker_processes()


def _threads_of_python() -> list[str]:
    """Return those of the threads in the way that are Python's: BLAS, which other tests have used, has some too."""
    return [name for name in fork_safety.other_threads() if name.startswith("Python's")]


class TestChoice:
    """When workers are forked, and when they are fresh ones."""

    @pytest.mark.usefixtures("forks")
    def test_a_fork_where_it_is_safe(self, caplog: pytest.LogCaptureFixture) -> None:
        """By default workers are forked."""
        caplog.set_level("DEBUG", logger="airflow_joblib")
        parents = parallel_task(n_jobs=2)(lambda item: os.getppid()).map([1, 2])
        assert os.getpid() not in parents
        assert len(set(parents)) == 1
        assert "workers are forked from this process" in caplog.text

    def test_a_thread_forbids_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """While a thread of the user's runs workers are fresh ones, and the log says which; not so afterwards."""
        caplog.set_level("INFO", logger="airflow_joblib")
        done = threading.Event()
        thread = threading.Thread(target=done.wait, name="poller")
        thread.start()
        try:
            assert task(lambda item: os.getppid(), backend="auto")([1, 2]) == [os.getpid()] * 2
        finally:
            done.set()
            thread.join()
        assert "workers are fresh processes (loky), since a fork would lose the thread Python's 'poller'" in caplog.text
        assert not [name for name in fork_safety.other_threads() if "poller" in name]

    def test_threads_of_airflow_dags_test(self) -> None:
        """What an API server in the task's process has is no reason, and is only where its loop is."""
        done = threading.Event()
        names = ["AnyIO worker thread", "InProcessExecutionAPI-loop"]
        threads = [threading.Thread(target=done.wait, name=name) for name in names]
        try:
            threads[0].start()
            assert _threads_of_python() == ["Python's 'AnyIO worker thread'"]
            threads[1].start()
            assert _threads_of_python() == []
        finally:
            done.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    @pytest.mark.parametrize(
        ("started", "calls", "safe"),
        [
            ("opentelemetry.sdk", "opentelemetry.sdk", True),
            ("pipelines.prefetch", "tqdm.std", False),
            ("pipelines.prefetch", "airflow.sdk", False),
            ("airflow.providers.http.hooks.http", "airflow.providers.http.hooks.http", False),
        ],
    )
    def test_whose_thread_it_is(self, started: str, calls: str, safe: bool) -> None:
        """A thread belongs to who has started it, whatever it calls; what a hook runs in one is the user's."""
        done, begun = threading.Event(), threading.Event()
        inner: dict[str, Any] = {"__name__": calls, "done": done, "begun": begun}
        exec("def wait():\n begun.set()\n done.wait()", inner)
        outer: dict[str, Any] = {"__name__": started, "wait": inner["wait"]}
        exec("def run():\n wait()", outer)
        thread = threading.Thread(target=outer["run"], name="poller")
        thread.start()
        try:
            assert begun.wait(30)
            assert (_threads_of_python() == []) == safe
        finally:
            done.set()
            thread.join()

    def test_asked_for_all_the_same(self, caplog: pytest.LogCaptureFixture) -> None:
        """``backend="multiprocessing"`` forks whatever runs, with a warning that names the thread."""
        done = threading.Event()
        thread = threading.Thread(target=done.wait, name="poller")
        thread.start()
        try:
            parents = task(lambda item: os.getppid(), backend="multiprocessing")([1, 2])
        finally:
            done.set()
            thread.join()
        assert os.getpid() not in parents
        assert "though a fork loses the thread Python's 'poller'" in caplog.text

    @pytest.mark.parametrize("method", ["spawn", "forkserver"])
    def test_start_method_of_the_user(
        self, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A start method other than fork asks for fresh workers."""
        caplog.set_level("INFO", logger="airflow_joblib")
        monkeypatch.setenv("JOBLIB_START_METHOD", method)
        assert fork_safety.fresh_workers_wanted() == f"the start method {method!r} is set"
        assert task(abs, backend="auto")([1, -2]) == [1, 2]
        assert f"workers are fresh processes (loky), since the start method {method!r} is set" in caplog.text

    def test_warning_filters(self) -> None:
        """The warning filters of the task hold in the workers, and what keeps Python quiet about the fork does not."""
        code = """
import warnings
from airflow_joblib import parallel_task
warnings.simplefilter("error", DeprecationWarning)
def old(item):
    try:
        warnings.warn("old", DeprecationWarning)
    except DeprecationWarning as error:
        return str(error)
print(parallel_task(n_jobs=2, backend="auto")(old).map([1, 2]))
"""
        assert run_python(code).stdout == "['old', 'old']\n"

    def test_another_platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Elsewhere than on Linux workers are fresh ones."""
        monkeypatch.setattr(sys, "platform", "darwin")
        assert "Linux" in fork_safety.fresh_workers_wanted()

    @pytest.mark.parametrize("flags", [[], ["-W", "error"]])
    def test_no_word_of_the_fork(self, flags: list[str]) -> None:
        """Python's warning of forks in a process with threads reaches nobody."""
        code = """
import faulthandler, logging
from airflow_joblib import parallel_task
faulthandler.dump_traceback_later(100)
logging.getLogger("airflow_joblib").setLevel("ERROR")
print(parallel_task(n_jobs=2, backend="auto")(abs).map([1, -2]))
"""
        done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("[1, 2]\n", "")
