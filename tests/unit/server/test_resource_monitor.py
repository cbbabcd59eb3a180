"""Contract M13, M14."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from broker.server.memory_limit import total_memory
from broker.server.reclaim import Reclaim
from broker.server.resource_monitor import ResourceMonitor, Thresholds, disk_free_octets, resident_octets
from tests.support.clock import FakeClock
from tests.support.descriptors import no_descriptors_left


class Machine:
    """What a node can run out of, as a test wants it."""

    def __init__(self, *, disk_limit: int = 100) -> None:
        self.resident = 0
        self.free = 1_000_000
        self.told: list[str] = []
        self.clock = FakeClock()
        self.reclaimable = [0, 0]
        self.monitor = ResourceMonitor(
            Thresholds(1000, disk_limit),
            self.told.append,
            resident=lambda: self.resident,
            disk_free=lambda: self.free,
            reclaims=[Reclaim(partial(self._reclaim, way), interval=1.0) for way in (0, 1)],
            monotonic=self.clock.monotonic,
        )

    def _reclaim(self, way: int) -> None:
        self.resident -= self.reclaimable[way]
        self.reclaimable[way] = 0

    def sample(self, *, resident: int = 0, free: int = 1_000_000) -> list[str]:
        self.resident, self.free = resident, free
        self.told.clear()
        self.monitor.sample()
        return list(self.told)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize(
    ("resident", "free", "told"),
    [
        (1000, 100, []),
        (1001, 100, ["low on memory"]),
        (1000, 99, ["low on disk"]),
        (1001, 99, ["low on memory & disk"]),
    ],
)
def test_an_alarm_says_what_is_short(machine: Machine, resident: int, free: int, told: list[str]) -> None:
    assert machine.sample(resident=resident, free=free) == told


def test_an_alarm_is_told_once(machine: Machine) -> None:
    assert machine.sample(resident=2000) == ["low on memory"]
    assert machine.sample(resident=3000) == []


def test_an_alarm_ends_only_when_there_is_room_again(machine: Machine) -> None:
    machine.sample(resident=2000)
    assert machine.sample(resident=930) == []
    assert machine.sample(resident=910) == [""]
    assert machine.sample(resident=990) == []


def test_what_can_be_given_back_is_no_shortage(machine: Machine) -> None:
    machine.reclaimable = [500, 0]
    assert machine.sample(resident=1400) == []
    assert machine.resident == 900


def test_one_way_to_give_memory_back_is_tried_after_the_other(machine: Machine) -> None:
    machine.reclaimable = [500, 500]
    assert machine.sample(resident=1200) == []
    assert machine.resident == 700
    machine.clock.advance(1.0)
    machine.reclaimable = [500, 500]
    assert machine.sample(resident=1900) == []
    assert machine.resident == 900


def test_memory_that_was_freed_during_an_alarm_ends_it(machine: Machine) -> None:
    assert machine.sample(resident=2000) == ["low on memory"]
    machine.reclaimable = [1900, 0]
    assert machine.sample(resident=2000) == []
    machine.clock.advance(1.0)
    assert machine.sample(resident=2000) == [""]
    assert machine.resident == 100


def test_the_disk_must_have_room_again_too(machine: Machine) -> None:
    machine.sample(free=50)
    assert machine.sample(free=105) == []
    assert machine.sample(free=110) == [""]


def test_a_second_shortage_changes_the_words(machine: Machine) -> None:
    assert machine.sample(resident=2000) == ["low on memory"]
    assert machine.sample(resident=2000, free=0) == ["low on memory & disk"]
    assert machine.sample(free=0) == ["low on disk"]


def test_without_a_limit_the_disk_is_never_short() -> None:
    assert Machine(disk_limit=0).sample(free=0) == []


def test_the_figures_are_those_of_this_machine(tmp_path: Path) -> None:
    assert 1_000_000 < resident_octets() < total_memory()
    assert disk_free_octets(tmp_path) > 0


def test_the_figures_are_read_without_a_free_descriptor(tmp_path: Path) -> None:
    resident_octets()
    with no_descriptors_left():
        assert resident_octets() > 1_000_000
        assert disk_free_octets(tmp_path) > 0


def test_a_figure_that_cannot_be_read_is_taken_to_be_what_it_was() -> None:
    free = iter([OSError(errno.EIO, "Input/output error"), 50, OSError(errno.EIO, "Input/output error"), 1000])
    resident = iter([MemoryError(), 0, 2000, OSError(errno.EMFILE, "Too many open files")])
    told: list[str] = []
    monitor = ResourceMonitor(
        Thresholds(1000, 100),
        told.append,
        resident=lambda: next_of(resident),
        disk_free=lambda: next_of(free),
    )
    for _ in range(4):
        monitor.sample()
    assert told == ["low on disk", "low on memory & disk", "low on memory"]


def next_of(answers: Iterator[int | Exception]) -> int:
    answer = next(answers)
    if isinstance(answer, Exception):
        raise answer
    return answer
