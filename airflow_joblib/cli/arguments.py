"""The subcommands and their arguments, once for ``python -m airflow_joblib`` and once for ``airflow joblib``.

Airflow imports this at each of its calls, so it imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COMMANDS", "DESCRIPTION", "LONGEST", "Argument", "Command"]

#: Seconds that the loading of a file may take at most: a day.
LONGEST = 86400.0

DESCRIPTION = "Check DAG files with parallel tasks, look after checkpoints, and show what holds here."


class Argument(NamedTuple):
    """An argument of a subcommand.

    Attributes:
        flags: Its names, or the one name where it goes by its place.
        settings: What ``argparse`` takes besides.
    """

    flags: tuple[str, ...]
    settings: Mapping[str, Any]


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        name: Its name, which is that of the function in :mod:`airflow_joblib.cli.main` too.
        help: What it does, in one line.
        description: What more the help has.
        arguments: What it takes.
    """

    name: str
    help: str
    description: str
    arguments: tuple[Argument, ...]


def _format(*choices: str) -> Argument:
    return Argument(("--format",), {"choices": choices, "default": "text", "help": "how to write it (default: text)"})


def _seconds(text: str) -> float:
    """Return the seconds that an argument gives."""
    from argparse import ArgumentTypeError

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST:
        msg = f"seconds are a number above 0, and at most {LONGEST:g}, not {text!r}"
        raise ArgumentTypeError(msg)
    return seconds


COMMANDS = (
    Command(
        "check",
        "Find raw parallelism, and what can't reach a worker, in DAG files",
        "Reads each DAG file, and loads it as an executor does, in a process of its own without a database. Exit code "
        "0: nothing was found; 1: something was; 2: the check could not run. '# noqa: AJ101' silences a line.",
        (
            Argument(
                ("paths",), {"nargs": "*", "metavar": "PATH", "help": "files or folders (default: the DAGs folder)"}
            ),
            _format("text", "json", "github"),
            Argument(
                ("--timeout",),
                {
                    "type": _seconds,
                    "metavar": "SECONDS",
                    "help": "how long the loading of one file may take (default: [core] dagbag_import_timeout)",
                },
            ),
            Argument(("--no-load",), {"action": "store_true", "help": "read the files only: AJ101, AJ102, AJ103"}),
        ),
    ),
    Command(
        "checkpoints",
        "List what tasks with checkpoint=True have kept, or remove it",
        "Lists each checkpoint below a folder or URL: whose it is, how many finished items it has, and when the last "
        "one was added. Loads none of them.",
        (
            Argument(
                ("path",),
                {"nargs": "?", "metavar": "PATH", "help": "folder or URL (default: [joblib] checkpoint_path)"},
            ),
            Argument(("--remove",), {"action": "store_true", "help": "remove those that are listed, after a question"}),
            Argument(
                ("--older-than",),
                {"metavar": "AGE", "help": "only those that nothing was added to for so long: 30m, 12h, 7d, 2w"},
            ),
            Argument(("--yes", "-y"), {"action": "store_true", "help": "don't ask"}),
            _format("text", "json"),
        ),
    ),
    Command(
        "info",
        "Show versions, backends, CPUs, shared memory and configuration: for a report",
        "Shows what holds in this process, and no secret.",
        (_format("text", "json"),),
    ),
)
