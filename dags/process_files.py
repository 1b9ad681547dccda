"""Process files: texts read, analysed and written in parallel, one small JSON file each.

Shows a context parameter (``run_id``, filled in in every worker), an argument shared by all items (``output``), and a
file that can't be read becoming a record that says so, while the others are processed.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

TEXTS = Path(__file__).parent / "data" / "texts"
OUTPUT = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "text_statistics"


def words(text: str) -> list[str]:
    """Words in lower case."""
    return re.findall(r"[a-z]+(?:\u2019[a-z]+)?", text.lower())


FILLERS = set(
    words(
        "a all and as at be but by can do for from had have he her his i in is it me more my no not of on one or our "
        "say see she shall so some that the thee them then there this thou thy to was we were what when will with you"
    )
)


def sentences(text: str) -> int:
    """How many sentences, roughly."""
    return max(1, len(re.findall(r"[.!?]+(?=\W|$)", text)))


def syllables(word: str) -> int:
    """How many syllables, roughly: groups of vowels, less a silent e."""
    return max(1, len(re.findall(r"[aeiouy]+", word)) - (word.endswith("e") and not word.endswith("le")))


def readability(text: str) -> float:
    """Flesch reading ease: 100 is easy, below 30 is hard."""
    found = words(text)
    per_sentence = len(found) / sentences(text)
    per_word = sum(map(syllables, found)) / len(found)
    return round(206.835 - 1.015 * per_sentence - 84.6 * per_word, 1)


def statistics(text: str) -> dict[str, Any]:
    """What is told of a text."""
    found = words(text)
    telling = Counter(word for word in found if word not in FILLERS)
    ranked = sorted(telling.items(), key=lambda entry: (-entry[1], entry[0]))
    return {"words": len(found), "different": len(set(found)), "ease": readability(text), "frequent": dict(ranked[:5])}


@task
def list_texts() -> list[dict[str, str]]:
    """The catalogue, with where each file should be; one of them was never delivered."""
    with (TEXTS / "catalogue.csv").open(encoding="utf-8", newline="") as file:
        return [row | {"path": str(TEXTS / row["file"])} for row in csv.DictReader(file)]


@parallel_task
def analyse(entry: dict[str, str], output: str, run_id: str | None = None) -> dict[str, Any]:
    """Analyse one text and write the result to a folder of this run."""
    path = Path(entry["path"])
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return {"title": entry["title"], "error": f"{type(error).__name__}: {path.name}"}
    result = {"title": entry["title"], "author": entry["author"], **statistics(text)}
    target = Path(output, str(run_id), path.with_suffix(".json").name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, ensure_ascii=False, indent=2), encoding="utf-8")
    return result | {"file": str(target)}


@task
def rank(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Titles from the easiest to the hardest to read, and those that couldn't be read."""
    read = sorted((r for r in results if "error" not in r), key=lambda r: -r["ease"])
    return {
        "easiest_first": [f"{r['title']} ({r['ease']})" for r in read],
        "words": sum(r["words"] for r in read),
        "unread": [f"{r['title']}: {r['error']}" for r in results if "error" in r],
    }


@dag(schedule=None, tags=["airflow-joblib", "example"], doc_md=__doc__)
def process_files() -> None:
    """List, analyse in parallel, rank."""
    rank(analyse(list_texts(), output=str(OUTPUT)))


process_files()
