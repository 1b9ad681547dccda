"""What the documentation shows does what it says."""

from __future__ import annotations

import doctest
import inspect
import json
import os
import re
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.examples import PAGES, ROOT, Example, examples

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = [page for page in PAGES if any(example.is_plain for example in examples(page))]
#: Pages that show tests of the test kit, with the DAG files that these are about.
OF_KIT = [page for page in PAGES if any((example.place or "").startswith("tests/") for example in examples(page))]
#: The same file on two pages counts once: its DAG would be a duplicate.
DAG_FILES = list({one.code: one for page in PAGES for one in examples(page) if one.needs_airflow}.values())
_DOCTEST = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

#: Imports files as Airflow does, each under a made-up name, and prints what became of them as JSON.
_IMPORT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(dag_folder=sys.argv[1])
tasks = {dag.fileloc: sorted(dag.task_ids) for dag in bag.dags.values()}
print(json.dumps({"errors": bag.import_errors, "tasks": tasks}))
"""


def test_there_are_examples() -> None:
    """The extractor finds plain examples, sessions and DAG files."""
    found = [example for page in PAGES for example in examples(page)]
    assert {example.language for example in found} == {"python", "pycon"}
    assert ROOT / "README.md" in PLAIN
    assert len(DAG_FILES) >= 5


@pytest.mark.parametrize("page", PLAIN, ids=lambda page: str(page.relative_to(ROOT)))
def test_plain_examples_run(page: Path) -> None:
    """The examples of a page that need no Airflow run one after another, and print what the page says."""
    had_airflow = "airflow" in sys.modules
    # As a script: what __main__ defines reaches worker processes by value, like what a DAG file defines.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for example in examples(page):
        if example.language == "pycon":
            _run_session(example, namespace)
        elif example.is_plain:
            _run_code(example, namespace)
    for value in namespace.values():
        if isinstance(value, sqlite3.Connection):  # what a page opens at its top level it has no place to close
            value.close()
    assert had_airflow or "airflow" not in sys.modules


def _run_code(example: Example, namespace: dict[str, Any]) -> None:
    """Run the code of an example, then the tests that it defines."""
    known = set(namespace)
    padded = "\n" * (example.line - 1) + example.code  # so that a traceback has the line of the page
    exec(compile(padded, str(example.page), "exec"), namespace)
    for name in namespace.keys() - known:
        if name.startswith("test_"):
            namespace[name]()


def _run_session(example: Example, namespace: dict[str, Any]) -> None:
    session = doctest.DocTestParser().get_doctest(example.code, {}, example.name, str(example.page), example.line - 1)
    session.globs = namespace
    told: list[str] = []
    doctest.DocTestRunner(optionflags=_DOCTEST).run(session, out=told.append, clear_globs=False)
    assert not told, "".join(told)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow makes of the DAG files of all pages."""
    folder = tmp_path_factory.mktemp("dags")
    for number, example in enumerate(DAG_FILES):
        (folder / f"example_{number}.py").write_text(example.code, encoding="utf-8")
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT, str(folder)],
        env=_environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW_"))}
    return {
        **kept,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }


@pytest.mark.parametrize("number", range(len(DAG_FILES)), ids=lambda number: DAG_FILES[number].name)
def test_dag_files_import(number: int, imported: dict[str, Any]) -> None:
    """Every DAG file that a page shows is imported without an error, and defines the tasks that its call makes."""
    file = f"example_{number}.py"
    errors = {path: error for path, error in imported["errors"].items() if path.endswith(file)}
    assert not errors, f"{DAG_FILES[number].name}: {errors}"
    if re.search(r"^(@dag|with DAG)\(", DAG_FILES[number].code, re.MULTILINE):
        assert any(path.endswith(file) for path in imported["tasks"])


@pytest.mark.parametrize("page", OF_KIT, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_the_kit_run(page: Path, tmp_path: Path) -> None:
    """The tests that a page shows pass, in the files that it names."""
    for example in examples(page):
        if example.place is not None:
            file = tmp_path / example.place
            file.parent.mkdir(exist_ok=True)
            file.write_text(example.code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "tests"]
    kept = {name: value for name, value in _environment(tmp_path / "airflow").items() if "PYTEST" not in name}
    done = subprocess.run(command, env=kept, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_readme_dag_is_short() -> None:
    """The DAG on the README's first screen is complete, has under 15 lines, and tells its XCom."""
    dag = next(example for example in examples(ROOT / "README.md") if example.needs_airflow)
    assert len(dag.code.splitlines()) < 15
    assert "its XCom is [2, 0]" in dag.code


def test_readme_and_index_show_the_same_dag() -> None:
    """The front page of the documentation shows the README's DAG."""
    first, second = (examples(page)[0].code for page in (ROOT / "README.md", ROOT / "docs" / "index.md"))
    assert first == second


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link is a file of the repository, and its fragment a heading there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, fragment in re.findall(r"\]\((?!https?:)([^)#]+)(?:#([^)]+))?\)", text):
        assert (ROOT / target).exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", (ROOT / target).read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_public_name_is_in_the_reference() -> None:
    """What ``airflow_joblib.__all__`` has, the reference documents by a directive of its own."""
    import airflow_joblib

    reference = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    documented = set(re.findall(r"^\.\. auto\w+:: airflow_joblib\.(\w+)$", reference, re.MULTILINE))
    assert set(airflow_joblib.__all__) <= documented


def test_every_name_of_the_kit_is_in_the_reference() -> None:
    """What ``airflow_joblib.testing.__all__`` has, the reference documents by a directive of its own."""
    from airflow_joblib import testing

    reference = (ROOT / "docs" / "reference" / "testing.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. auto\w+:: airflow_joblib\.testing\.(\w+)$", reference, re.MULTILINE)
    assert sorted(testing.__all__) == sorted(documented)


def test_every_option_is_told_of() -> None:
    """The options that this version has are in the README's table; those it has not are named in its status."""
    from airflow_joblib import parallel_task
    from airflow_joblib.options.options import option_names

    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.strip("`") for row in rows for name in row.split(", ")} == set(option_names())
    docstring = inspect.getdoc(parallel_task) or ""
    assert all(f"{name}:" in docstring for name in option_names())
