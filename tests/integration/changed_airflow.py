"""Takes names away from Airflow, one in each child process, and prints what a parallel task then says and does.

The first argument: ``parse``, a call in the body of a DAG, or ``task``, a run inside a task.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.execution_time import task_runner

import airflow_joblib.fan_out.run  # noqa: F401 - once, not in each child
from airflow_joblib import parallel_task, split
from airflow_joblib.taskflow import airflow_internals, airflow_names

RAN: list[object] = []


@parallel_task(n_jobs=2, backend="threading")
def item(number: int) -> int:
    """Show that it ran."""
    RAN.append(number)
    return number


class Without:
    """An object, or class, that lacks a name."""

    def __init__(self, owner: object, name: str) -> None:
        self._owner = owner
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise AttributeError(name)
        if name == "__annotations__":
            return {key: kind for key, kind in self._owner.__annotations__.items() if key != self._name}
        return getattr(self._owner, name)


class Unfindable:
    """Finds no module of that name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == self._name:
            raise ModuleNotFoundError(name=fullname)


def take_away(place: str) -> None:
    """Take a name, or a module, out of Airflow."""
    module, _, name = place.partition(":")
    if not name:
        sys.modules.pop(module, None)
        sys.meta_path.insert(0, Unfindable(module))
        return
    try:
        owner = importlib.import_module(module)
    except ModuleNotFoundError:  # a place of other versions
        return
    name, _, part = name.partition(".")
    if part:
        setattr(owner, name, Without(getattr(owner, name), part))
    else:
        vars(owner).pop(name, None)
        vars(owner).pop("__getattr__", None)  # by which some are made when first asked for
        vars(owner).get("__annotations__", {}).pop(name, None)


def parse() -> None:
    """Call a helper, and the parallel task."""
    split([1, 2], into=1)
    item([1, 2])


def task() -> None:
    """Run the items as the body of a task would."""
    item.map([1, 2])


def said(case: str, places: tuple[str, ...]) -> dict[str, Any]:
    """Return what is said without a name, in a child process."""
    read, write = os.pipe()
    if os.fork() == 0:
        if case == "parse":
            DAG("test", schedule=None).__enter__()  # an Airflow that calls a name otherwise would know it here
        else:
            vars(task_runner)["SUPERVISOR_COMMS"] = object()
        for place in places:
            take_away(place)
        try:
            {"parse": parse, "task": task}[case]()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        else:
            text = ""
        os.write(write, json.dumps({"said": text, "ran": RAN}).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        return json.load(file)  # type: ignore[no-any-return]


def main(case: str) -> None:
    """Print what is said without each of the names, by where it was, and with all of them by an empty text."""
    airflow_internals.check(load=True)
    airflow_internals._unchecked[:] = airflow_names.places()
    cases = [(), *airflow_names.places()] if case == "parse" else airflow_names.places()
    print(json.dumps({places[0] if places else "": said(case, places) for places in cases}))


if __name__ == "__main__":
    main(sys.argv[1])
