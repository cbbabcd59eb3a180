"""One heap for everything that has a deadline: contract C2, C10."""

from __future__ import annotations

import asyncio
import errno

import pytest

from broker.server.timers import Timers
from tests.support.clock import FakeClock
from tests.support.virtual_loop import VirtualClock, in_virtual_time


class Alarm:
    """Goes off at its deadline, then `every` so many seconds; keeps when."""

    def __init__(self, deadline: float | None, *, every: float = 0.0) -> None:
        self.deadline = deadline
        self.every = every
        self.rang: list[float] = []

    def next_deadline(self) -> float | None:
        return self.deadline

    def on_time(self, now: float) -> None:
        self.rang.append(now)
        self.deadline = now + self.every if self.every else None


class Putoff(Alarm):
    """Has a deadline that is always later than `quiet_until`, as a client that is heard of every moment."""

    def __init__(self, now: float) -> None:
        super().__init__(now + 10.0)
        self.looks = 0

    def on_time(self, now: float) -> None:
        self.looks += 1
        if self.deadline is not None and now >= self.deadline:
            super().on_time(now)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(monotonic=1000.0)


@pytest.fixture
def timers(clock: FakeClock) -> Timers:
    return Timers(clock.monotonic)


def test_each_is_called_at_its_deadline_in_the_order_of_time(timers: Timers) -> None:
    first, second = Alarm(1001.0), Alarm(1002.0)
    timers.watch(second)
    timers.watch(first)
    timers.run_due(1000.9)
    assert (first.rang, second.rang) == ([], [])
    timers.run_due(1001.0)
    assert (first.rang, second.rang) == ([1001.0], [])
    timers.run_due(1002.0)
    assert (first.rang, second.rang) == ([1001.0], [1002.0])


def test_what_has_another_deadline_is_called_again(timers: Timers) -> None:
    alarm = Alarm(1001.0, every=1.0)
    timers.watch(alarm)
    for now in (1001.0, 1001.5, 1002.0, 1003.0):
        timers.run_due(now)
    assert alarm.rang == [1001.0, 1002.0, 1003.0]


def test_what_has_no_deadline_is_not_kept(timers: Timers) -> None:
    alarm = Alarm(None)
    timers.watch(alarm)
    assert timers.size == 0
    alarm.deadline = 1001.0
    timers.watch(alarm)
    timers.run_due(1001.0)
    assert (alarm.rang, timers.size) == ([1001.0], 0)


def test_a_deadline_that_comes_nearer_counts_when_it_is_told(timers: Timers) -> None:
    alarm = Alarm(1010.0)
    timers.watch(alarm)
    alarm.deadline = 1001.0
    timers.watch(alarm)
    timers.run_due(1001.0)
    assert alarm.rang == [1001.0]
    timers.run_due(1010.0)
    assert alarm.rang == [1001.0]


def test_a_deadline_that_moves_later_all_the_time_is_looked_at_once_an_interval(timers: Timers) -> None:
    client = Putoff(1000.0)
    timers.watch(client)
    for tenth in range(1, 1000):
        now = 1000.0 + tenth / 10
        client.deadline = now + 10.0
        timers.run_due(now)
    assert client.rang == []
    assert client.looks <= 10
    assert timers.size == 1


def test_what_is_forgotten_is_not_called(timers: Timers) -> None:
    alarm = Alarm(1001.0)
    timers.watch(alarm)
    timers.forget(alarm)
    timers.forget(alarm)
    timers.run_due(1001.0)
    assert alarm.rang == []


def test_one_may_be_forgotten_while_another_is_called(timers: Timers) -> None:
    victim = Alarm(1001.0, every=1.0)

    class Killer(Alarm):
        def on_time(self, now: float) -> None:
            super().on_time(now)
            timers.forget(victim)
            timers.forget(self)

    killer = Killer(1000.5, every=1.0)
    timers.watch(victim)
    timers.watch(killer)
    for now in (1001.0, 1002.0, 1003.0):
        timers.run_due(now)
    assert (killer.rang, victim.rang, timers.size) == ([1001.0], [], 0)


def test_one_that_is_due_again_at_once_lets_the_others_have_their_turn(timers: Timers) -> None:
    class Stuck(Alarm):
        def on_time(self, now: float) -> None:
            self.rang.append(now)

    stuck, other = Stuck(1001.0), Alarm(1001.0)
    timers.watch(stuck)
    timers.watch(other)
    timers.run_due(1001.0)
    assert (stuck.rang, other.rang) == ([1001.0], [1001.0])
    timers.run_due(1001.005)
    assert stuck.rang == [1001.0]
    timers.run_due(1001.02)
    assert stuck.rang == [1001.0, 1001.02]


def test_a_loop_that_was_held_up_is_late_until_the_next_look(timers: Timers) -> None:
    pulse = Alarm(1000.5, every=0.5)
    timers.watch(pulse)
    timers.run_due(1001.4)
    assert not timers.is_late
    timers.run_due(1003.0)
    assert timers.is_late
    timers.run_due(1003.5)
    assert not timers.is_late


def test_a_deadline_that_has_passed_already_does_not_make_the_loop_late(timers: Timers) -> None:
    alarm = Alarm(900.0)
    timers.watch(alarm)
    timers.run_due(1000.0)
    assert alarm.rang == [1000.0]
    assert not timers.is_late


def test_garbage_is_bounded_by_what_is_watched(timers: Timers) -> None:
    alarms = [Alarm(5000.0) for _ in range(10)]
    for alarm in alarms:
        timers.watch(alarm)
    for step in range(1, 1000):
        for alarm in alarms:
            alarm.deadline = 5000.0 - step
            timers.watch(alarm)
    for _ in range(1000):
        passing = Alarm(4000.0)
        timers.watch(passing)
        timers.forget(passing)
    assert timers.size <= 2 * len(alarms) + 65
    timers.run_due(4001.0)
    assert [alarm.rang for alarm in alarms] == [[4001.0]] * 10
    assert timers.size == 0


@in_virtual_time
async def test_the_loop_waits_for_the_earliest_deadline_whenever_it_is_told() -> None:
    clock = VirtualClock()
    timers = Timers(clock.monotonic)
    start = clock.monotonic()
    late, early = Alarm(start + 3600.0), Alarm(start + 60.0)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(timers.run())
        timers.watch(late)
        await asyncio.sleep(30.0)
        timers.watch(early)
        await asyncio.sleep(3600.0)
        running.cancel()
    assert [round(each - start, 1) for each in (*early.rang, *late.rang)] == [60.0, 3600.0]


@in_virtual_time
async def test_nearer_deadlines_that_come_all_the_time_hold_up_nobody() -> None:
    clock = VirtualClock()
    timers = Timers(clock.monotonic)
    start = clock.monotonic()
    alarms = [Alarm(start + 0.5 - step * 0.001) for step in range(1000)]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(timers.run())
        for alarm in alarms:
            timers.watch(alarm)
            await asyncio.sleep(0.001)
        running.cancel()
    assert all(alarm.rang for alarm in alarms[:900])
    assert max(alarm.rang[0] for alarm in alarms[:100]) < start + 0.52


def test_an_error_of_the_machine_in_one_costs_the_others_nothing(timers: Timers) -> None:
    class Short(Alarm):
        def on_time(self, now: float) -> None:
            super().on_time(now)
            raise OSError(errno.EMFILE, "Too many open files")

    short, other = Short(1001.0, every=1.0), Alarm(1001.0, every=1.0)
    timers.watch(short)
    timers.watch(other)
    timers.run_due(1001.0)
    timers.run_due(1002.0)
    assert short.rang == other.rang == [1001.0, 1002.0]
