"""How long a process would have taken on a machine that does nothing else.

Knows what Linux tells of its scheduler; where it tells nothing, every second counts.
"""

from __future__ import annotations

import os
import time
from pathlib import Path


class OwnTime:
    """Counts the seconds of a process from now on, less as others take the processors from it.

    A second in which the process sleeps counts as much as one in which it works: how much of the processor it gets
    when it wants it tells how much the ones that it waits for get, as they have its priority.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._path = Path(f"/proc/{pid or os.getpid()}/schedstat")
        self._begun = time.monotonic()
        self._ran, self._waited = self._schedule()

    def seconds(self) -> float:
        """Return the seconds since this was made."""
        ran, waited = self._schedule()
        return (time.monotonic() - self._begun) * share(ran - self._ran, waited - self._waited)

    def _schedule(self) -> tuple[int, int]:
        """Return the nanoseconds on a processor, and those in which it waited for one."""
        try:
            ran, waited, _ = self._path.read_text().split()
        except (OSError, ValueError):
            return 0, 0
        return int(ran), int(waited)


def share(ran: int, waited: int) -> float:
    """Return which part of the processor a process got of what it wanted."""
    return ran / (ran + waited) if ran > 0 and waited > 0 else 1.0
