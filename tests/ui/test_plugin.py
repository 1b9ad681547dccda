"""What Airflow is given of the tab, without a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from airflow import plugins_manager
from airflow.api_fastapi.core_api.datamodels.task_instances import TaskInstanceResponse

import airflow_joblib.ui
from airflow_joblib.taskflow.dag.operator import ParallelOperator

BUNDLE = Path(airflow_joblib.ui.__file__).parent / "dist" / "main.umd.cjs"
_PRINTS = """
import json, sys
import airflow.configuration, airflow.plugins_manager
before = set(sys.modules)
from airflow_joblib.ui.plugin import JoblibPlugin
print(json.dumps({
    "loaded": sorted(name for name in set(sys.modules) - before if not name.startswith("airflow_joblib")),
    "fastapi_apps": [app["url_prefix"] for app in JoblibPlugin.fastapi_apps],
    "react_apps": JoblibPlugin.react_apps,
}))
"""


def plugin(home: Path, **environment: str) -> dict[str, list[object]]:
    """What the plugin has in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _PRINTS],
        env={**os.environ, "AIRFLOW_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_tab(tmp_path: Path) -> None:
    """The tab is on the page of a task instance, its script below Airflow's base path; loading it loads little."""
    found = plugin(tmp_path, AIRFLOW__API__BASE_URL="https://airflow.example/team/")
    (tab,) = found["react_apps"]
    assert isinstance(tab, dict)
    assert tab["destination"] == "task_instance"
    assert tab["bundle_url"].startswith("/team/airflow-joblib/main.umd.cjs?v=")
    assert tab["applies_to"] == {"operator_name": ["@task.parallel", "ParallelOperator"]}
    assert found["fastapi_apps"] == ["/airflow-joblib"]
    assert not [name for name in found["loaded"] if str(name).split(".")[0] in ("fastapi", "starlette", "joblib")]


def test_whose_tab(tmp_path: Path) -> None:
    """The tab is limited by a field that the REST API gives of a task instance, to what our operator has there."""
    (tab,) = plugin(tmp_path)["react_apps"]
    assert isinstance(tab, dict)
    assert tab["applies_to"].keys() <= TaskInstanceResponse.model_fields.keys()
    assert ParallelOperator.custom_operator_name in tab["applies_to"]["operator_name"]
    # Airflow 3.4 and later look at it themselves; those before leave it alone.
    check = getattr(plugins_manager, "_validate_applies_to", lambda *_: True)
    assert check("airflow_joblib", given := dict(tab), "react_app")
    assert given == tab


def test_turned_off(tmp_path: Path) -> None:
    """``[joblib] tab = False`` leaves nothing of it."""
    found = plugin(tmp_path, AIRFLOW__JOBLIB__TAB="False")
    assert found["react_apps"] == []
    assert found["fastapi_apps"] == []


def test_the_bundle() -> None:
    """The bundle is small, asks nobody but the server, and needs React alone of the page."""
    script = BUNDLE.read_text(encoding="utf-8")
    assert len(script) < 300_000
    assert "https://" not in script.replace("https://react.dev", "")
    assert "AirflowPlugin" in script
    for name in ("ReactDOM", "ReactJSXRuntime", "ChakraUI", "innerHTML"):
        assert name not in script
