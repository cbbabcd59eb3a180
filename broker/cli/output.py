"""What commands print: a table on a terminal, lines with tabs for other programs, JSON, CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from broker.cli.failure import EX_USAGE, CommandFailure

FORMATS: Final = ("table", "pretty_table", "json", "jsonl", "csv")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ListColumn:
    """A column: its title, and the path of its value in a row of the HTTP API."""

    title: str
    path: str


def columns_of(names: Iterable[str], paths: Mapping[str, str]) -> list[ListColumn]:
    """Return columns by their names; `paths` says where those are that RabbitMQ's commands name otherwise."""
    return [ListColumn(name, paths.get(name, name)) for name in names]


def at(row: Row, path: str) -> tuple[bool, Any]:
    """Return whether a row has a value at a path with dots, and the value."""
    if path in row:
        return True, row[path]
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False, None
        value = value[name]
    return True, value


def require_known(rows: Sequence[Row], columns: Iterable[ListColumn], usual: Iterable[str]) -> None:
    """Raise `CommandFailure` for a column that no row has."""
    for column in columns:
        if rows and not any(at(row, column.path)[0] for row in rows) and column.title not in usual:
            raise CommandFailure(
                EX_USAGE,
                f"nothing has a column {column.title!r}: columns are keys of --json, such as {', '.join(usual)}",
            )


def shown(value: Any, *, is_compact: bool = False) -> str:
    """Return a value as one cell of a table; JSON in it has no blanks if it `is_compact`, as RabbitMQ's."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return printable(f"[{', '.join(value)}]")
    if isinstance(value, Mapping | list):
        separators = (",", ":") if is_compact else None
        return printable(json.dumps(value, ensure_ascii=False, separators=separators))
    if isinstance(value, float):
        return f"{value:.10g}"
    return printable(str(value))


def printable(text: str) -> str:
    """Return text without anything that moves a cursor or breaks a line: others choose names."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def write_rows(
    out: TextIO,
    rows: Sequence[Row],
    columns: Sequence[ListColumn],
    style: str,
    *,
    header: bool,
    draws: bool,
    is_compact: bool = False,
) -> None:
    """Write a list in one of `FORMATS`; a table is drawn if it `draws`, otherwise it is lines with tabs."""
    if style in ("json", "jsonl"):
        picked = [{column.title: at(row, column.path)[1] for column in columns} if columns else row for row in rows]
        write_json(out, picked, style)
        return
    cells = [[shown(at(row, column.path)[1], is_compact=is_compact) for column in columns] for row in rows]
    titles = [column.title for column in columns]
    if style == "csv":
        import csv

        csv.writer(out, lineterminator="\n").writerows([titles, *cells] if header else cells)
    elif style == "pretty_table" or draws:
        _draw(out, titles, cells)
    else:
        for line in [titles, *cells] if header else cells:
            out.write("\t".join(line) + "\n")


def write_json(out: TextIO, value: Any, style: str = "json") -> None:
    """Write one document of JSON; as `jsonl` a line for each row of a list, or one line."""
    is_ascii = not _is_unicode(out)
    if style == "jsonl":
        for each in value if isinstance(value, list) else (value,):
            out.write(json.dumps(each, ensure_ascii=is_ascii) + "\n")
        return
    out.write(json.dumps(value, indent=2, ensure_ascii=is_ascii) + "\n")


def in_order(rows: Sequence[Row], column: ListColumn, *, is_reverse: bool) -> list[Row]:
    """Return rows by their values in a column: numbers before texts; those that have none are last."""
    found = [(at(row, column.path)[1], row) for row in rows]
    having = sorted(
        (each for each in found if each[0] is not None), key=lambda each: _place(each[0]), reverse=is_reverse
    )
    return [row for _, row in having] + [row for value, row in found if value is None]


def _place(value: Any) -> tuple[bool, float, str]:
    return (False, value, "") if isinstance(value, int | float) else (True, 0.0, shown(value))


def _is_unicode(out: TextIO) -> bool:
    return (out.encoding or "").lower().replace("-", "") == "utf8"


def _draw(out: TextIO, titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box  # a fifth of a second, where somebody looks
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for title in titles:
        table.add_column(Text(title))
    for line in cells:
        table.add_row(*map(Text, line))
    Console(file=out, highlight=False, soft_wrap=False).print(table)
