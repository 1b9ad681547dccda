"""Transform records: two hundred weather readings as eight stations wrote them, made uniform in parallel.

Shows that what a DAG file defines reaches the workers without further ado: constants, helper functions and a class.
Each record becomes a `Reading` in a worker; the list of them, in input order, is the task's XCom.
"""

from __future__ import annotations

import csv
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).parent / "data" / "weather.csv"
LOCAL_NAMES = {"Lisboa": "Lisbon", "Reykjavík": "Reykjavik"}
TIME_FORMATS = ("%Y-%m-%dT%H:%M", "%d.%m.%Y %H:%M", "%d %b %Y %H:%M")
TO_CELSIUS: dict[str, Callable[[float], float]] = {
    "C": lambda t: t,
    "F": lambda t: (t - 32) * 5 / 9,
    "K": lambda t: t - 273.15,
}
TO_METRES_PER_SECOND = {"m/s": 1, "km/h": 1 / 3.6, "kt": 0.514444}


@dataclass
class Reading:
    """One reading in uniform units; what couldn't be read is None, and named in `unreadable`."""

    id: str
    city: str
    observed_at: str | None = None
    celsius: float | None = None
    humidity: float | None = None
    wind: float | None = None
    unreadable: list[str] = field(default_factory=list)


def city(text: str) -> str:
    """English name of a city, however it was written."""
    name = text.strip().title()
    return LOCAL_NAMES.get(name, name)


def moment(text: str) -> str:
    """ISO form of a moment in any of the formats in use."""
    for time_format in TIME_FORMATS:
        try:
            return datetime.strptime(text, time_format).replace(tzinfo=UTC).isoformat()
        except ValueError:
            continue
    raise ValueError(text)


def quantity(text: str) -> tuple[float, str]:
    """Number and unit, as ``-3,5 °C``."""
    if not (match := re.fullmatch(r"\s*(-?[\d.,]+)\s*°?(\S*)\s*", text)):
        raise ValueError(text)
    return float(match[1].replace(",", ".")), match[2]


def celsius(text: str) -> float:
    """Temperature in any unit."""
    number, unit = quantity(text)
    return round(TO_CELSIUS[unit](number), 1)


def humidity(text: str) -> float:
    """Share, from a share or a percentage."""
    number, unit = quantity(text)
    return number / 100 if unit == "%" else number


def wind(text: str) -> float:
    """Speed in metres a second."""
    number, unit = quantity("0 m/s" if text == "calm" else text)
    return round(number * TO_METRES_PER_SECOND[unit], 1)


READERS = {
    "observed_at": ("observed_at", moment),
    "celsius": ("temperature", celsius),
    "humidity": ("humidity", humidity),
    "wind": ("wind", wind),
}


@task
def read_records() -> list[dict[str, str]]:
    """Every row as it was delivered."""
    with SOURCE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@parallel_task
def clean(record: dict[str, str]) -> dict[str, Any]:
    """Make one record uniform."""
    reading = Reading(record["id"], city(record["city"]))
    for name, (column, read) in READERS.items():
        try:
            setattr(reading, name, read(record[column]))
        except (KeyError, ValueError):
            reading.unreadable.append(column)
    return asdict(reading)


@task
def mean_per_city(readings: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean temperature and wind of each city, warmest first, over what was readable."""
    table = {name: [r for r in readings if r["city"] == name] for name in {r["city"] for r in readings}}
    means = {
        name: {
            "readings": len(rows),
            "celsius": round(mean(r["celsius"] for r in rows if r["celsius"] is not None), 1),
            "wind": round(mean(r["wind"] for r in rows if r["wind"] is not None), 1),
        }
        for name, rows in table.items()
    }
    return dict(sorted(means.items(), key=lambda entry: -entry[1]["celsius"]))


@dag(schedule=None, tags=["airflow-joblib", "example"], doc_md=__doc__)
def transform_records() -> None:
    """Read, clean in parallel, aggregate."""
    mean_per_city(clean(read_records()))


transform_records()
