"""The command, as a user calls it: in processes of its own, with an Airflow that has no database."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version

from airflow_joblib.checkpoint import Checkpoint, call_key
from airflow_joblib.checkpoint.folders import make
from airflow_joblib.cli.main import main

pytestmark = pytest.mark.integration

CHECKED = Path(__file__).parent / "checked_dags"
EXPECTED = re.compile(r"#.*?\b(AJ\d+)\b")
#: Modules that the group of commands must not load, as each call of `airflow` would.
HEAVY = {"joblib", "cloudpickle", "airflow_joblib.decorator", "airflow_joblib.taskflow.airflow_internals"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files to check."""
    found = Path(shutil.copytree(CHECKED, tmp_path_factory.mktemp("checked") / "dags"))
    (found / "broken.py.txt").rename(found / "broken.py")
    return found


def call(home: Path, *command: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")}
    return subprocess.run(
        [sys.executable, *command],
        env={**kept, "AIRFLOW_HOME": str(home), **more},
        cwd=cwd or home,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def checked(home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the check says about the folder."""
    command = ("-m", "airflow_joblib", "check", "dags", "--format", "json", "--timeout", "10")
    return call(home, *command, cwd=folder.parent)


@pytest.fixture(scope="module")
def findings(checked: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert checked.returncode == 1, checked.stderr
    found: list[dict[str, Any]] = json.loads(checked.stdout)
    return found


FILES = sorted(file.name.removesuffix(".txt") for file in CHECKED.iterdir() if file.is_file())


@pytest.mark.parametrize("name", FILES)
def test_findings(name: str, folder: Path, findings: list[dict[str, Any]]) -> None:
    """Each file has the findings that its comments name, in those lines, and no others."""
    found = [(row["line"], row["code"]) for row in findings if row["file"] == f"dags/{name}"]
    lines = (folder / name).read_text().splitlines()
    expected = [(line, code) for line, text in enumerate(lines, 1) for code in EXPECTED.findall(text)]
    expected = [each for each in expected if "noqa" not in lines[each[0] - 1]]
    assert sorted(set(found)) == expected


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("culprits", "one → global 'save' → global 'conn' (sqlite3.Connection)"),
        ("culprits", "Did you mean 'item_retries'?"),
        ("needs_variable", "set AIRFLOW_VAR_..."),
        ("missing_package", "No module named 'no_such_package'"),
        ("hangs", "can't be loaded in 10 s"),
        ("exits", "SystemExit"),
        ("odd_error", "can't be loaded here: OddError. An executor"),
        ("dies", "its process ends with exit code 0"),
    ],
)
def test_messages(file: str, words: str, findings: list[dict[str, Any]]) -> None:
    """A message says what is wrong and what to do."""
    assert any(words in row["message"] for row in findings if row["file"] == f"dags/{file}.py")


def test_columns(folder: Path, findings: list[dict[str, Any]]) -> None:
    """An option is pointed at where it stands."""
    options = [row for row in findings if row["code"] == "AJ203"]
    for row in options:
        text = (folder.parent / row["file"]).read_text().splitlines()[row["line"] - 1]
        assert re.match(r"\w+=", text[row["column"] - 1 :])


def test_leaves_nothing(folder: Path, checked: subprocess.CompletedProcess[str]) -> None:
    """A check writes nothing into the folder, and what files print is not seen."""
    assert not list(folder.rglob("__pycache__"))
    assert "print" not in checked.stdout + checked.stderr
    assert "last words" not in checked.stdout + checked.stderr


def test_airflow_has_the_command(home: Path, folder: Path) -> None:
    """From 3.2 on ``airflow joblib check`` is the same; a file that needs a Variable gets it by the environment."""
    if tuple(map(int, airflow_version.split(".")[:2])) < (3, 2):
        pytest.skip("Airflow 3.1 has no commands of providers")
    files = [str(folder / name) for name in ("sound.py", "needs_variable.py", "beside.py")]
    airflow = str(Path(sys.executable).with_name("airflow"))
    done = call(home, airflow, "joblib", "check", *files, AIRFLOW_VAR_LIMIT="3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings in 2 DAG files." in done.stderr


def test_command_is_light(home: Path) -> None:
    """What each call of ``airflow`` imports of this library is small."""
    code = """
import sys
from airflow_joblib.cli.airflow_commands import get_commands
before = set(sys.modules)
[group] = get_commands()
print(group.name, *[command.name for command in group.subcommands])
print(*(name for name in sys.modules if name.startswith(("airflow_joblib", "joblib", "cloudpickle"))))
"""
    done = call(home, "-c", code)
    named, loaded = (set(line.split()) for line in done.stdout.splitlines()[-2:])
    assert named == {"joblib", "check", "checkpoints", "info"}
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["check", "missing.py"], "There is no file or folder missing.py."),
        (["check", os.devnull], "There is no file or folder /dev/null."),
        (["checkpoints", "--older-than", "soon"], "An age is a number and a unit"),
        (["checkpoints", "relative"], "must be absolute"),
    ],
)
def test_could_not_run(command: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What can't be done ends with exit code 2, and says why."""
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    assert said in capfd.readouterr().err


def test_info(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """``info`` shows versions, backends, CPUs and where each option comes from, and no secret."""
    monkeypatch.setenv("AIRFLOW__JOBLIB__CHECKPOINT_PATH", "s3://user:secret@bucket/path")
    said = {}
    for form in ("text", "json"):
        with pytest.raises(SystemExit) as caught:
            main(["info", "--format", form])
        assert caught.value.code == 0
        said[form] = capfd.readouterr().out
        assert "secret" not in said[form]
    found = json.loads(said["json"])
    assert found["packages"]["joblib"]
    assert found["backends"]["auto"].startswith("forked workers")
    assert found["cpus"]["this process may use"] >= 1
    assert found["configuration"]["memory_budget"]["value"] == "256"
    assert found["configuration"]["memory_budget"]["source"] in {"default", "airflow.cfg"}  # which Airflow may write
    assert found["configuration"]["checkpoint_path"]["source"] == "environment"
    assert "(environment)" in said["text"]


def test_info_with_a_wrong_count(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """``info`` shows a ``LOKY_MAX_CPU_COUNT`` that is no number, rather than to fail by it."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "two")
    with pytest.raises(SystemExit) as caught:
        main(["info", "--format", "json"])
    assert caught.value.code == 0
    cpus = json.loads(capfd.readouterr().out)["cpus"]
    assert cpus["LOKY_MAX_CPU_COUNT"] == "two"
    assert "can't be counted" in cpus["why"]


@pytest.mark.parametrize("seconds", ["inf", "1e9", "-1", "nan", "0", "soon"])
def test_timeouts_that_are_none(seconds: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A limit of time that can't be kept is an error of usage."""
    with pytest.raises(SystemExit) as caught:
        main(["check", "--timeout", seconds])
    assert caught.value.code == 2
    assert "seconds are a number above 0" in capfd.readouterr().err


def test_loop_of_links(tmp_path: Path, home: Path) -> None:
    """A link to a folder above is left out and named; the rest is checked, with what ``.airflowignore`` says."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "back").symlink_to(tmp_path)
    raw = "from airflow.sdk import dag, task\nfrom multiprocessing import Pool\n@task\ndef run(): Pool()\n"
    for name in ("top.py", "in/one.py", "in/other.py"):
        (tmp_path / name).write_text(raw)
    (tmp_path / ".airflowignore").write_text("other.py\n")
    done = call(home, "-m", "airflow_joblib", "check", "--no-load", "--format", "json", str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert [row["file"] for row in json.loads(done.stdout)] == [
        str(tmp_path / name) for name in ("in/one.py", "top.py")
    ]
    assert f"{tmp_path / 'in' / 'back'} is left out" in done.stderr


def test_file_that_cannot_be_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that can't be read is a finding, and the others are checked."""
    (tmp_path / "a.py").symlink_to("/proc/self/mem")
    (tmp_path / "b.py").write_text("from airflow.sdk import dag\n1 +\n")
    with pytest.raises(SystemExit) as caught:
        main(["check", "--no-load", "--format", "json", *map(str, sorted(tmp_path.iterdir()))])
    rows = json.loads(capfd.readouterr().out)
    found = [(row["code"], Path(row["file"]).name) for row in rows]
    assert (caught.value.code, found) == (1, [("AJ901", "a.py"), ("AJ901", "b.py")])
    assert "OSError" in rows[0]["message"]


@pytest.mark.parametrize("to", [">&-", "> /dev/full"])
def test_no_room_for_the_answer(to: str, home: Path) -> None:
    """An answer that can't be written ends with exit code 2 and one line."""
    done = call(
        home, "-c", f"import os; os.execl('/bin/sh', 'sh', '-c', '{sys.executable} -m airflow_joblib info {to}')"
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("airflow-joblib: OSError: ")


def test_checkpoints(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """``checkpoints`` lists what is kept, and removes it if it is told to without a question."""

    def run(*more: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["checkpoints", str(tmp_path), *more])
        out, err = capfd.readouterr()
        return caught.value.code, out, err

    checkpoint = Checkpoint(make(tmp_path, ["a_dag", "a_run", "a_task", "single"], str), call_key("f", {}))
    checkpoint.add([1, 2], [1, 2])
    checkpoint.flush()
    code, out, err = run("--remove")
    assert re.match(r"a_dag / a_run / a_task: 2 finished items, the last \d+ [sm] ago, in ", out)
    assert code == 2
    assert "nobody to ask" in err
    assert run("--remove", "--yes", "--older-than", "1d")[:2] == (0, "There are no checkpoints.\n")
    code, out, _ = run("--remove", "--yes", "--format", "json")
    assert code == 0
    assert [row["items"] for row in json.loads(out)] == [2]
    assert not list(tmp_path.iterdir())


def test_checkpoints_below_another_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Folders above a checkpoint's own stay, even empty; one checkpoint can be named; what isn't there is an error."""

    def run(path: Path, *more: str) -> tuple[object, list[Any]]:
        with pytest.raises(SystemExit) as caught:
            main(["checkpoints", str(path), "--format", "json", *more])
        out = capfd.readouterr().out
        return caught.value.code, json.loads(out) if out else []

    root = tmp_path / "data" / "kept"
    for names in (["a_dag", "a_run", "a_task", "single"], ["a_dag", "a_run", "a_task", "7"], ["a.function"]):
        checkpoint = Checkpoint(make(root, names, str), call_key("f", {}))
        checkpoint.add([1, 2], [1, 2])
        checkpoint.flush()
    one = root / "a_dag" / "a_run" / "a_task" / "7"
    code, rows = run(one, "--remove", "--yes")
    assert (code, [row["owner"] for row in rows]) == (0, [["a_dag", "a_run", "a_task", "7"]])
    assert not one.exists()
    assert one.with_name("single").exists()
    code, rows = run(tmp_path, "--remove", "--yes")
    assert (code, sorted(len(row["owner"]) for row in rows)) == (0, [1, 4])
    assert root.exists()
    assert not list(root.iterdir())
    assert run(tmp_path / "missing") == (2, [])
