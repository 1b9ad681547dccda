"""The benchmark of engines: a tiny run on a real cluster, so that it can't rot."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import engines
from tests.benchmarks.cases import OURS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.server
@pytest.mark.filterwarnings("default")
def test_quick_run(tmp_path: Path) -> None:
    """Ours and the engine's own best ways give the same results, and figures of each."""
    pytest.importorskip("distributed", reason="The engine dask is not installed: make test ENGINES=1")
    assert engines.main(["--quick", "--only", "dask", "--out", str(tmp_path)]) == 0
    for name in ("dask_items", "dask_argument"):
        result = json.loads((tmp_path / f"{name}.json").read_text())
        assert {case["name"] for case in result["cases"]} == {OURS, "dask itself"}
        assert all(case["samples"] for case in result["cases"])
    assert json.loads((tmp_path / "dask_items.json").read_text())["targets"][0]["value"] > 0


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out, and a line says so."""
    monkeypatch.setitem(engines.ENGINES, "dask", "no_such_module")
    assert "dask is left out: it is not installed" in engines.why_not("dask")
    assert "no_such_module" not in sys.modules
