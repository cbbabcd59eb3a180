"""The last lines of the log, in memory, for who looks at it from elsewhere: bounded by their number and their size.

What is logged holds no passwords and no bodies of messages; a field whose name says otherwise is left out all the same.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from broker.node.printable import printable

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_OWN: Final = ("event", "level", "timestamp", "exc_info", "logger")
_SECRET: Final = ("password", "secret", "token", "authorization", "credential", "cookie")
_LONGEST_EVENT: Final = 300
_LONGEST_FIELD: Final = 300
_MOST_FIELDS: Final = 20


class RecentLogs:
    """Lines of the log by their numbers, which only grow. May be used from any thread."""

    def __init__(self, *, lines: int = 2000, octets: int = 2 << 20) -> None:
        """Keep so many lines, and as many as have so many octets, about."""
        self._most_octets = octets
        self._lines: deque[tuple[int, int, dict[str, Any]]] = deque(maxlen=lines)
        self._octets = 0
        self._number = 0
        self._lock = threading.Lock()

    def add(self, module: str, event: Mapping[str, Any]) -> None:
        """Keep a line: `event` has what structlog's processors have put together before they write it."""
        row = _row(module, event)
        octets = 200 + sum(len(name) + len(value) for name, value in row["fields"].items()) + len(row["event"])
        with self._lock:
            self._number += 1
            if len(self._lines) == self._lines.maxlen:
                self._octets -= self._lines[0][1]
            self._lines.append((self._number, octets, {"number": self._number, **row}))
            self._octets += octets
            while self._octets > self._most_octets:
                self._octets -= self._lines.popleft()[1]

    def read(self, level: str = "info", before: int | None = None, limit: int = 100, text: str = "") -> list[Any]:
        """Return the newest lines first: those that are at least as grave as `level`, have `text` in them, and numbers
        below `before`.
        """
        wanted, part = LEVELS[LEVELS.index(level) :] if level in LEVELS else LEVELS, text.lower()
        with self._lock:
            lines = list(self._lines)
        found: list[Any] = []
        for number, _, row in reversed(lines):
            if len(found) == limit:
                break
            if row["level"] in wanted and (before is None or number < before) and part in _searched(row):
                found.append(row)
        return found


def _row(module: str, event: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, str] = {}
    for name, value in event.items():
        if name not in _OWN and len(fields) < _MOST_FIELDS:
            is_secret = any(each in name.lower() for each in _SECRET)
            fields[name] = "…" if is_secret else _cut(value, _LONGEST_FIELD)
    error = event.get("exc_info")
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple) and len(error) > 1:
        error = error[1]
    if isinstance(error, BaseException):
        fields["error"] = _cut(f"{type(error).__name__}: {error}", _LONGEST_FIELD)
    return {
        "time": str(event.get("timestamp", "")),
        "level": str(event.get("level", "info")),
        "module": module,
        "event": _cut(event.get("event", ""), _LONGEST_EVENT),
        "fields": fields,
    }


def _cut(value: object, length: int) -> str:
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:  # a line that cannot be shown must not fail what it tells of
        text = f"({type(value).__name__})"
    return printable(text[: length - 1] + "…" if len(text) > length else text)


def _searched(row: Mapping[str, Any]) -> str:
    return " ".join((row["event"], row["module"], *row["fields"].values())).lower()
