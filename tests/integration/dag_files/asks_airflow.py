"""Items that ask for a Variable: in threads, and in worker processes, which have nobody to ask."""

from __future__ import annotations

from airflow.sdk import dag, task

from airflow_joblib import parallel_task


@parallel_task(n_jobs=2)
def ask(_: int) -> str:
    """Return the Variable's value, or the name of what asking raises."""
    from airflow.sdk import Variable

    try:
        return str(Variable.get("greeting", default="a wrong answer"))
    except BaseException as error:
        return type(error).__name__


@task
def afterwards(_: list[str]) -> str:
    """The task's own line to its supervisor still works, and so does the next task's."""
    from airflow.sdk import Variable

    ask.override(backend="multiprocessing").map([1, 2])
    return str(Variable.get("greeting", default="a wrong answer"))


@dag(schedule=None)
def asks_airflow() -> None:
    """One task for each local backend."""
    for backend in ("threading", "loky", "multiprocessing"):
        answers = ask.override(backend=backend, task_id=backend)([1, 2])
        afterwards.override(task_id=f"after_{backend}")(answers)


asks_airflow()
