"""One case in an interpreter of its own: ``python -m tests.benchmarks.child SCENARIO NUMBER [--quick]`` prints JSON."""

from __future__ import annotations

import json
import sys

from tests.benchmarks.contenders import NotHereError
from tests.benchmarks.scenarios import SCENARIOS


def _main(name: str, number: str, *options: str) -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    case = scenario.cases("--quick" in options)[int(number)]
    try:
        answer: dict[str, object] = {"samples": case.run()}
    except NotHereError as error:
        answer = {"skipped": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    _main(*sys.argv[1:])
