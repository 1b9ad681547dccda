"""Parallelism by hand is found in the tasks of a DAG file, and nowhere else."""

from __future__ import annotations

import ast
from textwrap import indent

import pytest

from airflow_joblib.cli.by_hand import find_by_hand

BEGIN = """
import multiprocessing, multiprocessing as mp, joblib, concurrent.futures, billiard
from airflow.sdk import dag, task, task as t, BaseOperator
from airflow.providers.standard.operators.python import PythonOperator, PythonVirtualenvOperator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from joblib import Parallel, Parallel as P, delayed, parallel_backend, parallel_config
from multiprocessing import Pool, Process, dummy
from multiprocessing.pool import ThreadPool
from airflow_joblib import parallel_task
N, BACKEND, MANY = 4, "threading", 1 if mp.cpu_count() == 1 else 8
"""


def codes(source: str) -> list[str]:
    """Return the codes that are found in a source."""
    return [finding.code for finding in sorted(set(find_by_hand("f.py", ast.parse(BEGIN + source))))]


def in_task(*lines: str, decorator: str = "@task") -> str:
    return f"{decorator}\ndef run(given=None):\n" + indent("\n".join(lines), "    ")


FOUND = {
    "Parallel(n_jobs=4)(delayed(len)(x) for x in 'ab')": "AJ101",
    "P(N)('ab')": "AJ101",
    "Parallel(-1)('ab')": "AJ101",
    "joblib.Parallel(n_jobs=given)('ab')": "AJ101",
    "Parallel(n_jobs=MANY)('ab')": "AJ101",
    "Parallel(n_jobs=2, backend='multiprocessing')('ab')": "AJ101",
    "Parallel(n_jobs=2, backend='loky', prefer='threads')('ab')": "AJ101",
    "Parallel(n_jobs=2, backend='ray')('ab')": "AJ101",
    "with parallel_config(n_jobs=4): Parallel()('ab')": "AJ101",
    "with parallel_config('loky', n_jobs=4): Parallel()('ab')": "AJ101",
    "with parallel_backend('loky'): Parallel()('ab')": "AJ101",
    "from joblib import Parallel as Q; Q(n_jobs=2)('ab')": "AJ101",
    "run_all = joblib.Parallel; run_all(n_jobs=3)('ab')": "AJ101",
    "with Pool(4) as pool: pool.map(len, 'ab')": "AJ102",
    "multiprocessing.Pool()": "AJ102",
    "mp.pool.Pool(2)": "AJ102",
    "Process(target=len).start()": "AJ102",
    "context = mp.get_context('spawn'); context.Process(target=len)": "AJ102",
    "mp.get_context('fork').Pool()": "AJ102",
    "billiard.Pool(2)": "AJ102",
    "with ProcessPoolExecutor() as pool: pass": "AJ103",
    "concurrent.futures.ProcessPoolExecutor(2)": "AJ103",
    "from loky import get_reusable_executor; get_reusable_executor(2)": "AJ103",
}
FINE = [
    "Parallel(n_jobs=1)('ab')",
    "Parallel()('ab')",
    "Parallel(n_jobs=None)('ab')",
    "Parallel(n_jobs=4, prefer='threads')('ab')",
    "Parallel(n_jobs=4, require='sharedmem')('ab')",
    "Parallel(n_jobs=4, backend='threading')('ab')",
    "Parallel(n_jobs=4, backend=BACKEND)('ab')",
    "Parallel(n_jobs=4, backend=given)('ab')",
    "Parallel(**given)('ab')",
    "with parallel_config(backend='threading', n_jobs=4): Parallel()('ab')",
    "with parallel_backend('threading', n_jobs=4): Parallel()('ab')",
    "parallel_config(backend='threading'); Parallel(n_jobs=4)('ab')",
    "with parallel_config('threading'):\n    with parallel_config(n_jobs=2): Parallel()('ab')",
    "with ThreadPoolExecutor() as pool: pass",
    "with ThreadPool(4) as pool: pass",
    "dummy.Pool(4)",
    "mp.cpu_count(), mp.current_process(), mp.Lock()",
    "class Pool: pass\nPool()",
    "Pool = given; Pool(4)",
    "given.Pool(4), given.Process()",
]


@pytest.mark.parametrize(("line", "code"), FOUND.items(), ids=FOUND)
def test_is_found(line: str, code: str) -> None:
    """A pool, process or executor in a task is found, whatever name it goes by."""
    assert codes(in_task(line)) == [code]


@pytest.mark.parametrize("line", FINE)
def test_is_no_finding(line: str) -> None:
    """Threads, a single worker and what only looks alike are no finding."""
    assert not codes(in_task(line))


@pytest.mark.parametrize("decorator", ["@task()", "@t", "@task.branch", "@task(task_id='x')", "@task.sensor"])
def test_tasks(decorator: str) -> None:
    """The function of each kind of task that runs in the task's process is looked at."""
    assert codes(in_task("Pool()", decorator=decorator)) == ["AJ102"]


@pytest.mark.parametrize(
    "decorator",
    ["@task.virtualenv", "@task.docker(image='x')", "@task.parallel", "@parallel_task(n_jobs=2)", "@dag", "@given"],
)
def test_elsewhere(decorator: str) -> None:
    """What runs in another interpreter, in a worker, or while the file is parsed, is left alone."""
    assert not codes(in_task("Pool()", decorator=decorator))


TASKS = {
    "called": "def helper(): Pool()\n@task\ndef run(): helper()",
    "called twice removed": "def a(): Pool()\ndef b(): a()\n@task\ndef run(): b()",
    "nested": "@task\ndef run():\n    def inner(): Pool()\n    inner()",
    "in a DAG": "@dag\ndef pipeline():\n    @task\n    def run(): Pool()\n    run()",
    "callable": "def run(): Pool()\nPythonOperator(task_id='x', python_callable=run)",
    "lambda": "PythonOperator(task_id='x', python_callable=lambda: Pool())",
    "operator": "class Mine(BaseOperator):\n    def execute(self, context): self.go()\n    def go(self): Pool()",
    "a class that it makes": "class C:\n    def __init__(self): Pool()\n@task\ndef run(): C()",
    "an object by a name": "class C:\n    def go(self): Pool()\nc = C()\n@task\ndef run(): c.go()",
    "a method by another": "class C:\n    def a(self): self.b()\n    def b(self): Pool()\n@task\ndef run(): C().a()",
    "an inherited method": "class B:\n    def a(self): Pool()\nclass C(B): pass\n@task\ndef run(): C().a()",
    "entered": "class C:\n    def __enter__(self): Pool()\n@task\ndef run():\n    with C() as c: pass",
    "method as callable": "class C:\n    def a(self): Pool()\nPythonOperator(task_id='x', python_callable=C().a)",
    "passed": "def helper(): Pool()\n@task\ndef run(): given(helper)",
    "by another name": "def helper(): Pool()\n@task\ndef run():\n    go = helper\n    go()",
    "made a task": "def run(): Pool()\nrun_task = task(run)",
    "made a task with options": "def run(): Pool()\nrun_task = task(retries=1)(run)",
    "an operator's operator": (
        "class Base(BaseOperator): pass\nclass Mine(Base):\n    def execute(self, context): Pool()"
    ),
    "own process": "class Mine(Process): pass\n@task\ndef run(): Mine().start()",
    "a class that it uses": "class C:\n    def go(self): Pool()\n@task\ndef run(): C().go()",
    "either import": "try:\n    from billiard import Pool\nexcept ImportError:\n    pass\n@task\ndef run(): Pool()",
}
NO_TASKS = {
    "main": "if __name__ == '__main__':\n    Pool()",
    "made a virtual environment's": "def run(): Pool()\nrun_task = task.virtualenv(run)",
    "a base of its own": "class Base: pass\nclass Mine(Base):\n    def execute(self, context): Pool()",
    "main in a task": "@task\ndef run():\n    if __name__ == '__main__': Pool()",
    "another method": "class C:\n    def a(self): pass\n    def b(self): Pool()\n@task\ndef run(): C().a()",
    "another method as callable": (
        "class C:\n    def a(self): pass\n    def b(self): Pool()\nPythonOperator(task_id='x', python_callable=C().a)"
    ),
    "only named": "def helper(): Pool()\n@task\ndef run(): print(helper.__name__, given is helper)",
    "top level": "Pool()",
    "not called": "def helper(): Pool()",
    "in a virtualenv": "def run(): Pool()\nPythonVirtualenvOperator(task_id='x', python_callable=run)",
    "constructor": "class Mine(BaseOperator):\n    def __init__(self): Pool()\n    def execute(self, context): pass",
    "a parallel task that it calls": "@parallel_task\ndef one(item): Pool()\n@task\ndef run(): one([1])",
}


@pytest.mark.parametrize("source", TASKS.values(), ids=TASKS)
def test_what_a_task_runs(source: str) -> None:
    """What a task runs in the same file is looked at, however it gets there."""
    assert codes(source) == ["AJ102"]


@pytest.mark.parametrize("source", NO_TASKS.values(), ids=NO_TASKS)
def test_what_no_task_runs(source: str) -> None:
    """What no task runs is left alone."""
    assert not codes(source)


THREADS = "@task\ndef run():\n    with parallel_config(backend={backend}): helper()\ndef helper(): {call}"


@pytest.mark.parametrize(
    ("backend", "call", "found"),
    [
        ("'threading'", "Parallel(n_jobs=4)('ab')", []),
        ("given", "Parallel(n_jobs=4)('ab')", []),
        ("'loky'", "Parallel(n_jobs=4)('ab')", ["AJ101"]),
        ("'threading'", "Parallel(n_jobs=4, backend='loky')('ab')", ["AJ101"]),
        ("'threading'", "Pool()", ["AJ102"]),
    ],
)
def test_threads_chosen_on_the_way(backend: str, call: str, found: list[str]) -> None:
    """Where a configuration may choose threads, a call that names no backend is no finding."""
    assert codes(THREADS.format(backend=backend, call=call)) == found


def test_a_place_once() -> None:
    """What two tasks run is found once; an operator is called one."""
    source = "def helper(): Pool()\n@task\ndef a(): helper()\n@task\ndef b():\n    def c(): Pool()\n    helper(), c()\n"
    source += "class Mine(BaseOperator):\n    def execute(self, context): helper(), Pool()"
    found = list(find_by_hand("f.py", ast.parse(BEGIN + source)))
    assert len(found) == len({finding.place for finding in found}) == 3
    assert any("in operator 'Mine'" in finding.message for finding in found)


def test_message() -> None:
    """A finding names its place, the task, what goes wrong and what to do."""
    (finding,) = set(find_by_hand("f.py", ast.parse(BEGIN + in_task("Parallel(\n    n_jobs=4)('ab')"))))
    lines = (BEGIN + in_task("Parallel(\n    n_jobs=4)('ab')")).splitlines()
    assert lines[finding.place.line - 1][finding.place.column - 1 :].startswith("Parallel(")
    assert finding.place.end_line == finding.place.line + 1
    assert finding.message.startswith("joblib.Parallel in task 'run': ")
    assert "BrokenProcessPool" in finding.message
    assert finding.message.endswith("@parallel_task, and call that with the items.")


def test_celery_in_message() -> None:
    """Billiard's pools start under Celery, multiprocessing's don't, and only of the latter that is said."""
    for call, said in (("billiard.Pool()", False), ("mp.Pool()", True)):
        (finding,) = find_by_hand("f.py", ast.parse(BEGIN + in_task(call)))
        assert ("Celery" in finding.message) is said
