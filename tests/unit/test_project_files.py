"""What is written down twice, for tools that read files of their own, is the same in both places."""

from __future__ import annotations

import re

from tests import matrix

PRE_COMMIT = matrix.ROOT / ".pre-commit-config.yaml"
WORKFLOWS = matrix.ROOT / ".github" / "workflows"


def test_versions_of_hooks() -> None:
    """A commit is checked with the versions that ``make check`` has."""
    pinned = set((matrix.ROOT / "constraints.txt").read_text().splitlines())
    hooks = re.findall(r"additional_dependencies: \[(.+)\]", PRE_COMMIT.read_text())
    assert len(hooks) == PRE_COMMIT.read_text().count("- id: ")
    assert set(hooks) <= pinned


def test_workflow_of_versions() -> None:
    """The workflow has a job for each environment of ``make matrix``, with its Python."""
    jobs = re.findall(r"\{environment: (\S+), python: \"(\S+)\"\}", (WORKFLOWS / "versions.yml").read_text())
    assert jobs == [(environment.name, environment.python) for environment in matrix.ENVIRONMENTS]


def test_workflow_of_changes() -> None:
    """Each change runs ``.ci/run`` on every Python that is supported."""
    workflow = (WORKFLOWS / "change.yml").read_text()
    pythons = sorted({environment.python for environment in matrix.ENVIRONMENTS})
    assert re.findall(r'"(3\.\d+)"', workflow) == pythons
    assert "- run: .ci/run\n" in workflow


def test_hook_for_others() -> None:
    """The hook that other repositories may take calls the check, once for all files."""
    hooks = (matrix.ROOT / ".pre-commit-hooks.yaml").read_text()
    assert "- id: airflow-joblib-check\n" in hooks
    assert "entry: python -m airflow_joblib check\n" in hooks
    assert "require_serial: true" in hooks
