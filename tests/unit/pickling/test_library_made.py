"""What a library's decorator or base class has made: named as a whole, with a way out that works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import NotPicklableError
from airflow_joblib.pickling import check_function, explain_items, sent_by_value
from tests.unit.helpers import run_python

if TYPE_CHECKING:
    from pathlib import Path

MADE = """
import pydantic, wrapt
from sqlalchemy.orm import DeclarativeBase, Mapped, declarative_base, mapped_column
from sqlalchemy import Column, Integer

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)

class Group(declarative_base()):
    __tablename__ = "group"
    id = Column(Integer, primary_key=True)

@wrapt.decorator
def around(wrapped, instance, args, kwargs):
    return wrapped(*args, **kwargs)

@around
def wrapped(n):
    return n

@pydantic.validate_call
def checked(n: int) -> int:
    return n
"""

USES = """
def mapped(item):
    return User(id=item).id

def declared(item):
    return Group(id=item).id

def decorated(item):
    return wrapped(item)

def validated(item):
    return checked(item)
"""

CULPRITS = {
    "mapped": "mapped → global 'User'",
    "declared": "declared → global 'Group'",
    "decorated": "decorated → global 'wrapped'",
    "validated": "validated → global 'checked'",
}


@pytest.mark.parametrize("name", CULPRITS)
def test_in_the_dag_file(name: str, dag_file: Any) -> None:
    """Where the DAG file defines it, it is the one culprit, and the advice is a module of its own."""
    module = dag_file(MADE + USES)
    with pytest.raises(NotPicklableError) as caught:
        check_function(vars(module)[name], {})
    (culprit,) = caught.value.culprits
    assert culprit.path == CULPRITS[name]
    assert "Move it into a module beside the DAG file" in culprit.advice


def test_mapped_object_as_item(dag_file: Any) -> None:
    """An object of a mapped class as an item leads to the class."""
    module = dag_file(MADE)
    with sent_by_value([module]):
        (culprit,) = explain_items([module.User(id=1)], [0])
    assert culprit.path == "item 0"
    assert culprit.type.endswith(".User")
    assert "Move it into a module beside the DAG file" in culprit.advice
    module.Base.registry.dispose()


@pytest.mark.nightly
def test_in_a_module_of_its_own(tmp_path: Path) -> None:
    """The way out that the advice names works, for all of them."""
    (tmp_path / "made_elsewhere.py").write_text(MADE)
    (tmp_path / "dag.py").write_text(f"from made_elsewhere import *\n{USES}")
    code = f"""
from airflow_joblib import parallel_task
import dag
for name in {list(CULPRITS)}:
    function = vars(dag)[name]
    assert parallel_task(n_jobs=2, backend="loky")(function).map([1, 2]) == [function(1), function(2)], name
"""
    run_python(code, {"PYTHONPATH": str(tmp_path)})
