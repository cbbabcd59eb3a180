"""Publishers that publish everything again whenever something breaks, until all of it is confirmed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random

import aio_pika
import pika

HOUR_MS = 3_600_000
EXCHANGE = "all"
QUEUES = ("window", "in queue", "behind")
"""A queue with a window, one whose keys last as long as their messages, and one behind a de-duplicating exchange."""
_DEADLINE = 60.0
_PAUSE = 0.05


def declare(url: str) -> None:
    """Declare the queues, which each message reaches."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "fanout", durable=True)
        channel.exchange_declare("guard", "fanout", durable=True, arguments={"x-dedup-window": HOUR_MS})
        channel.exchange_bind("guard", EXCHANGE)
        for queue, arguments in (
            ("window", {"x-dedup-window": HOUR_MS}),
            ("in queue", {"x-message-deduplication": True}),
        ):
            channel.queue_declare(queue, durable=True, arguments=arguments)  # type: ignore[arg-type]
            channel.queue_bind(queue, EXCHANGE)
        channel.queue_declare("behind", durable=True)
        channel.queue_bind("behind", "guard")


def contents(url: str, queue: str, *, is_shared: bool = False) -> Counter[str]:
    """Return what is in a queue, without taking it out; if it `is_shared` by nodes, how much that is is not known."""
    found: Counter[str] = Counter()
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        count = channel.queue_declare(queue, passive=True).method.message_count
        for method, _, body in channel.consume(queue, inactivity_timeout=10):
            if method is None:  # nothing more comes from any node
                break
            assert body is not None
            found[body.decode()] += 1
            if found.total() == count and not is_shared:
                break
    return found


class Repeater:
    """One publisher: `url` leads to a node, or to what stands between."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.published = 0
        self.broken = 0

    async def until_confirmed(self, keys: Sequence[str]) -> None:
        """Publish a message for each key, all of them again until each has its confirm on one connection."""
        async with asyncio.timeout(_DEADLINE):
            while not await self._publish(keys):
                self.broken += 1
                await asyncio.sleep(_PAUSE)

    async def _publish(self, keys: Sequence[str]) -> bool:
        connection = None
        try:
            connection = await aio_pika.connect(self._url, timeout=5)
            channel = await connection.channel()
            exchange = await channel.get_exchange(EXCHANGE, ensure=False)
            self.published += len(keys)
            answers = await asyncio.gather(
                *(
                    exchange.publish(aio_pika.Message(key.encode(), headers={"x-dedup-id": key}, delivery_mode=2), "k")
                    for key in keys
                ),
                return_exceptions=True,
            )
            return not any(isinstance(answer, BaseException) for answer in answers)
        except (aio_pika.exceptions.AMQPException, OSError, TimeoutError, RuntimeError):
            return False
        except asyncio.CancelledError:  # aiormq cancels what waits on a connection that is lost
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return False
        finally:
            if connection is not None:
                with suppress(Exception):
                    await asyncio.wait_for(connection.close(), 1)


async def rounds_of_repeats(
    repeaters: Sequence[Repeater], faults: Sequence[Callable[[], Awaitable[None]]], *, keys: int, seed: int
) -> list[str]:
    """For each fault: all publish the same new keys, the fault comes in the midst of it, and then all publish
    everything from the beginning once more. Return the keys.
    """
    chance = Random(seed)
    everything: list[str] = []
    for number, fault in enumerate(faults):
        new = [f"{number}-{each}" for each in range(keys)]
        async with asyncio.TaskGroup() as tasks:
            for repeater in repeaters:
                tasks.create_task(repeater.until_confirmed(new))
            await asyncio.sleep(chance.uniform(0, 0.15))
            await fault()
        everything += new
        async with asyncio.TaskGroup() as tasks:
            for repeater in repeaters:
                tasks.create_task(repeater.until_confirmed(everything))
    return everything
