"""What the documentation takes from the code, so that the two can't drift apart.

``joblib-configuration``: the ``[joblib]`` section, from what the provider tells Airflow. ``known-culprits``: the types
that are known not to travel. And signatures that the code spells with stars, those of the options from their record.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from airflow_joblib.options import Options
from airflow_joblib.picklability.known_types import KNOWN
from airflow_joblib.taskflow.provider import get_provider_info

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from docutils import nodes
    from sphinx.application import Sphinx

#: Types of a kind that a table names; a kind may have dozens.
_SHOWN = 4


class _Table(SphinxDirective):
    """A directive whose content is a table made from the code. Strictly private."""

    header: ClassVar[Sequence[str]]

    def rows(self) -> Iterable[Sequence[str]]:
        """Return the cells of each row, as Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the table as part of the page."""
        rules = ["---"] * len(self.header)
        lines = [f"| {' | '.join(cells)} |" for cells in (self.header, rules, *self.rows())]
        self.content = StringList(lines, source=self.get_source_info()[0])
        return self.parse_content_to_nodes()


class ConfigurationTable(_Table):
    """The options of the ``[joblib]`` section."""

    header = ("Option", "Environment variable", "Type", "Default", "Meaning")

    def rows(self) -> Iterable[Sequence[str]]:
        """Return a row for each option that the provider declares."""
        for name, option in get_provider_info()["config"]["joblib"]["options"].items():
            variable = f"`AIRFLOW__JOBLIB__{name.upper()}`"
            yield f"`{name}`", variable, option["type"], f"`{option['default']}`", option["description"]


class KnownCulprits(_Table):
    """The kinds of objects that are known not to travel."""

    header = ("Types, among others", "Why", "What to do instead")

    def rows(self) -> Iterable[Sequence[str]]:
        """Return a row for each kind."""
        for (reason, advice), entries in groupby(KNOWN.items(), key=lambda entry: entry[1]):
            names = [name for name, _ in entries]
            full = [name for name in names if not name.endswith(".")]
            packages = [f"{name}*" for name in names if name.endswith(".")]
            shown = ", ".join(f"`{name}`" for name in [*full, *packages][:_SHOWN])
            yield shown, _sentence(reason), re.sub(r"(\w+=(?:\{\.\.\.\}|\"\w+\"))", r"`\1`", advice)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _signature(_app: object, _what: str, name: str, *_: Any) -> tuple[str, str] | None:
    """Spell out what the code itself takes as ``*args`` and ``**options``."""
    if name == "airflow_joblib.ParallelTask.__call__":
        return "(items, *args, **kwargs)", ""
    if name == "airflow_joblib.parallel_task":
        options = ", ".join(f"{entry.name}={_default(entry)}" for entry in fields(Options))
        return f"(function=None, /, *, {options}, **task_options)", ""
    return None


def _default(entry: Any) -> str:
    return "None" if entry.default is MISSING else repr(entry.default)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx what is here."""
    app.add_directive("joblib-configuration", ConfigurationTable)
    app.add_directive("known-culprits", KnownCulprits)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True}
