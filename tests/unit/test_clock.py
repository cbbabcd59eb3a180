"""The store's time on a node: measured, followed slowly, and never going back (ADR 46)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clock import StoreClock, SystemClock
from tests.support.clock import FakeClock

HOUR = 3_600_000
WALL = 1_800_000_000_000


class Bench:
    """A machine, a store whose clock is `ahead` of the machine's by so many milliseconds, and the node's clock."""

    def __init__(self, ahead: int = 0) -> None:
        self.machine = FakeClock(wall_ms=WALL)
        self.clock = StoreClock(self.machine)
        self._wall_ms = WALL
        self.ahead = ahead

    def pass_time(self, seconds: float) -> None:
        self.machine.advance(seconds)
        self._wall_ms += round(seconds * 1000)

    @property
    def store_ms(self) -> int:
        return self._wall_ms + self.ahead

    @property
    def off(self) -> int:
        """By how much the node's clock is ahead of the store's."""
        return self.clock.wall_ms() - self.store_ms

    def measure(self, there: float = 0.0, back: float = 0.0) -> float:
        sent_at = self.machine.monotonic()
        self.pass_time(there)
        answer = self.store_ms
        self.pass_time(back)
        return self.clock.observe(answer, sent_at, self.machine.monotonic())


def bench(ahead: int = 0) -> Bench:
    it = Bench(ahead)
    it.measure()
    return it


def test_before_the_first_measurement_it_shows_the_machines_time_and_goes_on_with_the_monotonic_one() -> None:
    it = Bench(ahead=HOUR)
    it.machine.advance(10.0)

    assert it.clock.wall_ms() == WALL + 10_000
    assert it.clock.monotonic() == it.machine.monotonic()


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, 0, 7])
def test_the_first_measurement_sets_it(ahead: int) -> None:
    assert bench(ahead).off == 0


def test_half_of_the_round_trip_is_taken_off() -> None:
    it = Bench(ahead=5000)
    it.measure(0.1, 0.1)
    assert it.off == 0


def test_a_wall_clock_of_the_machine_that_jumps_moves_nothing() -> None:
    it = bench()
    it.machine._wall_ms += HOUR
    it.pass_time(1.0)
    assert it.off == 0
    assert it.measure() == 0.0
    assert it.off == 0


@pytest.mark.parametrize("jump", [300, -300])
def test_a_jump_of_the_store_is_followed_by_a_hundredth_of_the_time_that_passes(jump: int) -> None:
    it = bench()
    it.ahead += jump

    assert it.measure() == pytest.approx(jump / 1000, abs=0.001)
    offs = []
    for _ in range(4):
        offs.append(abs(it.off))
        it.pass_time(10.0)

    assert offs == pytest.approx([300, 200, 100, 0], abs=1)
    it.pass_time(3600.0)
    assert abs(it.off) <= 1


def test_a_jump_forth_and_back_is_given_up_as_soon_as_it_is_measured() -> None:
    it = bench()
    it.ahead += HOUR
    it.measure()
    it.pass_time(30.0)
    assert it.off == 300 - HOUR
    it.ahead -= HOUR

    it.measure()
    it.pass_time(30.0)

    assert abs(it.off) <= 1


def test_while_it_is_on_the_way_to_the_right_time_measurements_change_nothing() -> None:
    it = bench()
    it.ahead += 300
    it.measure()

    for _ in range(3):
        it.pass_time(10.0)
        assert it.measure() == 0.0

    assert abs(it.off) <= 1


def test_drift_is_followed() -> None:
    it = bench()
    for _ in range(1000):
        it.pass_time(30.0)
        it.ahead += 3  # a hundred parts in a million, as of a bad crystal
        it.measure(0.001, 0.001)
        assert abs(it.off) <= 8

    assert it.ahead == 3000


@pytest.mark.parametrize(("there", "back"), [(5.0, 0.0), (0.0, 5.0), (2.0, 3.0)])
def test_a_slow_round_trip_does_not_move_what_is_right(there: float, back: float) -> None:
    it = bench()
    assert it.measure(there, back) == 0.0
    it.pass_time(30.0)
    assert it.off == 0


def test_a_slow_round_trip_tells_of_a_jump_that_is_larger() -> None:
    it = bench()
    it.ahead += HOUR
    assert it.measure(5.0, 0.0) == pytest.approx(HOUR / 1000, abs=5.0)


def test_an_answer_may_be_looked_at_late() -> None:
    it = Bench(ahead=5000)
    sent_at = it.machine.monotonic()
    answer = it.store_ms
    it.pass_time(20.0)
    it.clock.observe(answer, sent_at, sent_at)
    assert it.off == 0


steps = st.tuples(
    st.floats(0.0, 100.0), st.integers(-HOUR, HOUR), st.booleans(), st.floats(0.0, 3.0), st.floats(0.0, 3.0)
)


@given(st.lists(steps, max_size=30))
def test_it_never_goes_back_and_never_faster_or_slower_than_by_a_hundredth(
    steps: list[tuple[float, int, bool, float, float]],
) -> None:
    it = bench()
    shown, at = it.clock.wall_ms(), it.machine.monotonic()
    for seconds, jump, is_measured, there, back in steps:
        it.pass_time(seconds)
        it.ahead += jump
        if is_measured:
            it.measure(there, back)
        now, passed = it.clock.wall_ms(), (it.machine.monotonic() - at) * 1000
        assert now >= shown
        assert passed * 0.99 - 1.01 <= now - shown <= passed * 1.01 + 1.01
        shown, at = now, it.machine.monotonic()


def test_the_machines_clock_is_in_milliseconds_and_seconds() -> None:
    clock = SystemClock()
    before = time.time_ns() // 1_000_000

    assert before <= clock.wall_ms() <= time.time_ns() // 1_000_000
    assert clock.monotonic() <= time.monotonic()
