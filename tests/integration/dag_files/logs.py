"""Items that say something in every way there is, in the workers of each local backend."""

from __future__ import annotations

import logging
import sys
import warnings

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

log = logging.getLogger("shop.orders")
BACKENDS = ("loky", "multiprocessing", "threading")


@parallel_task(n_jobs=2, batch_size=3)
def speak(number: int) -> bool:
    """Log, print and warn; tell whether Airflow is loaded."""
    log.info("first of %d", number, extra={"shop": "north", "odd": {1, 2}.__class__})
    print("printed", number)
    print("complained", number, file=sys.stderr)
    log.debug("not at this level")
    logging.getLogger("shop.quiet").info("not of this logger")
    log.error("100% wrong")
    warnings.warn(f"beware {number}", UserWarning, stacklevel=1)
    try:
        _ = 1 // (number - number)
    except ZeroDivisionError:
        log.exception("caught")
    log.warning("last of %d", number)
    return "airflow.sdk" in sys.modules


@parallel_task(n_jobs=2, batch_size=1)
def speak_structlog(number: int) -> int:
    """Log through structlog, under names of three levels."""
    import structlog

    structlog.get_logger("shop.structured").info("bound", number=number, when={"a": 1})
    structlog.get_logger("shop.loud.inner").debug("loud", number=number)
    structlog.get_logger("shop.structured").debug("not at this level")
    structlog.get_logger("shop.silent").error("not of this logger")
    try:
        raise KeyError(number)
    except KeyError:
        structlog.get_logger("shop.structured").exception("caught")
    return number


@parallel_task(n_jobs=2, batch_size=1)
def import_airflow(number: int) -> int:
    """Log after Airflow has set logging up anew in the worker."""
    import structlog
    from airflow.sdk import Variable

    log.info("stdlib after %s", Variable.__name__)
    structlog.get_logger("shop.structured").info("structlog after")
    print("printed after")
    warnings.warn("beware after", UserWarning, stacklevel=1)
    return number


@parallel_task(n_jobs=2, batch_size=1)
def whisper(number: int, secret: str) -> int:
    """Say a secret in every way."""
    log.info("in a message: %s", secret)
    log.info(secret, extra={"field": secret})
    print("printed:", secret)
    warnings.warn(f"warned of {secret}", UserWarning, stacklevel=1)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("caught")
    return number


@parallel_task(n_jobs=2, batch_size=1)
def find_secret(number: int) -> int:
    """Mask, in the worker, what the task has never seen, and say it."""
    from airflow.sdk.log import mask_secret

    secret = "first-seen-" + "in-a-worker" * 2
    mask_secret(secret)
    log.info("found %s", secret)
    print("found", secret)
    return number


@task
def keep(backend: str) -> None:
    """Fan out over items that say what the task knows as a secret."""
    from airflow.sdk import Variable
    from airflow.sdk.log import mask_secret

    mask_secret("known-" + "to-the-task")
    logging.getLogger("shop.quiet").setLevel(logging.WARNING)
    whisper.override(backend=backend).map([1, 2], secret="known-" + "to-the-task")
    whisper.override(backend=backend).map([1, 2], secret=Variable.get("shop_password"))


@task
def quiet(backend: str) -> list[bool]:
    """Fan out with a logger whose level the task sets."""
    logging.getLogger("shop.quiet").setLevel(logging.WARNING)
    return speak.override(backend=backend).map(range(6))


@dag(schedule=None)
def logs() -> None:
    """Each for every backend, one after another."""
    for backend in BACKENDS:
        said = quiet.override(task_id=f"speak_{backend}")(backend)
        structured = speak_structlog.override(task_id=f"structlog_{backend}", backend=backend)([1, 2])
        imported = import_airflow.override(task_id=f"airflow_{backend}", backend=backend)([1, 2])
        found = find_secret.override(task_id=f"found_{backend}", backend=backend)([1, 2])
        said >> structured >> imported >> keep.override(task_id=f"secrets_{backend}")(backend) >> found


logs()
