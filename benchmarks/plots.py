"""Draws results as PNG files. What draws is imported only then: who measures need not have it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.results import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write(rows: list[Row], names: list[str], folder: Path) -> None:
    """Write one picture per case and headline metric. Raises `ModuleNotFoundError` if nothing can draw."""
    import matplotlib as mpl

    mpl.use("Agg")
    for case in dict.fromkeys(row.case for row in rows):
        of_case = [row for row in rows if row.case == case]
        for metric in dict.fromkeys(row.metrics[0] for row in of_case):
            chosen = [row for row in of_case if row.metrics[0] == metric]
            path = folder / f"{case}-{metric}.png".replace(" ", "-")
            if case.startswith("sizes"):
                draw_sizes(chosen, names, metric, path)
            else:
                draw_bars(chosen, names, metric, path)


def draw_bars(rows: list[Row], names: list[str], metric: str, path: Path) -> None:
    """Draw medians side by side, with the spread of the rounds as whiskers."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 1.5 + 0.35 * len(rows) * len(names)))
    height = 0.8 / len(names)
    for number, name in enumerate(names):
        medians = [row.median(name, metric) or 0.0 for row in rows]
        spreads = [row.spread(name, metric) or (0.0, 0.0) for row in rows]
        below = [median - spread[0] for median, spread in zip(medians, spreads, strict=True)]
        above = [spread[1] - median for median, spread in zip(medians, spreads, strict=True)]
        places = [place + number * height for place in range(len(rows))]
        axes.barh(places, medians, height, xerr=[below, above], label=name)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(rows))], [row.name for row in rows])
    axes.invert_yaxis()
    _finish(figure, axes, metric, path)


def draw_sizes(rows: list[Row], names: list[str], metric: str, path: Path) -> None:
    """Draw a metric over the size of the body, both axes logarithmic."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 5))
    for name in names:
        points = [(row.x, row.median(name, metric) or 0.0) for row in rows if row.median(name, metric)]
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([row.x for row in rows], [row.name.split(" ", 1)[1] for row in rows])
    _finish(figure, axes, metric, path)


def _finish(figure: Figure, axes: Axes, metric: str, path: Path) -> None:
    from matplotlib import pyplot

    axes.set_title(f"{path.stem} ({metric})")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
