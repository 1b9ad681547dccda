"""The table, the break-even points and the plots of the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.benchmarks.reach.model import Model, Point, break_even, fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["as_markdown", "fitted", "plot"]

NAMES = {
    "loop": "a loop in one `@task`",
    "threads": "fan-out, `threading`",
    "loky": "fan-out, `loky`",
    "multiprocessing": "fan-out, `multiprocessing`",
    "chunks": "`split`, `.expand` of 2 chunks, `join`",
    "expand": "`.expand` of each item",
    "dask": "fan-out, `dask`, its local cluster",
    "ray": "fan-out, `ray`, its local cluster",
    "spark": "fan-out, `spark`, its local cluster",
    "database": "the metadata database",
    "object storage": "object storage (a folder)",
}
_ITEMS = (0.001, 0.01, 0.1, 1.0, 10.0)


def fitted(points: Iterable[Point]) -> dict[str, Model]:
    """Return the model of each choice that was measured."""
    points = list(points)
    choices = dict.fromkeys(point.choice for point in points)
    return {choice: fit(choice, [point for point in points if point.choice == choice]) for choice in choices}


def as_markdown(models: Mapping[str, Model], xcoms: Mapping[str, Model], reasons: Sequence[str]) -> str:
    """Return what the page includes."""
    lines = [
        "| choice | start | an item | a second of work | a MiB of results | off by |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {NAMES[choice]} | {model.start:.2f} s | {model.item * 1000:.2f} ms | {model.work:.2f} s "
            f"| {model.mebibyte:.3f} s | {model.error:.0%} |"
            for choice, model in models.items()
        ),
        "",
        *(f"- {_plain(reason)}" for reason in reasons),
        "",
        "![Seconds of a run against the number of items of 10 ms](choices.svg)",
        "",
        *_break_evens(models),
        "",
        "| an XCom in | start | a MiB, to write and to read | off by |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {NAMES[store]} | {model.start:.2f} s | {model.mebibyte:.3f} s | {model.error:.0%} |"
            for store, model in xcoms.items()
        ),
        "",
        "![Seconds of two tasks against the size of the XCom between them](xcom.svg)",
    ]
    return "\n".join(lines) + "\n"


def _plain(reason: str) -> str:
    return reason.split(":", maxsplit=1)[0] + "."


def _break_evens(models: Mapping[str, Model]) -> list[str]:
    """Return a table: from how many items one choice takes less time than another."""
    pairs = [
        ("loky", "loop"),
        ("multiprocessing", "loop"),
        ("threads", "loop"),
        ("loky", "expand"),
        ("chunks", "expand"),
        ("dask", "loop"),
        ("dask", "expand"),
    ]
    known = [pair for pair in pairs if set(pair) <= models.keys()]
    head = " | ".join(f"{seconds:g} s" for seconds in _ITEMS)
    lines = [f"| takes less time | than | {head} |", f"| --- | --- |{' ---: |' * len(_ITEMS)}"]
    for one, other in known:
        numbers = [break_even(models[one], models[other], seconds) for seconds in _ITEMS]
        cells = " | ".join("never" if number is None else f"{number:,}" for number in numbers)
        lines.append(f"| {NAMES[one]} | {NAMES[other]} | {cells} |")
    return lines


def plot(points: Sequence[Point], xcoms: Sequence[Point], folder: Path) -> None:
    """Draw the models, and what was measured where the items take 10 ms."""
    series = {choice: (model, "items") for choice, model in fitted(points).items()}
    counts = [10**exponent for exponent in range(5)]
    lines = {choice: (counts, [model.predict(n, 0.01) for n in counts]) for choice, (model, _) in series.items()}
    measured = [(p.choice, p.count, p.took) for p in points if p.seconds == 0.01]
    _draw(lines, measured, "items of 10 ms", folder / "choices.svg")
    sizes = [size / 10 for size in range(1, 1000, 5)]
    stored = {store: (sizes, [m.predict(1, 0, s * (1 << 20)) for s in sizes]) for store, m in fitted(xcoms).items()}
    _draw(stored, [(p.choice, p.size / (1 << 20), p.took) for p in xcoms], "MiB of the XCom", folder / "xcom.svg")


def _draw(lines: Mapping[str, Any], measured: Iterable[tuple[str, float, float]], label: str, file: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from tests.benchmarks.plot import STYLE

    with mpl.rc_context({**STYLE, "axes.spines.right": False}):
        canvas = Figure(figsize=(7, 4), layout="constrained")
        axes = canvas.subplots()
        colors = {}
        for choice, (across, up) in lines.items():
            (line,) = axes.loglog(across, up, label=NAMES[choice].replace("`", ""))
            colors[choice] = line.get_color()
        for choice, across, up in measured:
            axes.plot([across], [up], marker="o", color=colors[choice])
        axes.set_xlabel(label)
        axes.set_ylabel("seconds")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
