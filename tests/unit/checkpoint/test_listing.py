"""Checkpoints are listed by the names of files alone, and removed without touching anything else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from airflow_joblib import InvalidOptionError
from airflow_joblib.checkpoint import Checkpoint, call_key
from airflow_joblib.checkpoint.folders import make
from airflow_joblib.checkpoint.listing import kept_below, remove

if TYPE_CHECKING:
    from pathlib import Path

TASK = ["my.dag", "manual__2026-01-01T00:00:00+00:00", "group.task", "single"]


def keep(root: Path, names: list[str], items: int = 3, call: str = "shop.f") -> None:
    """Keep some finished items in a folder below *root*."""
    checkpoint = Checkpoint(make(root, names, str), call_key(call, {}))
    checkpoint.add(list(range(items)), list(range(items)))
    checkpoint.flush()


def test_lists_each(tmp_path: Path) -> None:
    """Each checkpoint is there once, with whose it is, its items and when the last was added."""
    keep(tmp_path, TASK)
    keep(tmp_path, TASK, 2, "shop.g")
    keep(tmp_path, [*TASK[:3], "7"])
    keep(tmp_path, ["shop.alone"], 1)
    before = time.time()
    found = {kept.owner: kept for kept in kept_below(make(tmp_path, [], str))}
    dag, run, task, _ = TASK
    assert set(found) == {f"{dag} / {run} / {task}", f"{dag} / {run} / {task} [7]", "function shop.alone"}
    assert found[f"{dag} / {run} / {task}"].items == 5
    assert found["function shop.alone"].items == 1
    assert all(before - 60 < kept.added <= before for kept in found.values())


def test_nothing_there(tmp_path: Path) -> None:
    """A folder that is not there, or has none in it, has no checkpoints."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("mine")
    assert not list(kept_below(make(tmp_path, [], str)))
    assert not list(kept_below(make(tmp_path / "missing", [], str)))


def test_removes_its_files_alone(tmp_path: Path) -> None:
    """Files of a checkpoint go, and folders that are empty then; files of others stay with theirs."""
    keep(tmp_path, TASK)
    keep(tmp_path, ["shop.alone"])
    for kept in kept_below(make(tmp_path, [], str)):
        if len(kept.names) == 1:
            (tmp_path / "shop=2Ealone" / "mine.txt").write_text("mine")
        remove(kept)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "shop=2Ealone",
        "shop=2Ealone/mine.txt",
    ]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link to a folder elsewhere leads nowhere, so nothing there is listed or removed."""
    keep(tmp_path / "elsewhere", ["shop.alone"])
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    assert not list(kept_below(make(tmp_path / "root", [], str)))


def test_refuses_what_others_may_write_to(tmp_path: Path) -> None:
    """A folder that others may write to is left as it is."""
    keep(tmp_path, ["shop.alone"])
    (kept,) = kept_below(make(tmp_path, [], str))
    (tmp_path / "shop=2Ealone").chmod(0o777)
    with pytest.raises(InvalidOptionError, match="others than its owner may write"):
        remove(kept)
    assert list(kept_below(make(tmp_path, [], str)))


def test_long_names(tmp_path: Path) -> None:
    """Of a name that was cut its beginning is shown."""
    keep(tmp_path, ["x" * 300])
    (kept,) = kept_below(make(tmp_path, [], str))
    assert kept.names[0].startswith("xxx")
    assert kept.names[0].endswith("…")


def test_remote(tmp_path: Path) -> None:
    """Those of a storage that fsspec reaches are listed and removed as well."""
    from upath import UPath

    url = f"memory://kept{tmp_path.name}"
    checkpoint = Checkpoint(make(url, TASK, UPath), call_key("shop.f", {}))
    checkpoint.add([1], [1])
    checkpoint.flush()
    (kept,) = kept_below(make(url, [], UPath))
    assert kept.names == tuple(TASK)
    assert kept.items == 1
    remove(kept)
    assert not list(kept_below(make(url, [], UPath)))
