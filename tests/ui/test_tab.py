"""What people see on the page of a task instance."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.ui.browser import PATIENCE

if TYPE_CHECKING:
    from tests.harness import AirflowInstance
    from tests.ui.browser import Tabs
    from tests.ui.runs import Runs

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.slow]


def text(page: Any) -> str:
    """All text of the tab."""
    return str(page.inner_text(".airflow-joblib"))


def wait_for(page: Any, said: str) -> None:
    """Wait until the tab shows a text."""
    page.wait_for_function(
        "said => document.querySelector('.airflow-joblib')?.innerText.includes(said)", arg=said, timeout=PATIENCE
    )


def test_a_run_that_goes_on(runs: Runs, tabs: Tabs) -> None:
    """A page follows a run from its first seconds to its end without being loaded again, and asks no more then."""
    run_id = runs.ids["running"]
    runs.wait_until_it_runs()
    page = tabs.open("running", run_id)
    wait_for(page, "The task is running")
    tabs.picture(page, "waiting")
    runs.step("begin")
    wait_for(page, "250 of 500")
    assert "about 9.00 s" in text(page)
    tabs.picture(page, "running")
    runs.step("go on")
    wait_for(page, "500 of 500")
    with page.expect_request(lambda request: request.url.endswith("/taskInstances/thumbnail")):
        runs.step("end")
    page.wait_for_function("() => document.querySelector('.airflow-joblib .aj-state-success')")
    while json.loads(page.evaluate(STATE))["state"] != "success":
        page.wait_for_timeout(500)
    page.wait_for_timeout(5_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5_000)
    assert not [url for url in asked if "/xcomEntries/fan_out" in url]


def test_a_task_that_is_tried_again(runs: Runs, tabs: Tabs) -> None:
    """A page follows a task from one try to the next.

    What the first recorded stays until the second starts, and says whose it is. Airflow deletes it then, so earlier
    runs are those of the DAG, and no earlier try is among them.
    """
    page = tabs.open("retried", runs.ids["retried"])
    wait_for(page, "100 of 500")
    assert "try " not in text(page)
    runs.step("fail")
    wait_for(page, "Try 1 failed, and the task will be tried again")
    assert "240 of 500" in text(page)
    assert "Failures (23)" in text(page)
    tabs.picture(page, "tried-again")
    wait_for(page, "Nothing is recorded so far in try 2")
    tabs.picture(page, "second-try-waiting")
    runs.step("record again")
    wait_for(page, "100 of 500")
    assert "· try 2 ·" in text(page)
    assert "tried again" not in text(page)
    tabs.picture(page, "second-try")
    runs.step("end again")
    wait_for(page, "500 of 500")
    page.get_by_role("button", name="Compare with earlier runs").click()
    wait_for(page, "The last runs before this one have no record of this task")
    tabs.picture(page, "second-try-over")


#: The task instance of the page, as the page itself may read it.
STATE = """async () => {
  const [, dag, run] = location.pathname.match("/dags/([^/]+)/runs/([^/]+)/");
  const path = `api/v2/dags/${dag}/dagRuns/${run}/taskInstances/thumbnail`;
  return await (await fetch(new URL(path, document.baseURI))).text();
}"""


def test_a_run_that_failed(runs: Runs, tabs: Tabs) -> None:
    """The last run is shown, earlier ones can be chosen, and its failures be searched, copied and downloaded."""
    page = tabs.open("failed", runs.over("failed"))
    assert "500 of 500" in text(page)
    tabs.picture(page, "failed")
    page.get_by_role("searchbox").fill("timeouterror server")
    wait_for(page, "8 of 23")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert len(rows) == 8
    assert {row["error_type"] for row in rows} == {"builtins.TimeoutError"}
    assert download.value.suggested_filename == "shown-thumbnail-failures.csv"
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON", exact=True).click()
    assert [row["index"] for row in json.loads(download.value.path().read_text())] == [
        int(row["index"]) for row in rows
    ]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy", exact=True).click()
    wait_for(page, "Copied 8 rows")
    assert page.evaluate("navigator.clipboard.readText()").startswith("index,item,")
    page.get_by_role("combobox").select_option(label=page.locator("option").first.inner_text())
    wait_for(page, "60 of 60")


def test_a_real_fan_out(airflow: AirflowInstance, runs: Runs, tabs: Tabs) -> None:
    """What a parallel task has recorded by itself is shown: its items, those that failed, and its four workers.

    The page asks Airflow's server for all of it, and nobody else for anything, as in all tests here.
    """
    page = tabs.open("real", runs.over("real"))
    assert "400 of 400" in text(page)
    assert page.locator(".aj-lane").count() == 4
    assert page.locator(".aj-failures tbody tr").count() > 0
    tabs.picture(page, "real")
    assert [f"{origin}/team" for origin in tabs.origins] == [airflow.url]


def test_earlier_runs(airflow: AirflowInstance, runs: Runs, tabs: Tabs) -> None:
    """What the task did in earlier runs of its DAG is listed when asked for, with links to their tabs."""
    runs.over("failed")
    page = tabs.open("large", runs.over("large"))
    page.get_by_role("button", name="Compare with earlier runs").click()
    link = page.locator(f"a[href*='{runs.ids['failed'].split('+')[0].replace(':', '%3A')}']")
    link.scroll_into_view_if_needed()
    tabs.picture(page, "earlier-runs")
    link.click()
    wait_for(page, "Failures (23)")


def test_a_hundred_thousand_items(runs: Runs, tabs: Tabs) -> None:
    """A large run is a picture like any other; how long that took stands beside the pictures."""
    page = tabs.open("large", runs.over("large"))
    assert "100,000 of 100,000" in text(page)
    assert "The record holds the first 100 of 140 failures" in text(page)
    page.wait_for_function("() => window.pictured !== undefined")
    milliseconds = page.evaluate(
        """() => {
          const script = performance.getEntriesByType("resource").find((entry) => entry.name.includes("main.umd.cjs"));
          return {from_the_address: window.pictured, from_the_tab: window.pictured - script.startTime};
        }"""
    )
    (tabs.pictures / "milliseconds.json").write_text(json.dumps(milliseconds))
    tabs.picture(page, "large")


def test_with_the_keyboard(runs: Runs, tabs: Tabs) -> None:
    """The timeline is one stop of the Tab key; arrow keys lead through it, and each part is read out."""
    page = tabs.open("failed", runs.over("failed"))
    timeline = page.get_by_role("group", name="4 workers over")
    timeline.focus()
    said = page.locator(".airflow-joblib [aria-live=polite].aj-hidden")
    assert said.inner_text().startswith("Item ")
    before = said.inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert said.inner_text() != before
    assert "worker 1" in said.inner_text()
    assert page.get_by_role("tooltip", include_hidden=True).is_visible()
    tabs.picture(page, "keyboard")
    page.keyboard.press("Escape")
    assert said.inner_text() == ""


def test_with_the_pointer(runs: Runs, tabs: Tabs) -> None:
    """A part of the timeline says its item, label, seconds and worker when the pointer is over it."""
    page = tabs.open("failed", runs.over("failed"))
    page.locator(".aj-span-failed").nth(3).hover()
    tip = page.get_by_role("tooltip", include_hidden=True)
    assert "failed" in tip.inner_text()
    assert "worker" in tip.inner_text()
    tabs.picture(page, "pointer")


#: The least of red, green and blue that the title has.
DARKEST = """() => {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.fillStyle = getComputedStyle(document.querySelector(".airflow-joblib h2")).color;
  canvas.fillRect(0, 0, 1, 1);
  return Math.min(...canvas.getImageData(0, 0, 1, 1).data);
}"""


def test_in_the_dark(runs: Runs, tabs: Tabs) -> None:
    """The tab follows Airflow's dark mode."""
    page = tabs.open("failed", runs.over("failed"), dark=True)
    assert page.evaluate(DARKEST) > 200
    tabs.picture(page, "dark")


def test_a_narrow_window(runs: Runs, tabs: Tabs) -> None:
    """Nothing is cut off in a narrow window."""
    page = tabs.open("failed", runs.over("failed"))
    page.set_viewport_size({"width": 900, "height": 1400})
    wide = page.evaluate("(e => e.scrollWidth > e.clientWidth + 1)(document.querySelector('.airflow-joblib'))")
    tabs.picture(page, "narrow")
    assert not wide


def test_a_mapped_instance(runs: Runs, tabs: Tabs) -> None:
    """Each mapped instance has a record of its own, and the task as a whole leads to its instances."""
    run_id = runs.over("mapped")
    page = tabs.open("mapped", run_id, map_index=1)
    assert "60 of 60" in text(page)
    tabs.picture(page, "mapped")
    page = tabs.open("mapped", run_id)
    wait_for(page, "This task is mapped")
    page.locator(".aj-instances a").nth(2).click()
    wait_for(page, "60 of 60")
    assert "/mapped/2/" in page.url
    tabs.errors[:] = [error for error in tabs.errors if "404" not in error]  # Airflow's own page asks for it


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "This task made no fan-out"),
        ("elsewhere", "s3://xcoms/shown/run/thumbnail/fan_out"),
        ("later", "The record's version is 7"),
        ("killed", "The task ended before the run did"),
    ],
)
def test_states(runs: Runs, tabs: Tabs, name: str, said: str) -> None:
    """What is the case is said in words: no record, one stored elsewhere, one of a later version, one cut short."""
    page = tabs.open(name, runs.over(name))
    wait_for(page, said)
    tabs.picture(page, name)


def test_a_link_that_explains(airflow: AirflowInstance, runs: Runs, tabs: Tabs) -> None:
    """Who finds the tab empty is led to a page that says what would be there."""
    page = tabs.open("empty", runs.over("empty"))
    with page.expect_popup() as popup:
        page.get_by_role("link", name="What a fan-out is").click()
    assert popup.value.locator("h1").inner_text() == "Fan-outs in Airflow"


def test_no_rights(runs: Runs, tabs: Tabs) -> None:
    """Who may not read XComs is told so."""
    page = tabs.open("no rights", runs.over("no rights"))
    wait_for(page, "You may not read the XComs of this DAG")
    tabs.picture(page, "no-rights")
    assert tabs.errors
    assert all("403" in error for error in tabs.errors)
    tabs.errors.clear()  # the browser's own


def test_a_server_that_does_not_answer(runs: Runs, tabs: Tabs) -> None:
    """The page says so, tries again by itself, and goes on when the server is back; who is signed out is told."""
    entries = "**/xcomEntries**"
    page = tabs.open("failed", runs.over("failed"), route=(entries, lambda route: route.abort()))
    wait_for(page, "The server does not answer")
    tabs.picture(page, "no-answer")
    page.unroute(entries)
    wait_for(page, "500 of 500")
    refused = (entries, lambda route: route.fulfill(status=401, body="{}"))
    page = tabs.open("failed", runs.ids["failed"], route=refused)
    wait_for(page, "You are signed out")
    tabs.errors.clear()  # the browser's own
