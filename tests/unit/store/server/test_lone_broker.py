"""The row by which a standalone broker keeps others away where locks hold on one server only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
from sqlalchemy import Connection, StaticPool, create_engine

from broker.errors import StoreLocked
from broker.store.server.lone_broker import LoneBroker
from broker.store.sql import migrate

T = TypeVar("T")


class World:
    """A database, and brokers whose seconds pass when somebody waits."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.on_second: Callable[[], Awaitable[None]] | None = None

    async def run(self, function: Callable[[Connection], T]) -> T:
        return function(self._connection)

    async def sleep(self, seconds: float) -> None:
        if self.on_second is not None:
            await self.on_second()

    def broker(self) -> LoneBroker:
        return LoneBroker(self.run, "db1,db2/mb", self.sleep)


@pytest.fixture
def world() -> Iterator[World]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        migrate.upgrade(connection)
        yield World(connection)
    engine.dispose()


async def beat(broker: LoneBroker) -> None:
    """Let a broker beat once."""

    async def once(_: float) -> None:
        if broker._sleep is not stop:
            broker._sleep = stop

    async def stop(_: float) -> None:
        raise asyncio.CancelledError

    broker._sleep = once
    with pytest.raises(asyncio.CancelledError):
        await broker.keep()


async def test_a_second_broker_is_refused_while_the_first_beats(world: World) -> None:
    first, second = world.broker(), world.broker()
    await first.take()
    world.on_second = lambda: beat(first)

    with pytest.raises(StoreLocked, match="is in use by another broker, on whichever of its servers"):
        await second.take()


async def test_a_broker_that_has_left_is_not_waited_for(world: World) -> None:
    first, second = world.broker(), world.broker()
    await first.take()
    await first.leave()

    async def nobody_waits() -> None:
        raise AssertionError("it waited")

    world.on_second = nobody_waits
    await second.take()


async def test_the_place_of_a_broker_that_has_crashed_is_taken_after_its_silence(world: World) -> None:
    await world.broker().take()
    seconds = 0

    async def count() -> None:
        nonlocal seconds
        seconds += 1

    world.on_second = count
    await world.broker().take()
    assert seconds == 5


async def test_of_two_brokers_that_find_the_same_place_one_gets_it(world: World) -> None:
    first, second = world.broker(), world.broker()
    seen = await first.look()
    await second.take()

    async def old_look() -> int | None:
        return seen

    first.look = old_look  # type: ignore[method-assign]
    with pytest.raises(StoreLocked):
        await first.take()


async def test_a_broker_that_was_replaced_beats_no_more(world: World) -> None:
    first, second = world.broker(), world.broker()
    await first.take()
    await second.take()

    await first.keep()
    await first.leave()

    world.on_second = lambda: beat(second)
    with pytest.raises(StoreLocked):
        await world.broker().take()
