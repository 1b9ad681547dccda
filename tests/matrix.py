"""Run the tests on several versions of Airflow, of Python and of what the project needs: ``make matrix``.

::

    ENVIRONMENTS ──► build/matrix/NAME/venv ──► each of PARTS ──► build/matrix/NAME/PART.log
                                                          └─────► build/matrix/results.md, and the exit code

Imports nothing but the standard library: what it needs is uv, beside the interpreter that runs it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["CORNERS", "ENVIRONMENTS", "Environment", "lower_bounds", "main"]

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "matrix"
#: Packages whose versions the table has.
SHOWN = ("apache-airflow", "joblib", "cloudpickle", "numpy", "pandas")
_LOWER_BOUND = re.compile(r"(?P<name>[\w-]+)(?:\[[\w,]+\])?>=(?P<version>[\w.]+)")
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Environment:
    """What the tests run on.

    Attributes:
        name: What ``ONLY=`` calls it.
        python: The version of Python.
        airflow: What is asked for of Airflow.
        options: What else ``uv pip install`` gets; this project itself is always as it is here.
        must_pass: Whether a failure is one of `make matrix`, too.
    """

    name: str
    python: str
    airflow: str
    options: tuple[str, ...] = ()
    must_pass: bool = True


def lower_bounds() -> list[str]:
    """Return the oldest that pyproject.toml admits of what the project and its tests need, Airflow aside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    bounds = [match for match in map(_LOWER_BOUND.match, needed) if match and match["name"] != "apache-airflow"]
    return [f"{bound['name']}=={bound['version']}" for bound in bounds]


#: Airflow's own constraint files need a host of their own, and an old Airflow breaks with new dependencies: it gets
#: what there was on a day shortly after its release.
ENVIRONMENTS = (
    Environment("airflow-3.1", "3.11", "apache-airflow==3.1.8", ("--exclude-newer", "2026-03-15")),
    Environment("airflow-3.2", "3.13", "apache-airflow==3.2.2", ("--exclude-newer", "2026-06-01")),
    Environment("airflow-3.3", "3.12", "apache-airflow==3.3.2", ("--constraints", "constraints.txt")),
    Environment("newest", "3.13", "apache-airflow==3.3.2"),
    Environment("oldest", "3.11", "apache-airflow==3.3.2", tuple(lower_bounds())),
    Environment("pre-release", "3.13", "apache-airflow>=3.4.0b1", ("--prerelease", "allow"), must_pass=False),
)
#: Those that each change is tested on.
CORNERS = ("oldest", "newest")

_PYTEST = ("-m", "pytest", "--quiet")
_AIRFLOW_TESTS = (*_PYTEST, "-m", "not server and not nightly", "-n", "2", "--dist", "loadgroup")
_QUICK_UNIT_TESTS = (*_PYTEST, "-m", "not slow and not nightly", "-n", "4", "--dist", "worksteal")
PARTS: Mapping[str, Sequence[str]] = {
    "unit": (*_PYTEST, "-n", "4", "--dist", "worksteal", "tests/unit"),
    "kit": (*_PYTEST, "-m", "not nightly", "-n", "2", "--dist", "worksteal", "tests/kit"),
    "demo": ("-m", "tests.harness.demo"),
    "integration": (*_AIRFLOW_TESTS, "tests/integration"),
}
#: Those that take a tool which no extra of Python brings, Chromium: only by name.
BY_NAME: Mapping[str, Sequence[str]] = {"ui": (*_PYTEST, "-m", "not nightly", "--no-skips", "tests/ui")}
#: The unit tests of what differs between versions of Python, joblib, cloudpickle, NumPy and psutil.
_VERSIONED = (
    *("pickling", "pools", "system", "wire", "worker", "fan_out/test_input_checks.py", "taskflow/test_termination.py"),
    *("test_failure_table.py", "test_imports.py", "test_internals.py", "test_python_exceptions.py"),
    "test_split_join.py",
)
QUICK_PARTS: Mapping[str, Sequence[str]] = {
    "unit": (*_QUICK_UNIT_TESTS, *(f"tests/unit/{name}" for name in _VERSIONED)),
    # One process: each would start an Airflow of its own.
    "integration": (*_PYTEST, "-m", "not server and not nightly", "tests/integration/test_examples.py"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    options = _parser().parse_args(arguments)
    chosen = options.only or (CORNERS if options.quick else [environment.name for environment in ENVIRONMENTS])
    known = {**(QUICK_PARTS if options.quick else PARTS), **BY_NAME}
    parts = {name: part for name, part in known.items() if name in options.parts}
    results = [Result(environment, parts) for environment in ENVIRONMENTS if environment.name in chosen]
    for result in results:
        result.fill()
    table = "\n".join(_table(results, parts))
    (BUILD / "results.md").write_text(table + "\n", encoding="utf-8")
    _say(f"\n{table}")
    return int(any(result.is_failure for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="matrix", description=__doc__.split("\n\n", maxsplit=1)[0])
    names = [environment.name for environment in ENVIRONMENTS]
    parser.add_argument("--only", nargs="+", choices=names, help="these environments alone")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, *BY_NAME], default=list(PARTS), help="these tests alone")
    parser.add_argument("--quick", action="store_true", help=f"few tests, on {' and '.join(CORNERS)} unless --only")
    return parser


class Result:
    """What came of an environment.

    Args:
        environment: The environment.
        parts: Which tests run, and the arguments of Python that run them.
    """

    def __init__(self, environment: Environment, parts: Mapping[str, Sequence[str]]) -> None:
        self.environment = environment
        self.states: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._parts = parts
        self._folder = BUILD / environment.name
        self._python = self._folder / "venv" / "bin" / "python"

    @property
    def is_failure(self) -> bool:
        """Whether it is one of the whole."""
        return self.environment.must_pass and any(state.startswith("failed") for state in self.states.values())

    def fill(self) -> None:
        """Make the environment and run its tests."""
        interpreter = next(_interpreters(self.environment.python), None)
        if interpreter is None:
            self._note("install", f"skipped: no Python {self.environment.python} here")
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._note("install", self._run("install", *self._installation(interpreter)))
        if not self.states["install"].startswith("passed"):
            return
        self.versions = _installed(self._python)
        for part, arguments in self._parts.items():
            self._note(part, self._run(part, [str(self._python), *arguments]))

    def _installation(self, interpreter: str) -> list[list[str]]:
        """Return the commands that make the environment."""
        uv = str(Path(sys.executable).with_name("uv"))
        wanted = [self.environment.airflow, *self.environment.options, "--editable", ".[test,ui]"]
        return [
            [uv, "venv", "--quiet", "--python", interpreter, str(self._folder / "venv")],
            [uv, "pip", "install", "--quiet", "--python", str(self._python), *wanted],
        ]

    def _run(self, part: str, *commands: list[str]) -> str:
        """Run commands until one fails; return what came of them."""
        log = self._folder / f"{part}.log"
        began = time.monotonic()
        with log.open("wb") as output:
            codes = (_exit_code(command, output.fileno()) for command in commands)
            failed = any(codes)
        minutes = f"{(time.monotonic() - began) / 60:.1f} min"
        return f"failed after {minutes}, see {log.relative_to(ROOT)}" if failed else f"passed, {minutes}"

    def _note(self, part: str, state: str) -> None:
        self.states[part] = state
        _say(f"{self.environment.name}: {part}: {state}")


def _interpreters(version: str) -> Iterator[str]:
    """Yield each interpreter of a version that runs: a shim of pyenv is on the path whether or not there is one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = (shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)))
    code = "import ensurepip, venv"
    for path in filter(None, found):
        if subprocess.run([path, "-c", code], capture_output=True, check=False).returncode == 0:
            yield path


def _exit_code(command: Sequence[str], output: int) -> int:
    # Hundreds of processes load the same modules, so byte code is kept.
    unwanted = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, timeout=_HOUR, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return 1


def _installed(python: Path) -> dict[str, str]:
    code = f"from importlib.metadata import version\nfor name in {SHOWN}: print(name, version(name))"
    lines = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split() for line in lines)


def _table(results: Sequence[Result], parts: Mapping[str, object]) -> Iterator[str]:
    """Yield a table of all in Markdown."""
    head = ["environment", "Python", *SHOWN, "install", *parts]
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for result in results:
        versions = [result.versions.get(name, "") for name in SHOWN]
        states = [result.states.get(part, "not run") for part in ("install", *parts)]
        yield "| " + " | ".join([result.environment.name, result.environment.python, *versions, *states]) + " |"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
