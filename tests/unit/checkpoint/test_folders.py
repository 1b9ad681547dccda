"""Folders: private, their own for every name, gone when they are empty; the same on a remote file system."""

from __future__ import annotations

import os
import resource
import signal
import stat
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from airflow_joblib import InvalidOptionError, parallel_task
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


@pytest.mark.parametrize("which", ["dag", "dag/run"])
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_others_may_write(tmp_path: Path, which: str, mode: int) -> None:
    """A folder that others may write to is refused, and one above it that is the checkpoint's own."""
    place = folder(str(tmp_path), "dag", "run")
    place.check()
    place.write("one", b"1")
    place.check()
    (tmp_path / which).chmod(mode)
    with pytest.raises(InvalidOptionError, match=rf"others than its owner may write to it, mode {mode:04o}") as caught:
        place.check()
    assert f"The checkpoint in {tmp_path / which} is not loaded" in str(caught.value)
    assert "Remove the folder" in str(caught.value)


def test_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of another user is refused, and so is a file."""
    place = folder(str(tmp_path), "dag", "run")
    place.write("one", b"1")
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(InvalidOptionError, match="it belongs to another user"):
        place.check()
    with pytest.raises(PermissionError, match="it belongs to another user"):
        place.read("one")


def test_file_of_others(tmp_path: Path) -> None:
    """A file that others may write to is not read."""
    place = folder(str(tmp_path), "dag")
    place.write("one", b"1")
    (tmp_path / "dag" / "one").chmod(0o666)
    with pytest.raises(PermissionError, match="others than its owner may write to it"):
        place.read("one")


def test_nothing_is_unpickled_of_others(tmp_path: Path) -> None:
    """A run with a checkpoint that others may write to fails before anything of it is loaded, and no item runs."""
    ran: list[int] = []

    def work(item: int) -> int:
        ran.append(item)
        if item == 2:
            raise LookupError
        return item

    run = parallel_task(n_jobs=1, checkpoint=str(tmp_path / "kept"))(work)
    with pytest.raises(LookupError):
        run.map(range(3))
    ran.clear()
    (own,) = (tmp_path / "kept").iterdir()
    own.chmod(0o777)
    with pytest.raises(InvalidOptionError, match="Nothing has run"):
        run.map(range(3))
    assert not ran


PASSWORD = "hunter2"


def test_credentials_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder goes by its URL without the password, in errors too."""

    def refuse(url: str) -> UPath:
        raise ValueError(f"no access to {url}")

    with pytest.raises(InvalidOptionError) as caught:
        make(f"sftp://bob:{PASSWORD}@host/kept", ["dag"], refuse)
    assert "sftp://bob:***@host/kept" in str(caught.value)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setattr(UPath("memory://x").__class__, "__str__", lambda _: f"s3://id:{PASSWORD}@bucket/x")
    assert str(make("memory://x", ["dag"], UPath)) == "s3://id:***@bucket/x"
