"""What people see of a failed item on Airflow's own page of the task's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ui.browser import PATIENCE

if TYPE_CHECKING:
    from tests.harness import AirflowInstance
    from tests.ui.browser import Tabs

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.slow, pytest.mark.nightly]


def test_failed_item(airflow: AirflowInstance, tabs: Tabs) -> None:
    """The page names the item, the error and where it was raised, in the user's own files."""
    airflow.wait_for_dags("failing")
    run_id = airflow.trigger("failing")
    airflow.wait("failing", run_id)
    page = tabs.page()
    page.goto(f"{airflow.url}/dags/failing/runs/{run_id}/tasks/log_in?try_number=1")
    page.wait_for_function("() => document.body.innerText.includes('failed for good')", timeout=PATIENCE)
    shown = page.inner_text("body")
    tabs.picture(page, "log")
    assert "log_in: item 2 (login 2) failed for good: LookupError: no such login: 2" in shown
    assert "failing.py" in shown
    assert "in look_up" in shown
