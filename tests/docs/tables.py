"""Tables of the documentation that say what the code says: ``python -m tests.docs.tables`` writes them anew."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from airflow_joblib.pickling.known_types import KNOWN
from airflow_joblib.taskflow.provider import get_provider_info
from tests.docs.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["TABLES", "updated"]

#: Types of a kind that a table names; a kind may have dozens.
_SHOWN = 4


def _configuration() -> Iterator[Sequence[str]]:
    """Yield the header, and a row for each option of the ``[joblib]`` section."""
    yield "Option", "Environment variable", "Type", "Default", "Meaning"
    for name, option in get_provider_info()["config"]["joblib"]["options"].items():
        variable, meaning = f"`AIRFLOW__JOBLIB__{name.upper()}`", option["description"].replace("``", "`")
        yield f"`{name}`", variable, option["type"], f"`{option['default']}`", meaning


def _culprits() -> Iterator[Sequence[str]]:
    """Yield the header, and a row for each kind of object that is known not to travel."""
    yield "Types, among others", "Why", "What to do instead"
    for (reason, advice), entries in groupby(KNOWN.items(), key=lambda entry: entry[1]):
        names = [name for name, _ in entries]
        full = [name for name in names if not name.endswith(".")]
        packages = [f"{name}*" for name in names if name.endswith(".")]
        shown = ", ".join(f"`{name}`" for name in [*full, *packages][:_SHOWN])
        code = re.sub(r"(\w+=(?:\{\.\.\.\}|\"\w+\"))", r"`\1`", advice)
        yield shown, reason[:1].upper() + reason[1:], code


#: What makes a table, by its page.
TABLES = {
    ROOT / "docs" / "reference" / "configuration.md": _configuration,
    ROOT / "docs" / "how-to" / "mend-not-picklable.md": _culprits,
}


def updated(page: str, rows: Iterable[Sequence[str]]) -> str:
    """Return a page with its table of that header made anew."""
    header, *others = (f"| {' | '.join(cells)} |" for cells in rows)
    rule = "|---" * (header.count(" | ") + 1) + "|"
    table = "\n".join([header, rule, *others, ""])
    done, count = re.subn(rf"^{re.escape(header)}\n(?:\|.*\n)*", lambda _: table, page, flags=re.MULTILINE)
    assert count == 1, header
    return done


if __name__ == "__main__":
    for path, make in TABLES.items():
        path.write_text(updated(path.read_text(encoding="utf-8"), make()), encoding="utf-8")
