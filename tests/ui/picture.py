"""Make the picture of the documentation again: the tab over a real run of a DAG that ``make demo UI=1`` runs too.

``python -m tests.ui.picture``, with Chromium and the extra ``ui``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.harness import AirflowInstance
from tests.harness.demo import SHOWN, tab_address

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "fan-out-tab.png"


def main() -> None:
    """Run the DAG and take the picture."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        airflow = AirflowInstance(Path(folder), [SHOWN])
        with airflow, sync_playwright() as driver:
            airflow.wait_for_dags("gallery")
            run = airflow.run_dag("gallery")
            path = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
            page = browser.new_page(viewport={"width": 1280, "height": 1180})
            page.goto(tab_address(airflow, run, "thumbnail"))
            page.wait_for_selector(".airflow-joblib .aj-timeline", timeout=90_000)
            page.wait_for_timeout(1_000)
            PICTURE.parent.mkdir(exist_ok=True)
            page.screenshot(path=PICTURE)
            browser.close()


if __name__ == "__main__":
    main()
