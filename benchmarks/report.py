"""Results as tables on the terminal and as JSON."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results import NOT_COMPARED, Row
from benchmarks.session import Session, format_value


def environment(session: Session) -> dict[str, Any]:
    """Return the facts about machine, brokers and options that a reader needs to compare figures."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_cores": sorted(session.load_cores),
        "load_average_before": os.getloadavg()[0],
        "rounds": session.options.rounds,
        "seconds": session.options.seconds,
        "brokers": [
            {"name": t.name, "product": t.product, "address": str(t.address), "cores": t.cores()}
            for t in session.targets
        ],
    }


def cpu_model() -> str:
    """Return the name of the processor from /proc, or a substitute where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def as_json(session: Session, about: dict[str, Any]) -> str:
    """Return every round of every row, with medians and ratios."""
    names = [target.name for target in session.targets]
    rows = [
        {
            "case": row.case,
            "name": row.name,
            "rounds": row.rounds,
            "median": {n: {m: row.median(n, m) for m in row.metrics} for n in names if n in row.rounds},
            "ratio": {n: {m: row.ratio(names[0], n, m) for m in row.metrics} for n in names[1:]},
        }
        for row in session.rows
    ]
    return json.dumps({"environment": about, "rows": rows, "failures": session.failures}, indent=1)


def tables(rows: list[Row], names: list[str]) -> list[Table]:
    """Return one table per case: medians, half the spread of the rounds, and the ratio to each peer."""
    made = []
    for case in dict.fromkeys(row.case for row in rows):
        table = Table(title=case, title_justify="left")
        table.add_column("row")
        table.add_column("metric")
        for name in names:
            table.add_column(name, justify="right")
            if name != names[0]:
                table.add_column(f"× {name}", justify="right")
        for row in [row for row in rows if row.case == case]:
            for number, metric in enumerate(row.metrics):
                cells = table_cells(row, metric, names)
                if any(cells):
                    table.add_row(row.name if number == 0 else "", metric, *cells)
            table.add_section()
        made.append(table)
    return made


def table_cells(row: Row, metric: str, names: list[str]) -> list[str]:
    """Return the cells of one metric; the ratio to a peer stands after the peer's figure."""
    cells = []
    for name in names:
        median, spread = row.median(name, metric), row.spread(name, metric)
        cell = "" if median is None else format_value(metric, median)
        if median and spread and spread[0] != spread[1] and metric not in NOT_COMPARED:
            cell += f" ±{50 * (spread[1] - spread[0]) / median:.0f}%"
        cells.append(cell)
        if name != names[0]:
            ratio = row.ratio(names[0], name, metric)
            cells.append("" if ratio is None else f"{ratio:.2f}")
    return cells


def write(session: Session, about: dict[str, Any]) -> Path:
    """Print the tables and write `result.json`, `table.txt` and plots; return their folder."""
    folder = session.options.output / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(as_json(session, about))
    made = tables(session.rows, [target.name for target in session.targets])
    with (folder / "table.txt").open("w") as file:
        for console in (Console(width=None if sys.stdout.isatty() else 120), Console(file=file, width=120)):
            for target in session.targets:
                console.print(target.describe(), highlight=False, soft_wrap=True)
            for table in made:
                console.print(table)
            console.print("× is how many times better than the peer: above 1 we are better, whatever the metric")
            for failure in session.failures:
                console.print(f"FAILED {failure}", markup=False)
    return folder
