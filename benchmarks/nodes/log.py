"""What a node writes: its last lines, and the events among them, as they come.

Knows structlog's lines of JSON; must not know processes.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

_KEPT = 20_000


class NodeLog:
    """The lines of one node over any number of process lives, read in one thread and looked at in others."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._read = 0
        self._changed = threading.Condition()

    @property
    def text(self) -> str:
        """The last lines."""
        return self.since(0)

    def read(self, lines: Iterable[str]) -> Iterator[str]:
        """Keep what `lines` brings until its end, and pass it on."""
        for line in lines:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._read += 1
                self._changed.notify_all()
            yield line

    def since(self, mark: int) -> str:
        """Return what has come since then, as far as it is kept."""
        return "\n".join(self._since(mark))

    def mark(self) -> int:
        """Return how many lines there have been until now, for `since`."""
        with self._changed:
            return self._read

    def events(self, name: str, *, since: int = 0, **fields: object) -> list[dict[str, Any]]:
        """Return the events of that name which have these fields, oldest first."""
        found = []
        for line in self._since(since):
            if name in line and line.startswith("{"):
                event = json.loads(line)
                if event.get("event") == name and all(event.get(key) == value for key, value in fields.items()):
                    found.append(event)
        return found

    def wait_for(self, name: str, deadline: float = 30.0, *, since: int = 0, **fields: object) -> dict[str, Any]:
        """Return the first such event when there is one; raise TimeoutError after `deadline` seconds."""
        end = time.monotonic() + deadline
        while True:
            seen = self.mark()
            found = self.events(name, since=since, **fields)
            if found:
                return found[0]
            with self._changed:
                while self._read == seen:
                    if not self._changed.wait(end - time.monotonic()):
                        last = "\n".join(self.text.splitlines()[-40:])
                        raise TimeoutError(f"no {name!r} {fields} within {deadline} s\n{last}")

    def _since(self, mark: int) -> list[str]:
        with self._changed:
            dropped = self._read - len(self._lines)
            return list(islice(self._lines, max(0, mark - dropped), None))
