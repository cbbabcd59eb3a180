"""What a node knows of its machine."""

from __future__ import annotations

import os

from broker.config.configuration import Configuration
from broker.node.watching import Machine
from broker.server.back_pressure import BackPressure
from broker.server.resource_monitor import Thresholds
from tests.support.clock import FakeClock


def test_what_the_process_uses_is_looked_at_once_a_second() -> None:
    clock, pressure = FakeClock(), BackPressure()
    machine = Machine(Configuration(), Thresholds(1 << 40, 1), pressure, clock.monotonic)
    first = machine.figures()
    assert (first.process_id, first.memory_limit, first.is_memory_short) == (os.getpid(), 1 << 40, False)
    assert min(first.memory_used, first.descriptors_used, first.descriptors_total) > 0
    pressure.set_alarm("resources", "low on memory")
    assert machine.figures() is first
    clock.advance(1.0)
    assert machine.figures().is_memory_short
