"""Where a call's files are: a folder of this machine, or one that fsspec reaches."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from airflow_joblib.checkpoint.digests import digest
from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.options.options import environment
from airflow_joblib.system.credentials import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Folder", "LocalFolder", "RemoteFolder", "make", "outside_airflow", "safe_name"]

#: Longest name of a folder, in characters; file systems take 255 bytes.
_LONGEST = 200
_HOME = "{AIRFLOW_HOME}"
_UNSAFE = (
    "The checkpoint in {folder} is not loaded: {why}, and loading it would run whatever they have put there. Nothing "
    "has run. Remove the folder, give it to this user alone (chown, chmod 700), or name another place with checkpoint=."
)
#: How often another task may remove a folder above, empty as yet, before it can be written to.
_RACES = 100


class Folder(Protocol):
    """A folder for the files of checkpoints. Names are plain file names."""

    #: Whether writing may take so long that a run must not wait for it.
    slow: bool

    def check(self) -> None:
        """Check that nobody else can have written what is loaded from here.

        Raises:
            InvalidOptionError: The folder is another user's, or others may write to it.
        """

    def names(self) -> list[str]:
        """Return the names of all files, none if the folder isn't there."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a new file, whole or not at all as far as the storage can; make the folder where it is missing."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def remove_empty(self) -> None:
        """Remove the folder if it is empty, then those above it that were made with it."""


class LocalFolder:
    """A folder of this machine, which only its owner may read.

    Args:
        path: The folder; need not be there yet.
        depth: How many folders, this one included, are a checkpoint's own and go when they are empty.
    """

    slow = False

    def __init__(self, path: Path, depth: int = 1) -> None:
        self.path = path
        self.depth = depth

    def __str__(self) -> str:
        return str(self.path)

    def check(self) -> None:
        """Check that the folder, and those above it that are a checkpoint's own, are this user's alone to write to.

        Raises:
            InvalidOptionError: One isn't. To load a file of someone else's would run what they like.
        """
        for folder in (self.path, *self.path.parents)[: self.depth]:
            try:
                found = folder.stat()
            except OSError:  # it isn't there, or can't be read from either, which is reported then
                continue
            if why := _why_not_ours(found):
                raise InvalidOptionError(_UNSAFE.format(folder=folder, why=why))

    def names(self) -> list[str]:
        """Return the names of all files, none if the folder isn't there."""
        try:
            with os.scandir(self.path) as entries:
                return [entry.name for entry in entries if not entry.is_dir()]
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            PermissionError: It is another user's, or others may write to it.
        """
        with (self.path / name).open("rb") as file:
            if why := _why_not_ours(os.fstat(file.fileno())):
                raise PermissionError(why)
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        """Write a new file under a name of its own, and rename it when it is whole.

        It isn't synced: what the kernel has been given outlives the process, and what a crash of the machine tears is
        found by its checksum.
        """
        temporary = self.path / f"{name}.{secrets.token_hex(4)}.tmp"
        for _ in range(_RACES):
            try:
                _write_private(temporary, data)
                break
            except FileNotFoundError:
                with contextlib.suppress(FileNotFoundError):
                    _make_private(self.path)
        else:
            _write_private(temporary, data)
        temporary.replace(self.path / name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def remove_empty(self) -> None:
        """Remove the folder if it is empty, then those above it that were made with it."""
        with contextlib.suppress(OSError):
            for folder in (self.path, *self.path.parents)[: self.depth]:
                folder.rmdir()


def _why_not_ours(found: os.stat_result) -> str:
    """Return why others can have written a file, or to a folder; empty if they can't."""
    if found.st_uid != os.geteuid():
        return f"it belongs to another user, {found.st_uid}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others than its owner may write to it, mode {stat.S_IMODE(found.st_mode):04o}"
    return ""


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except BaseException:
        path.unlink(missing_ok=True)  # half a file is of no use, and the disk may be full
        raise


def _make_private(path: Path) -> None:
    """Make a folder and what is missing above it, each for the owner alone."""
    if not path.parent.exists():
        _make_private(path.parent)
    with contextlib.suppress(FileExistsError):  # another made it, and may have removed it by now
        path.mkdir(mode=0o700)


class RemoteFolder:
    """A folder that fsspec reaches.

    Files go by its file system rather than by a path's own methods: Airflow's record every file as an asset.

    Args:
        path: A ``UPath`` or Airflow's ``ObjectStoragePath``.
        depth: How many folders, this one included, are a checkpoint's own and go when they are empty.
    """

    slow = True

    def __init__(self, path: Any, depth: int = 1) -> None:
        self.shown = without_credentials(str(path))
        self.files: Any = path.fs
        self.path = str(path.path).rstrip("/")
        self.depth = depth
        #: An object store has buckets and names, but no folders; making one may make the bucket.
        self.has_folders = not str(path.drive).strip("/")

    def __str__(self) -> str:
        return self.shown

    def check(self) -> None:
        """Check nothing: who may write there is the storage's own affair."""

    def names(self) -> list[str]:
        """Return the names of all files, none if the folder isn't there."""
        return [name for name, kind in self._entries(self.path) if kind == "file"]

    def _entries(self, path: str) -> list[tuple[str, str]]:
        self.files.invalidate_cache()  # another process may have written
        try:
            found = self.files.ls(path, detail=True)
        except FileNotFoundError:
            return []
        return [(entry["name"].rstrip("/").rpartition("/")[2], entry["type"]) for entry in found]

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        return bytes(self.files.cat_file(f"{self.path}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a new file; most object stores show it when it is whole."""
        try:
            self.files.pipe_file(f"{self.path}/{name}", data)
        except FileNotFoundError:
            if not self.has_folders:
                raise
            self.files.makedirs(self.path, exist_ok=True)
            self.files.pipe_file(f"{self.path}/{name}", data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(f"{self.path}/{name}")

    def remove_empty(self) -> None:
        """Remove the folder if it is empty, then those above it that were made with it."""
        path = self.path
        for _ in range(self.depth if self.has_folders else 0):
            if not self.files.isdir(path) or self._entries(path):  # some remove a folder with all that is in it
                return
            self.files.rmdir(path)
            path = path.rpartition("/")[0]


def safe_name(text: str) -> str:
    """Return a folder's name for *text*: another for every text, and never ``..`` or a path."""
    quoted = quote(text, safe="").replace("~", "%7E").replace(".", "%2E").replace("%", "=")
    if len(quoted) > _LONGEST:
        return f"{quoted[: _LONGEST - 40]}=={digest(text).hex()}"  # nothing that was quoted has two = in a row
    return quoted or "=="


def make(where: str | os.PathLike[str], names: list[str], remote: Callable[[str], Any]) -> Folder:
    """Return the folder of *names* below the one that an option names.

    Args:
        where: A path, or a URL that fsspec knows.
        names: Names of the folders below it, which may have any character.
        remote: Makes a path object of a URL.

    Raises:
        InvalidOptionError: The path is relative.
        ImportError: What fsspec needs for such a URL is not installed.
    """
    text = os.fspath(where).replace(_HOME, str(airflow_home()))
    parts = [safe_name(name) for name in names]
    url = urlsplit(text) if "://" in text else None
    if url is not None and not (url.scheme in {"file", "local"} and not url.netloc):
        return _remote_folder(text, parts, remote)
    path = Path(url.path if url else text).expanduser()
    if not path.is_absolute():
        msg = (
            f"The path of checkpoints must be absolute, not {text!r}, since a later try may run in another folder. "
            "Write it from the root, or as a URL."
        )
        raise InvalidOptionError(msg)
    return LocalFolder(path.joinpath(*parts), len(parts))


def _remote_folder(url: str, parts: list[str], remote: Callable[[str], Any]) -> RemoteFolder:
    try:
        return RemoteFolder(remote(url).joinpath(*parts), len(parts))
    except Exception as error:
        said = without_credentials(str(error))
        if said == str(error):
            raise
        msg = f"The checkpoints at {without_credentials(url)} can't be had: {type(error).__name__}: {said}"
        raise InvalidOptionError(msg) from None  # the error has a password in its words


def airflow_home() -> Path:
    """Return AIRFLOW_HOME, as Airflow itself finds it."""
    return Path(os.path.expandvars(os.environ.get("AIRFLOW_HOME", "~/airflow"))).expanduser()


def default_path() -> str:
    """Return where checkpoints are unless an option says otherwise."""
    return str(airflow_home() / "joblib_checkpoints")


def outside_airflow(where: str | os.PathLike[str] | None, function: str) -> Folder:
    """Return the folder of a call that no Airflow task makes.

    Args:
        where: The decorator's own path or URL, None for that of the configuration.
        function: Dotted name of the function.

    Raises:
        InvalidOptionError: The path is relative.
        ImportError: What fsspec needs for such a URL is not installed.
    """
    return make(where or environment("checkpoint_path") or default_path(), [function], _upath)


def _upath(url: str) -> Any:
    from upath import UPath

    return UPath(url)
