"""The subcommands. Each ends the process: with 0, 1 where something was found, or 2 where it could not run."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from airflow_joblib.cli.arguments import COMMANDS, DESCRIPTION, LONGEST
from airflow_joblib.system.credentials import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["check", "checkpoints", "info", "main"]

FOUND, COULD_NOT = 1, 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``python -m airflow_joblib``."""
    parser = argparse.ArgumentParser(prog="python -m airflow_joblib", description=DESCRIPTION)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    functions = {"check": check, "checkpoints": checkpoints, "info": info}
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.description)
        for argument in command.arguments:
            subparser.add_argument(*argument.flags, **argument.settings)
        subparser.set_defaults(function=functions[command.name])
    given = parser.parse_args(arguments)
    sys.exit(given.function(given))


def check(given: argparse.Namespace) -> NoReturn:
    """Check DAG files."""
    with _answer() as out:
        sys.exit(_check(given, out))


def _check(given: argparse.Namespace, out: TextIO) -> int:
    from airflow_joblib.cli import files
    from airflow_joblib.cli.check import check as check_files
    from airflow_joblib.cli.formats import FORMATS
    from airflow_joblib.system.cpu_count import count
    from airflow_joblib.taskflow.airflow_internals import conf

    paths = [Path(path) for path in given.paths] or [files.dags_folder()]
    if missing := [str(path) for path in paths if not (path.is_file() or path.is_dir())]:
        sys.stderr.write(f"airflow-joblib: There is no file or folder {', '.join(missing)}.\n")
        return COULD_NOT
    seconds = given.timeout or conf.getfloat("core", "dagbag_import_timeout")
    if not 0 < seconds <= LONGEST:  # Airflow takes none, or less, for no limit
        seconds = LONGEST
    found = list(files.dag_files(paths))
    findings = check_files(found, count(), seconds, load=not given.no_load)
    out.write(FORMATS[given.format](findings))
    if given.format == "text":
        sys.stderr.write(f"{_counted(len(findings), 'finding')} in {_counted(len(found), 'DAG file')}.\n")
    return FOUND if findings else 0


def checkpoints(given: argparse.Namespace) -> NoReturn:
    """List or remove checkpoints."""
    with _answer() as out:
        from airflow_joblib.cli import checkpoints

        sys.exit(checkpoints.run(given, out))


def info(given: argparse.Namespace) -> NoReturn:
    """Show what holds here."""
    with _answer() as out:
        from airflow_joblib.cli import info

        out.write(info.FORMATS[given.format](info.collect()))
        sys.exit(0)


@contextmanager
def _answer() -> Iterator[TextIO]:
    """Give the standard output, and end with one line where something goes wrong that nobody has foreseen."""
    try:
        with _output() as out:
            yield out
    except Exception as error:  # noqa: BLE001 - exit code 1 would say that something was found
        said = without_credentials(" ".join(str(error).split()))
        sys.stderr.write(f"airflow-joblib: {type(error).__name__}{': ' if said else ''}{said}\n")
        sys.exit(COULD_NOT)


@contextmanager
def _output() -> Iterator[TextIO]:
    """Give the standard output, for the answer alone: what Airflow logs to it goes to the error stream meanwhile."""
    if sys.stdout is None:
        msg = "The standard output is closed."
        raise OSError(msg)
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="backslashreplace") as out:
        os.dup2(2, 1)
        try:
            yield out
        finally:
            sys.stdout.flush()
            os.dup2(out.fileno(), 1)
            out.flush()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
