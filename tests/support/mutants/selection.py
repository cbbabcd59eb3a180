"""Which tests run which lines, learned by running them once under coverage.

Knows pytest and coverage; the tests of a changed line are the ones that can notice the change.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import coverage
import pytest

from tests.support.mutants.own_time import OwnTime

IMPORTED: Final = ""
"""The context of lines that run when a module is imported: any of its tests may notice a change there."""


class Recording:
    """A plugin of pytest: tells coverage which test runs, and how long each took."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._coverage = coverage.Coverage(
            data_file=None, include=list(modules), config_file=False, concurrency=["thread", "greenlet"]
        )
        self._seconds: dict[str, float] = {}
        self._failed: list[str] = []

    def start(self) -> None:
        """Begin to record; modules that are imported later are recorded too."""
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._coverage.switch_context(item.nodeid)
        own_time = OwnTime()
        try:
            return (yield)
        finally:
            self._seconds[item.nodeid] = own_time.seconds()
            self._coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.append(report.nodeid)

    def stop(self) -> Selection:
        """Return what was learned. Raises `ValueError` when a test failed on the unchanged code."""
        self._coverage.stop()
        if self._failed:
            raise ValueError(f"these tests fail on the unchanged code: {', '.join(self._failed)}")
        data = self._coverage.get_data()
        lines = {file: data.contexts_by_lineno(file) for file in data.measured_files()}
        return Selection(self._seconds, lines)


class Selection:
    """Chooses the tests for a change."""

    def __init__(self, seconds: dict[str, float], lines: dict[str, dict[int, list[str]]]) -> None:
        self._seconds = seconds
        self._lines = lines

    def seconds_of(self, tests: Iterable[str]) -> float:
        """Return how long some of the tests took."""
        return sum(self._seconds[test] for test in tests)

    def tests_of(self, file: str, first: int, last: int) -> list[str]:
        """Return the tests that run a line of `first` to `last`, the quickest first."""
        contexts: dict[int, list[str]] = self._lines.get(file, {})
        names = {name for line in range(first, last + 1) for name in contexts.get(line, ())}
        if IMPORTED in names:
            names.update(self._seconds)
        return sorted(names - {IMPORTED}, key=lambda name: (self._seconds[name], name))

    def within(self, root: Path) -> Selection:
        """Return the same with files named as seen from the folder `root`."""
        resolved = root.resolve()
        lines = {Path(file).resolve().relative_to(resolved).as_posix(): of for file, of in self._lines.items()}
        return Selection(self._seconds, lines)

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` makes the same of."""
        lines: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for file, contexts in self._lines.items():
            for line, names in contexts.items():
                lines[file][str(line)] = names
        return {"seconds": self._seconds, "lines": lines}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Selection:
        """Return what `as_json` was asked of."""
        lines = {file: {int(line): names for line, names in of.items()} for file, of in kept["lines"].items()}
        return cls(kept["seconds"], lines)

    def save(self, path: Path) -> None:
        """Keep it in a file, so that another process can use it."""
        path.write_text(json.dumps(self.as_json()))

    @classmethod
    def load(cls, path: Path) -> Selection:
        """Return what `save` has kept."""
        return cls.from_json(json.loads(path.read_text()))

    @classmethod
    def joined(cls, parts: Iterable[Selection]) -> Selection:
        """Return what several runs of different tests have taught together."""
        seconds: dict[str, float] = {}
        lines: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for part in parts:
            seconds |= part._seconds
            for file, contexts in part._lines.items():
                for line, names in contexts.items():
                    lines[file][line] = lines[file][line] + names
        return cls(seconds, lines)
