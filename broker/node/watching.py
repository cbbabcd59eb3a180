"""Builds what operators see of an incarnation: its figures, and the samples of them."""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from broker import __version__
from broker.broker import Broker
from broker.clock import Clock
from broker.config.configuration import Configuration
from broker.management.figures.sampler import Sampler
from broker.management.figures.view import MachineFigures, NodeView
from broker.node.descriptors import rooms
from broker.ports.records import GlobalParameterRecord
from broker.server.back_pressure import BackPressure
from broker.server.memory_limit import total_memory
from broker.server.resource_monitor import Thresholds, disk_free_octets, resident_octets
from broker.store.journal import GroupCommitJournal

_LOOK_AGAIN: Final = 1.0
"""Seconds for which what the machine says is taken to be still so."""


class Machine:
    """What the process uses of its machine."""

    def __init__(
        self,
        config: Configuration,
        thresholds: Thresholds,
        pressure: BackPressure,
        monotonic: Callable[[], float],
    ) -> None:
        path = config.store_url.path
        self._folder = path.resolve().parent if path is not None else Path.cwd()
        self._sockets = rooms(config).clients.descriptors
        self._thresholds = thresholds
        self._pressure = pressure
        self._monotonic = monotonic
        self._total = total_memory()
        self._figures = MachineFigures()
        self._looked_at = -_LOOK_AGAIN

    def figures(self) -> MachineFigures:
        """Return what the process uses, as it was a second ago at the most."""
        now = self._monotonic()
        if now - self._looked_at >= _LOOK_AGAIN:
            self._looked_at = now
            self._figures = self._look()
        return self._figures

    def _look(self) -> MachineFigures:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        disk_free = descriptors = 0
        with suppress(OSError):
            disk_free = disk_free_octets(self._folder)
        with suppress(OSError):
            descriptors = len(os.listdir("/proc/self/fd"))
        return MachineFigures(
            memory_used=resident_octets(),
            memory_limit=self._thresholds.memory,
            memory_total=self._total,
            is_memory_short=self._pressure.is_memory_short,
            disk_free=disk_free,
            disk_limit=self._thresholds.disk_free,
            is_disk_short="disk" in self._pressure.alarm,
            descriptors_used=descriptors,
            descriptors_total=1 << 20 if soft == resource.RLIM_INFINITY else soft,
            sockets_total=self._sockets,
            processors=os.cpu_count() or 1,
            process_id=os.getpid(),
        )


def new_view(
    config: Configuration,
    node_id: str,
    broker: Broker,
    clock: Clock,
    thresholds: Thresholds,
    pressure: BackPressure,
    journal: GroupCommitJournal,
    global_parameters: Mapping[str, GlobalParameterRecord],
) -> tuple[NodeView, Sampler]:
    """Return what is seen of a node that begins now, and what takes samples of it."""
    view = NodeView(
        broker,
        node_id,
        version=__version__,
        named=partial(_named, global_parameters),
        started_ms=clock.wall_ms(),
        now_ms=clock.wall_ms,
        machine=Machine(config, thresholds, pressure, clock.monotonic).figures,
        platform=f"Python {platform.python_version()}",
        store=lambda: {"disk_reads": 0, "disk_writes": journal.counters.inserted},
    )
    sampler = view.history = Sampler(view)
    return view, sampler


def _named(parameters: Mapping[str, GlobalParameterRecord], name: str) -> str:
    record = parameters.get(name)
    value = "" if record is None else json.loads(record.value)
    return value if isinstance(value, str) else ""
