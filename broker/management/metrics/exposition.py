"""Prometheus' text format, version 0.0.4, written by hand: a library takes fifteen times as long, in one piece.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LINES: Final = 500
"""Lines that are joined at once: about a quarter of a millisecond."""
_ESCAPED: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Column(NamedTuple):
    """A family of metrics: `kind` is `counter`, `gauge`, `untyped` or `histogram`."""

    name: str
    kind: str
    help: str


def labels(values: Mapping[str, str]) -> str:
    """Return labels as they stand behind the name of a metric."""
    if not values:
        return ""
    return "{" + ",".join([f'{name}="{value.translate(_ESCAPED)}"' for name, value in values.items()]) + "}"


def head(prefix: str, column: Column) -> str:
    """Return the lines that stand before the samples of a family."""
    name = prefix + column.name
    return f"# TYPE {name} {column.kind}\n# HELP {name} {column.help}\n"


def family(prefix: str, column: Column, samples: Iterable[tuple[str, float]]) -> str:
    """Return a family with few samples, each with its labels."""
    name = prefix + column.name
    return head(prefix, column) + "".join([f"{name}{label} {value}\n" for label, value in samples])


def one(prefix: str, column: Column, value: float) -> str:
    """Return a family with one sample that has no labels."""
    return family(prefix, column, [("", value)])


def many(prefix: str, column: Column, label: Sequence[str], values: Sequence[float]) -> Iterator[str]:
    """Yield the parts of a family with many samples: `label` has the labels of each."""
    name = prefix + column.name
    yield head(prefix, column)
    for start in range(0, len(values), _LINES):
        part = zip(label[start : start + _LINES], values[start : start + _LINES], strict=True)
        yield "".join([f"{name}{each} {value}\n" for each, value in part])


def histogram(
    prefix: str, column: Column, bounds: Sequence[str], counts: Sequence[int], total: float, label: str = ""
) -> str:
    """Return a histogram: `counts` has one number for each of `bounds`, and one for what is above all of them."""
    name = prefix + column.name
    inside = label[1:-1] + "," if label else ""
    lines = [head(prefix, column)]
    below = 0
    for bound, count in zip((*bounds, "+Inf"), counts, strict=True):
        below += count
        lines.append(f'{name}_bucket{{{inside}le="{bound}"}} {below}\n')
    lines.append(f"{name}_count{label} {below}\n{name}_sum{label} {total}\n")
    return "".join(lines)
