"""Watches what a node can run out of: memory and disk (contract M13, M14)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from broker.machine.faults import LastKnown
from broker.server.reclaim import Reclaim

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_INTERVAL: Final = 1.0
_HYSTERESIS: Final = 0.92


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When there is an alarm: octets of resident memory, octets free on the store's disk (0 for never)."""

    memory: int
    disk_free: int


class ResourceMonitor:
    """Looks once a second, and tells which alarm there is."""

    def __init__(
        self,
        thresholds: Thresholds,
        on_change: Callable[[str], None],
        *,
        resident: Callable[[], int],
        disk_free: Callable[[], int],
        reclaims: Sequence[Reclaim] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_change` gets RabbitMQ's words: `low on memory`, `low on disk`, both, or nothing.

        `reclaims` are tried one after the other when memory is short, before that is said and as long as it is so.
        A figure that cannot be read is taken to be what it was.
        """
        self._thresholds = thresholds
        self._on_change = on_change
        self._resident = LastKnown("resident memory", resident, 0)
        self._disk_free = LastKnown("free space on the store's disk", disk_free, thresholds.disk_free)
        self._reclaims = reclaims
        self._monotonic = monotonic
        self._reason = ""

    def sample(self) -> None:
        """Look at the figures now. An alarm ends only when there is some room again."""
        thresholds = self._thresholds
        memory = thresholds.memory * (_HYSTERESIS if "memory" in self._reason else 1)
        disk = thresholds.disk_free / (_HYSTERESIS if "disk" in self._reason else 1)
        short = ["memory"] if self._is_resident_above(memory) else []
        if thresholds.disk_free and self._disk_free() < disk:
            short.append("disk")
        reason = f"low on {' & '.join(short)}" if short else ""
        if reason != self._reason:
            self._reason = reason
            self._on_change(reason)

    def _is_resident_above(self, limit: float) -> bool:
        """Is more than that resident, though what can be given back is given back?"""
        if self._resident() <= limit:
            return False
        return not any(reclaim.attempt(self._monotonic) and self._resident() <= limit for reclaim in self._reclaims)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_INTERVAL)


def resident_octets() -> int:
    """Return how much memory this process has resident. Needs no descriptor but the one that the first call opens."""
    return int(os.pread(_statm(), 128, 0).split()[1]) * _PAGE


@cache
def _statm() -> int:
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def disk_free_octets(folder: Path) -> int:
    """Return how much an unprivileged process may still write where `folder` lies."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
