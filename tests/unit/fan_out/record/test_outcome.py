"""What ``.run()`` returns, and how a notebook draws it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from airflow_joblib import Run, parallel_task

NASTY = "<script>alert('x')</script>&\""


@parallel_task(n_jobs=2, backend="threading", max_failures=3, label=lambda item: f"{NASTY}{item}")
def halve(item: int, by: int = 2) -> int:
    """Refuse odd ones."""
    if item % 2:
        raise ValueError(f"{NASTY} {item}")
    return item // by


@pytest.fixture(scope="module")
def run() -> Run[int]:
    return halve.run(range(6))


def test_run(run: Run[int]) -> None:
    """The results are those of map, with the failures and the record of this run."""
    assert run.results == [0, None, 1, None, 2, None]
    assert [failure["index"] for failure in run.failures] == [1, 3, 5]
    assert run.record["version"] == 1
    (only,) = run.record["runs"]
    assert only["state"] == "success"
    assert only["items"] == {"total": 6, "done": 3, "failed": 3, "skipped": 0, "earlier": 0, "retried": 0}
    assert repr(run) == "<run of halve: 6 items, 3 failed, threading[2]>"


def test_arguments() -> None:
    """Arguments are those of a call; with no item nothing runs."""
    assert halve.run([4], by=4).results == [1]
    empty = halve.run([])
    assert empty.results == []
    assert empty.record["runs"][0]["items"]["total"] == 0
    assert "0 of 0 items" in empty._repr_html_()


def test_picture(run: Run[int]) -> None:
    """The picture is well-formed by itself, asks for nothing from elsewhere and takes no text for code."""
    html = run._repr_html_()
    tree = ET.fromstring(html)
    assert not list(tree.iter("script"))
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} <= {
        *("div", "b", "svg", "rect", "title"),
        *("table", "tr", "th", "td"),
    }
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    text = "".join(tree.itertext())
    assert "3 of 6 items done, 3 failed" in text
    assert f"ValueError{NASTY} 3" in text
    assert f"{NASTY}5" in text


def test_failures_that_are_not_drawn() -> None:
    """Failures beyond those that are drawn are counted, also those that the record has no room for."""
    run = halve.override(max_failures=500).run([1] * 500)
    assert "and 480 more" in run._repr_html_()


def test_failure_is_raised() -> None:
    """A failure that is not tolerated leaves it as it leaves map."""
    with pytest.raises(ValueError, match="alert"):
        halve.override(max_failures=0).run([1])
