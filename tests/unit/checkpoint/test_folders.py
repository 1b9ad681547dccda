"""Folders: private, their own for every name, gone when they are empty; the same on a remote file system."""

from __future__ import annotations

import os
import resource
import signal
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_joblib import InvalidOptionError
from airflow_joblib.checkpoint import LocalFolder, RemoteFolder, outside_airflow
from airflow_joblib.checkpoint.folders import make, safe_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_joblib.checkpoint import Folder


@pytest.fixture(params=["local", "memory"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for folders, by path or by URL."""
    if request.param == "local":
        yield str(tmp_path / "kept")
        return
    yield "memory://kept"
    files = UPath("memory://kept").fs
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def folder(where: str, *names: str) -> Folder:
    return make(where, list(names), UPath)


def test_files(parent: str) -> None:
    """What is written is listed and read back; what is removed is gone, also when it was gone before."""
    place = folder(parent, "dag", "run")
    assert place.names() == []
    place.write("one", b"1")
    place.write("two", b"2")
    assert sorted(place.names()) == ["one", "two"]
    assert place.read("two") == b"2"
    place.remove("one")
    place.remove("one")
    assert place.names() == ["two"]
    with pytest.raises(FileNotFoundError):
        place.read("one")


def test_remove_empty(parent: str) -> None:
    """Folders go as far as they are empty, up to the one that an option names, which stays."""
    first, second = folder(parent, "dag", "run", "1"), folder(parent, "dag", "run", "2")
    first.write("one", b"")
    second.write("one", b"")
    first.remove_empty()
    assert first.names() == ["one"]
    first.remove("one")
    first.remove_empty()
    assert second.names() == ["one"]
    assert [entry.name for entry in UPath(parent, "dag", "run").iterdir()] == ["2"]
    second.remove("one")
    second.remove_empty()
    assert not any(UPath(parent).glob("*"))
    assert UPath(parent).exists() == isinstance(first, LocalFolder)  # in memory there are only files
    second.remove_empty()  # nothing there any more
    second.write("one", b"again")
    assert second.read("one") == b"again"


def test_folders_that_another_removes(tmp_path: Path) -> None:
    """A folder above that another run removes at the same time, as it is empty, is made again."""
    mine, other = (LocalFolder(tmp_path / "dag" / "run" / name, 3) for name in ("mine", "other"))
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            other.write("one", b"")
            other.remove("one")
            other.remove_empty()

    with ThreadPoolExecutor(1) as another:
        going = another.submit(come_and_go)
        for number in range(300):
            mine.write(f"{number}", b"")
            mine.remove(f"{number}")
            mine.remove_empty()
        ended.set()
        going.result()
    assert list(tmp_path.iterdir()) == []


def test_private(tmp_path: Path) -> None:
    """Files and every folder made are for the owner alone, whatever the umask; nothing else lies beside them."""
    before = os.umask(0)
    try:
        LocalFolder(tmp_path / "a" / "b" / "c").write("one", b"1")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"a": 0o700, "b": 0o700, "c": 0o700, "one": 0o600}


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A file that can't be written whole isn't there at all."""
    place = LocalFolder(tmp_path / "full")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            place.write("one", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert place.names() == []


@given(st.lists(st.text() | st.sampled_from([".", "..", "a/b", "a=2Fb", "a%2Fb", "~", ""]), unique=True))
def test_safe_names(texts: list[str]) -> None:
    """Every text has a name of its own, which is a plain one on any file system."""
    names = [safe_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    for name in names:
        assert name.isascii()
        assert 0 < len(name) <= 200
        assert not set('./\\~:%*?"<>| ') & set(name)


def test_long_names() -> None:
    """Long texts that begin alike have names of their own, short enough for a file system."""
    names = {safe_name("ü" * 250 + end) for end in ("a", "b", "")}
    assert len(names) == 3
    assert max(map(len, names)) <= 200


def test_outside_airflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Outside Airflow: the option's own place, else that of the environment, else below AIRFLOW_HOME."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    assert str(outside_airflow(None, "shop.clean")) == f"{tmp_path}/home/joblib_checkpoints/shop=2Eclean"
    monkeypatch.setenv("AIRFLOW__JOBLIB__CHECKPOINT_PATH", "{AIRFLOW_HOME}/kept")
    assert str(outside_airflow(None, "shop.clean")) == f"{tmp_path}/home/kept/shop=2Eclean"
    assert str(outside_airflow(tmp_path / "own", "clean")) == f"{tmp_path}/own/clean"
    monkeypatch.delenv("AIRFLOW_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(outside_airflow("~/kept", "clean")) == f"{tmp_path}/kept/clean"
    monkeypatch.delenv("AIRFLOW__JOBLIB__CHECKPOINT_PATH")
    assert str(outside_airflow(None, "clean")) == f"{tmp_path}/airflow/joblib_checkpoints/clean"


def test_kinds(tmp_path: Path) -> None:
    """A file URL without a host is a folder of this machine, with its modes; any other URL goes by fsspec."""
    assert isinstance(outside_airflow(f"file://{tmp_path}", "clean"), LocalFolder)
    remote = outside_airflow("memory://kept", "clean")
    assert isinstance(remote, RemoteFolder)
    assert str(remote) == "memory://kept/clean"


def test_relative_path() -> None:
    """A relative path is refused: the next try may run in another folder."""
    with pytest.raises(InvalidOptionError, match=r"must be absolute, not 'kept'"):
        outside_airflow("kept", "clean")
