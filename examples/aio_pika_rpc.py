"""Calls of a function over the broker with aio-pika's RPC: a result, and an error that the caller gets.

    python examples/aio_pika_rpc.py [amqp://guest:guest@127.0.0.1:5672/]

Both ends are in this process, on connections of their own. Answers come to an exclusive queue. Needs aio-pika.
"""

from __future__ import annotations

import asyncio
import sys

import aio_pika
from aio_pika.patterns import RPC

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/"
QUEUE = "example.aio_pika.divide"


async def divide(*, a: int, b: int) -> float:
    return a / b


async def main() -> None:
    async with await aio_pika.connect(URL) as serving, await aio_pika.connect(URL) as calling:
        server = await RPC.create(await serving.channel())
        await server.register(QUEUE, divide, auto_delete=True)
        client = await RPC.create(await calling.channel())
        print("6 / 4 =", await client.call(QUEUE, {"a": 6, "b": 4}))
        try:
            await client.call(QUEUE, {"a": 1, "b": 0})
        except ZeroDivisionError as error:
            print("1 / 0:", error)


if __name__ == "__main__":
    asyncio.run(main())
