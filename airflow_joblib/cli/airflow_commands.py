"""What Airflow's command line loads (3.2 and up). Airflow imports this at each of its calls, so it imports little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_joblib.cli.arguments import COMMANDS, DESCRIPTION

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

__all__ = ["get_commands"]


def get_commands() -> list[CLICommand]:
    """Return the group ``airflow joblib`` with its subcommands, none of which is loaded before it is called."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

    subcommands = [
        ActionCommand(
            name=command.name,
            help=command.help,
            description=command.description,
            func=lazy_load_command(f"airflow_joblib.cli.main.{command.name}"),
            args=[Arg(argument.flags, **argument.settings) for argument in command.arguments],  # type: ignore[no-untyped-call]
        )
        for command in COMMANDS
    ]
    return [GroupCommand(name="joblib", help=DESCRIPTION, subcommands=subcommands)]
