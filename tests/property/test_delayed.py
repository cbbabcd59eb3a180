"""Delayed messages under random use: never early, once, and what is cancelled never, over crashes and clocks that jump.

Real are the broker, the schedule, its slots, firing, dead letters and the store in memory, which outlives crashes; the
journal commits when a step says so. The clock is the node's `StoreClock` over a machine whose wall clock jumps.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker.clock import StoreClock
from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicGet, BasicGetOk, BasicNack, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from broker.topology.schedules import CANCELLED, MOVED, ScheduleChange
from tests.support.clock import FakeClock
from tests.support.harness import Client, Harness
from tests.support.machines import run_machine

T = TypeVar("T")
LIMITS = QueueLimits(memory=2000, transient_memory=2000, window_size=3, read_ahead=2, read_ahead_bytes=6000)
QUEUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "held": {"x-deliver-at-header": "eta"},
    "short": {"x-message-ttl": 500, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
    "dead": {},
    "narrow": {"x-max-length": 2, "x-overflow": "reject-publish"},
}
GOALS = st.sampled_from(["plain", "plain", "held", "short", "narrow"])
DELAYS = st.sampled_from([1, 50, 999, 1000, 1001, 5000, 60_000])
PAUSES = st.sampled_from([1, 49, 500, 1000, 4000, 61_000])
MEASURED_EVERY = 30.0
SLEW = 0.01


class JumpingClock(FakeClock):
    """What a node goes by, whose store is on a machine of which somebody sets the wall clock."""

    def __init__(self) -> None:
        super().__init__()
        self.restart()

    def restart(self) -> None:
        """Take over the machine's time, as a node does when it starts."""
        self._machine = FakeClock(self._monotonic, self._wall_ms)
        self._store = StoreClock(self._machine)
        self._measure()

    def jump(self, seconds: float) -> None:
        self._wall_ms += round(seconds * 1000)
        self._measure()

    def advance(self, seconds: float) -> None:
        while seconds > 0:
            step = min(seconds, MEASURED_EVERY)
            super().advance(step)
            self._machine.advance(step)
            self._measure()
            seconds -= step

    def _measure(self) -> None:
        self._store.observe(self._wall_ms, self._monotonic, self._monotonic)

    def wall_ms(self) -> int:
        return self._store.wall_ms()


@dataclass
class Delayed:
    """A message, and what may become of it."""

    not_before: int
    """By the node's clock."""
    asked_at: float
    """By the monotonic clock; before a crash there is no telling."""
    delay: int
    is_persistent: bool
    is_certain: bool = False
    """Has the store got it, and nothing been able to lose it?"""
    is_cancelled: bool = False
    has_come: bool = False
    has_seen_crash: bool = False


class DelayedMachine(RuleBasedStateMachine):
    """Publishers, an administrator who cancels and moves, a consumer, crashes, and a model of what may come."""

    @initialize()
    def start(self) -> None:
        self.clock = JumpingClock()
        self.messages: dict[str, Delayed] = {}
        self.harness = Harness(queue_limits=LIMITS, clock=self.clock)
        self.peer: Client = self.harness.peer()
        for name, arguments in QUEUES.items():
            self.peer.call(1, QueueDeclare(queue=name, durable=True, arguments=FieldTable.of(arguments)))

    # What happens

    @rule(queue=GOALS, delays=st.lists(DELAYS, min_size=1, max_size=6), is_persistent=st.booleans())
    def publish(self, queue: str, delays: list[int], is_persistent: bool) -> None:
        for delay in delays:
            name, now = f"m{len(self.messages)}", self.clock.wall_ms()
            headers = {"eta": now + delay} if queue == "held" else {"x-delay": delay}
            properties = BasicProperties(
                headers=FieldTable.of(headers), delivery_mode=2 if is_persistent else 1, message_id=name
            )
            self.messages[name] = Delayed(now + delay, self.clock.monotonic(), delay, is_persistent)
            self.peer.publish(queue, name.encode(), properties=properties)

    @rule()
    def commit(self) -> None:
        self.harness.commit()
        for message in self.messages.values():
            message.is_certain |= not message.has_seen_crash

    @rule(pause=PAUSES)
    def wait(self, pause: int) -> None:
        self.harness.pass_time(pause / 1000)

    @rule(hours=st.sampled_from([1, -1]))
    def set_the_clock(self, hours: int) -> None:
        self.clock.jump(3600 * hours)

    @rule(number=st.integers(0, 1000))
    def cancel(self, number: int) -> None:
        for message, change in self._change(number, 0):
            message.is_cancelled |= change.outcome == CANCELLED

    @rule(number=st.integers(0, 1000), delay=DELAYS)
    def move(self, number: int, delay: int) -> None:
        due = self.clock.wall_ms() + delay
        for message, change in self._change(number, due):
            if change.outcome == MOVED:
                message.not_before, message.asked_at, message.delay = due, self.clock.monotonic(), delay

    @rule(queue=st.sampled_from(sorted(QUEUES)))
    def give_back(self, queue: str) -> None:
        got = self.peer.call(1, BasicGet(queue=queue))
        if isinstance(got, BasicGetOk):
            self.peer.contents()
            self.peer.send(1, BasicNack(got.delivery_tag, False, True))

    @rule()
    def consume(self) -> None:
        for queue in QUEUES:
            while isinstance(self.peer.call(1, BasicGet(queue=queue, no_ack=True)), BasicGetOk):
                (body,) = self.peer.bodies()
                self._on_come(body.decode())
        self.harness.commit()

    @rule()
    def crash(self) -> None:
        state = self.harness.store.state
        state.holder = None
        for message in self.messages.values():
            # One that is not persistent is in memory alone once it is due.
            is_due = self.clock.wall_ms() >= message.not_before
            message.is_certain &= message.is_persistent or not is_due
            message.not_before = 0 if is_due else message.not_before  # it has gone on, wherever the clock goes now
            message.has_seen_crash = True
        self.clock.restart()
        self.harness = Harness(queue_limits=LIMITS, clock=self.clock, state=state)
        self.peer = self.harness.peer()
        self.harness.run()

    # What is promised

    def _on_come(self, name: str) -> None:
        message = self.messages[name]
        assert not message.has_come, f"{name} has come twice"
        assert not message.is_cancelled, f"{name} was cancelled, and has come"
        assert self.clock.wall_ms() >= message.not_before, f"{name} is early"
        if not message.has_seen_crash:
            passed = 1000 * (self.clock.monotonic() - message.asked_at)
            assert passed >= message.delay * (1 - SLEW) - 1, f"{name} is early because a clock was set"
        message.has_come = True

    def _change(self, number: int, due: int) -> list[tuple[Delayed, ScheduleChange]]:
        """Let the administrator cancel a message, or with a time move it; return it, if it was there."""
        names = [name for name, message in self.messages.items() if not message.has_come]
        if not names:
            return []
        name = names[number % len(names)]
        schedules = self.harness.parts.schedules
        ids = self._do(schedules.find("/", name))
        if not ids:
            return []
        (change,) = self._do(schedules.move("/", ids, due) if due else schedules.cancel("/", ids)).values()
        return [(self.messages[name], change)]

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        done: list[T] = []

        async def run() -> None:
            done.append(await work)

        self.harness.stage.spawn(run())
        self.harness.run()
        self.harness.commit()
        return done[0]

    def teardown(self) -> None:
        latest = max((each.not_before for each in self.messages.values() if not each.is_cancelled), default=0)
        self.harness.pass_time(max(latest - self.clock.wall_ms(), 0) / 1000 * (1 + 2 * SLEW))
        for _ in range(len(self.messages) + 5):  # of those that have no room, a few come each second
            self.harness.pass_time(62.0)
            self.harness.commit()
            self.consume()
        missing = {
            name: message
            for name, message in self.messages.items()
            if message.is_certain and not message.is_cancelled and not message.has_come
        }
        assert not missing, f"at {self.clock.wall_ms()}: {missing}"
        self.harness.commit()
        schedule = self.harness.vhost.schedule
        assert schedule is None or schedule.ready_count == 0
        assert self.harness.store.state.rows == {}


@pytest.mark.timeout(120)
def test_a_delayed_message_is_never_early_and_comes_once() -> None:
    run_machine(DelayedMachine, 30, 30, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_runs() -> None:
    run_machine(DelayedMachine, 1000, 50, derandomize=False)
