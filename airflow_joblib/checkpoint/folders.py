"""Where a call's files are: a folder of this machine, or one that fsspec reaches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from airflow_joblib.checkpoint.digests import digest
from airflow_joblib.checkpoint.local_folder import LocalFolder
from airflow_joblib.checkpoint.remote_folder import RemoteFolder
from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.options.options import environment
from airflow_joblib.system.credentials import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Folder", "make", "outside_airflow", "safe_name", "shown_name"]

#: Longest name of a folder, in characters; file systems take 255 bytes.
_LONGEST = 200
_HOME = "{AIRFLOW_HOME}"


class Folder(Protocol):
    """A folder for the files of checkpoints. Names are plain file names."""

    #: Whether writing may take so long that a run must not wait for it.
    slow: bool

    def root(self) -> Folder:
        """Return the folder below which this one and those of other calls are."""
        ...

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


def safe_name(text: str) -> str:
    """Return a folder's name for *text*: another for every text, and never ``..`` or a path."""
    quoted = quote(text, safe="").replace("~", "%7E").replace(".", "%2E").replace("%", "=")
    if len(quoted) > _LONGEST:
        return f"{quoted[: _LONGEST - 40]}=={digest(text).hex()}"  # nothing that was quoted has two = in a row
    return quoted or "=="


def shown_name(name: str) -> str:
    """Return the text that :func:`safe_name` has made a folder's name of; of a long one its beginning."""
    text, cut, _ = name.partition("==")
    return unquote(text.replace("=", "%")) + ("…" if cut and text else "")


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
        shown = without_credentials(str(error))
        if shown == str(error):
            raise
        msg = f"The checkpoints at {without_credentials(url)} can't be had: {type(error).__name__}: {shown}"
        raise InvalidOptionError(msg) from None  # the error has a password in its words


def airflow_home() -> Path:
    """Return AIRFLOW_HOME, as Airflow itself finds it."""
    return Path(os.path.expandvars(os.environ.get("AIRFLOW_HOME", "~/airflow"))).expanduser()


def default_path() -> str:
    """Return where checkpoints are unless an option sets another place."""
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
