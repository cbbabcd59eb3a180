"""How keys that are over are forgotten: how much at once, how often, and when there are too many (ADR 66)."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from broker.errors import StoreUnavailable
from broker.message import PENDING, KeyClaim, KeyedMessage
from broker.ports.store import FIRST_KEY, KeyPlace, KeySweep
from broker.store.key_upkeep import KEYS_AT_ONCE, KeyUpkeep
from tests.unit.store.journal_bench import QUEUE


class Keys:
    """A store that answers what a test says; `asked` is what it was asked for."""

    def __init__(self) -> None:
        self.sweeps: deque[KeySweep | Exception] = deque()
        self.trims: deque[int | Exception] = deque()
        self.asked: list[tuple[object, ...]] = []

    async def sweep_keys(self, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
        self.asked.append((after, now_ms, limit))
        answer = self.sweeps.popleft() if self.sweeps else KeySweep(0, 0, None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def trim_keys(self, scope: int, keep: int, limit: int) -> int:
        self.asked.append((scope, keep))
        answer = self.trims.popleft() if self.trims else 0
        if isinstance(answer, Exception):
            raise answer
        return answer


async def no_time(seconds: float) -> None:
    """Pass at once."""


@pytest.fixture
def store() -> Keys:
    return Keys()


@pytest.fixture
def upkeep(store: Keys) -> KeyUpkeep:
    return KeyUpkeep(store, now_ms=lambda: 50_000, sleep=no_time)


def keyed(count: int, keep: int, scope: int = 7) -> list[KeyedMessage]:
    messages = [KeyedMessage(number, QUEUE, b"", b"", b"", None, PENDING) for number in range(count)]
    for message in messages:
        message.claims = (KeyClaim(scope, f"{message.id}", message.id, 0, 1, keep=keep),)
    return messages


async def test_all_keys_are_looked_through_page_by_page_and_again_from_the_first(
    store: Keys, upkeep: KeyUpkeep
) -> None:
    store.sweeps.extend([KeySweep(KEYS_AT_ONCE, 0, (7, "ab")), KeySweep(10, 0, None)])
    for _ in range(3):
        await upkeep.step()
    now = 49_000  # a second earlier than it is: clocks differ
    assert store.asked == [
        (FIRST_KEY, now, KEYS_AT_ONCE),
        ((7, "ab"), now, KEYS_AT_ONCE),
        (FIRST_KEY, now, KEYS_AT_ONCE),
    ]


async def test_much_that_is_over_is_forgotten_at_once_and_a_look_at_nothing_comes_ever_later(
    store: Keys, upkeep: KeyUpkeep
) -> None:
    store.sweeps.extend([KeySweep(1000, 250, (7, "ab")), KeySweep(1000, 249, (7, "cd"))])
    pauses = []
    for _ in range(9):
        await upkeep.step()
        pauses.append(upkeep.pause)
    assert pauses == [0.02, 1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_store_that_is_away_is_asked_again_for_the_same_page(store: Keys, upkeep: KeyUpkeep) -> None:
    store.sweeps.extend([KeySweep(1000, 0, (7, "ab")), StoreUnavailable("away")])
    for _ in range(3):
        await upkeep.step()
    assert [asked[0] for asked in store.asked] == [FIRST_KEY, (7, "ab"), (7, "ab")]


async def test_a_scope_that_may_have_too_many_is_looked_at_after_each_eighth(store: Keys, upkeep: KeyUpkeep) -> None:
    store.trims.extend([KEYS_AT_ONCE, 3])
    await upkeep.on_keyed(keyed(1, keep=80))
    assert store.asked == [(7, 80), (7, 80)]
    await upkeep.on_keyed(keyed(10, keep=80))
    assert len(store.asked) == 2
    await upkeep.on_keyed(keyed(1, keep=80))
    assert len(store.asked) == 3
    await upkeep.on_keyed(keyed(5, keep=0, scope=8))
    assert len(store.asked) == 3


async def test_a_small_scope_is_looked_at_after_each_batch(store: Keys, upkeep: KeyUpkeep) -> None:
    for _ in range(3):
        await upkeep.on_keyed(keyed(1, keep=1))
    assert store.asked == [(7, 1)] * 3


async def test_a_large_scope_holds_up_no_publisher(store: Keys, upkeep: KeyUpkeep) -> None:
    await upkeep.on_keyed(keyed(1, keep=100_000))
    assert store.asked == []
    await upkeep.step()
    assert store.asked[0] == (7, 100_000)


async def test_what_could_not_be_forgotten_is_tried_again(store: Keys, upkeep: KeyUpkeep) -> None:
    store.trims.append(StoreUnavailable("away"))
    await upkeep.on_keyed(keyed(1, keep=5))
    await upkeep.step()
    assert store.asked[:2] == [(7, 5), (7, 5)]


async def test_it_goes_on_until_it_is_cancelled(store: Keys) -> None:
    slept: list[float] = []
    has_slept = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            has_slept.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(KeyUpkeep(store, now_ms=lambda: 0, sleep=sleep).run())
        await has_slept.wait()
        running.cancel()
    assert slept == [1, 2, 4, 8]
