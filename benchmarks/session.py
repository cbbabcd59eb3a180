"""One run of the command: the brokers measured, the cores used and the rows collected."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.deliveries import PeerFault
from benchmarks.load import LoadFailed
from benchmarks.options import Options
from benchmarks.results import Row, Values
from benchmarks.run import Progress, measure
from benchmarks.scenario import Scenario
from benchmarks.target import Target, busy_seconds

NOISE_RETRIES = 4


class Reporter(Protocol):
    """Shows the user what is going on."""

    def running(self, text: str, goal: int) -> AbstractContextManager[Progress]:
        """Show the progress of one run; the callable yielded is called with the counts published and consumed."""

    def say(self, text: str) -> None:
        """Print one line."""


def split_cores(available: set[int], pin: bool) -> tuple[set[int], set[int]]:
    """Return the cores for our broker and those for the load; an empty set means any core."""
    if not pin or len(available) < 2:
        return set(), set()
    ordered = sorted(available)
    return {ordered[0]}, {ordered[1]}


def wait_for_quiet(max_noise: float, patience: float) -> None:
    """Wait until other processes use less than `max_noise` of the CPU, for at most `patience` seconds."""
    cores = set(range(os.cpu_count() or 1))
    until = time.monotonic() + patience
    while time.monotonic() < until:
        before, since = busy_seconds(cores), time.monotonic()
        time.sleep(0.3)
        if 100 * (busy_seconds(cores) - before) / (time.monotonic() - since) <= max_noise:
            return


@dataclass(slots=True)
class Session:
    """What every case uses; the first target is the broker under test."""

    options: Options
    targets: list[Target]
    broker_cores: set[int]
    load_cores: set[int]
    reporter: Reporter
    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @staticmethod
    def available_cores() -> set[int]:
        """Return the cores this process may use."""
        return set(os.sched_getaffinity(0))

    @property
    def subject(self) -> Target:
        """The broker under test."""
        return self.targets[0]

    def compare(self, case: str, scenarios: list[Scenario], metrics: list[str]) -> list[Row]:
        """Measure each scenario on the brokers in turn (A B A B), so that noise on the machine affects all alike."""
        rows = []
        for scenario in scenarios:

            def once(target: Target, scenario: Scenario = scenario) -> Values:
                text = f"{scenario.name} · {target.name}"
                with self.reporter.running(text, scenario.limit * scenario.publishers) as progress:
                    return measure(target, scenario, self.load_cores, progress)

            row = self.rounds(Row(case, scenario.name, metrics, x=float(scenario.size)), once)
            if row is not None:
                rows.append(row)
        return rows

    def rounds(self, row: Row, once: Callable[[Target], Values], targets: list[Target] | None = None) -> Row | None:
        """Fill a row round by round; a broker that fails is reported and left out of the row."""
        if self.options.only.lower() not in row.name.lower():
            return None
        failed: set[str] = set()
        for _ in range(self.options.rounds):
            for target in targets or self.targets:
                if target.name in failed:
                    continue
                try:
                    values = self._quietest(target, once)
                except (LoadFailed, OSError, RuntimeError, PeerFault) as error:
                    failed.add(target.name)
                    self.failures.append(f"{row.case} / {row.name} · {target.name}: {error}")
                    self.reporter.say(f"FAILED {self.failures[-1]}")
                    continue
                row.add(target.name, values)
                self.reporter.say(f"{row.name} · {target.name}: {brief(values, row.metrics)}")
        self.rows.append(row)
        return row

    def _quietest(self, target: Target, once: Callable[[Target], Values]) -> Values:
        wait_for_quiet(self.options.max_noise, self.options.patience)
        best = once(target)
        for _ in range(NOISE_RETRIES):
            if best.get("others_percent", 0.0) <= self.options.max_noise:
                break
            wait_for_quiet(self.options.max_noise, self.options.patience)
            best = min(best, once(target), key=lambda values: values.get("others_percent", 0.0))
        return best


def brief(values: Values, metrics: list[str]) -> str:
    """Return the metrics of one run as one line."""
    return ", ".join(f"{metric} {format_value(metric, values[metric])}" for metric in metrics if metric in values)


def format_value(metric: str, value: float) -> str:
    """Format a value with the number of digits that fits its metric and size."""
    if metric.endswith("_ratio"):
        return f"{value:.3f}"
    if metric.endswith(("_ms", "_s", "_kb", "_mib")) and abs(value) < 1000:
        return f"{value:.2f}"
    return f"{value:,.0f}".replace(",", " ")
