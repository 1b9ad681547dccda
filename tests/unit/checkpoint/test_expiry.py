"""A checkpoint goes some days after its last item, on any storage, with the next run that has one."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import parallel_task
from airflow_joblib.checkpoint import Checkpoint, call_key, remove_expired
from airflow_joblib.checkpoint.folders import make
from airflow_joblib.checkpoint.listing import kept_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86400
TASK = ["my.dag", "manual__2026-01-01T00:00:00+00:00", "group.task", "single"]


@pytest.fixture(params=["disk", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where checkpoints are: a folder, and a storage that fsspec reaches."""
    if request.param == "disk":
        yield str(tmp_path / "kept")
        return
    from upath import UPath

    path = UPath(f"memory://expiry-{os.getpid()}")
    yield str(path)
    if path.exists():
        path.fs.rm(path.path, recursive=True)


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keep an item in a folder, with a name that says it was some days ago."""
    now = time.time_ns()

    def kept(folder: Any, days: float, item: int = 1) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("airflow_joblib.checkpoint.segments.time.time_ns", lambda: int(now - days * DAY * 1e9))
            checkpoint = Checkpoint(folder, call_key("shop.f", {}))
            checkpoint.add([item], [item])
            checkpoint.flush()

    return kept


def folder(root: str, *names: str) -> Any:
    from upath import UPath

    return make(root, list(names), UPath)


def there(root: str) -> set[str]:
    return {kept.owner for kept in kept_below(folder(root))}


def test_what_is_old_goes(root: str, keep: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Of all calls whose checkpoints are below one folder, those to which nothing was added for so long."""
    caplog.set_level("INFO", logger="airflow_joblib")
    mine = folder(root, *TASK)
    keep(mine, 1)
    keep(folder(root, *TASK[:3], "7"), 15)
    keep(folder(root, "other", *TASK[1:]), 14.1)
    keep(folder(root, "another", *TASK[1:]), 13.9)
    keep(folder(root, "shop.alone"), 100)
    remove_expired(mine, 0)
    assert len(there(root)) == 5
    remove_expired(mine, 14)
    dag, *rest = (" / ".join([dag, *TASK[1:3]]) for dag in (TASK[0], "another"))
    assert there(root) == {dag, *rest}
    assert "Removed 3 checkpoints below " in caplog.text
    assert "not used for 14 days" in caplog.text


def test_one_new_item_keeps_all(root: str, keep: Any) -> None:
    """The age counts from the last item that was added, so a checkpoint in use stays whole."""
    mine = folder(root, *TASK)
    keep(mine, 30)
    keep(mine, 3, 2)
    remove_expired(mine, 14)
    checkpoint = Checkpoint(mine, call_key("shop.f", {}))
    checkpoint.load()
    assert checkpoint.found == 2


def test_reading_is_use(root: str, keep: Any) -> None:
    """A run that takes finished items from an old checkpoint, and adds none, keeps it: the next try wants it too."""
    mine = folder(root, *TASK)
    keep(mine, 30)
    for _ in range(2):
        checkpoint = Checkpoint(mine, call_key("shop.f", {}))
        checkpoint.load()
        assert checkpoint.found == 1
        remove_expired(mine, 14)


def test_added_while_it_is_looked_at(root: str, keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that resumes an old checkpoint, and adds to it between the look and the removal, loses nothing."""
    from airflow_joblib.checkpoint import expiry

    mine = folder(root, *TASK)
    keep(mine, 30)

    def then_added(*given: Any) -> Iterator[Any]:
        for kept in kept_below(*given):
            keep(mine, 0, 2)
            yield kept

    monkeypatch.setattr(expiry, "kept_below", then_added)
    remove_expired(mine, 14)
    (kept,) = kept_below(folder(root))
    assert kept.items == 2


def test_folder_itself_stays(tmp_path: Path, keep: Any) -> None:
    """The folder that an option names is nobody's checkpoint, whatever its name and what lies in it."""
    root = tmp_path / "2024" / "7"
    keep(folder(str(root), "shop.f"), 30)
    (segment,) = (root / "shop=2Ef").iterdir()
    segment.rename(root / segment.name)
    remove_expired(folder(str(root), "shop.f"), 14)
    assert (root / segment.name).exists()


def test_other_files_stay(tmp_path: Path, keep: Any) -> None:
    """What is not of a checkpoint stays, and a folder that is too deep for one isn't entered."""
    root = tmp_path / "kept"
    keep(folder(str(root), *TASK), 30)
    deep = root / "a" / "b" / "c" / "d" / "e"
    deep.mkdir(parents=True)
    keep(folder(str(deep), "shop.alone"), 30)
    (root / "mine.txt").write_text("mine")
    remove_expired(folder(str(root), *TASK), 14)
    assert (root / "mine.txt").read_text() == "mine"
    assert [kept.owner for kept in kept_below(folder(str(root)))] == ["function shop.alone"]


def test_what_can_not_be_removed(tmp_path: Path, keep: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that others may write to is left as it is, and the others go."""
    caplog.set_level("DEBUG", logger="airflow_joblib")
    root = str(tmp_path / "kept")
    keep(folder(root, "shop.a"), 30)
    keep(folder(root, "shop.b"), 30)
    (tmp_path / "kept" / "shop=2Ea").chmod(0o777)
    remove_expired(folder(root, "shop.b"), 14)
    assert there(root) == {"function shop.a"}
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_in_no_order_and_for_no_longer(tmp_path: Path, keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search among many folders ends in time, and each of them has its turn in some search."""
    from airflow_joblib.checkpoint import expiry
    from airflow_joblib.system import clock

    root = str(tmp_path / "kept")
    for number in range(20):
        (tmp_path / "kept" / f"of-the-user-{number}").mkdir(parents=True)
    keep(folder(root, "shop.f"), 30)
    now = 0.0

    def later() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(clock, "now", later)
    monkeypatch.setattr(expiry, "SECONDS", 6.0)
    monkeypatch.setattr(expiry, "_PAUSE", 0.0)
    searches = 0
    while there_now(root):
        remove_expired(folder(root, "shop.f"), 14)
        searches += 1
        assert searches < 200
    assert now < searches * 40


def there_now(root: str) -> bool:
    return any(name.endswith(".items") for _, _, names in os.walk(root) for name in names)


def test_storage_that_fails(root: str, keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that can't be listed is no reason for a run to fail."""
    from airflow_joblib.checkpoint import expiry

    keep(folder(root, *TASK), 30)

    def fails(*_: Any) -> Any:
        raise OSError

    monkeypatch.setattr(expiry, "kept_below", fails)
    remove_expired(folder(root, *TASK), 14)
    assert there(root)


def test_with_the_next_run(root: str, keep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with a checkpoint, whatever became of its items, removes what is old; one without leaves it."""
    monkeypatch.setenv("AIRFLOW__JOBLIB__CHECKPOINT_PATH", root)

    def run(item: int) -> int:
        if item > 2:
            raise LookupError(item)
        return item

    for limit, days in ((2, 15), (4, 15), (4, 6)):
        keep(folder(root, "old"), days)
        parallel_task(n_jobs=1)(run)([1])
        assert "function old" in there(root)
        if days < 14:
            monkeypatch.setenv("AIRFLOW__JOBLIB__CHECKPOINT_DAYS", "5")
        try:
            assert parallel_task(n_jobs=1, checkpoint=True)(run)(range(limit)) == list(range(limit))
        except LookupError:
            assert limit == 4
        assert "function old" not in there(root)
