"""Calls of a function over the broker with aio-pika's RPC: a result, an error, and a call that nobody takes in time.

    python examples/aio_pika_rpc.py [amqp://guest:guest@127.0.0.1:5672/]

Both ends are in this process, on connections of their own. Answers come to an exclusive queue. A call that expires
comes back by the dead letters of its queue. Needs aio-pika.
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
        await server.register(QUEUE, divide, arguments={"x-expires": 10_000})
        client = await RPC.create(await calling.channel())
        print("6 / 4 =", await client.call(QUEUE, {"a": 6, "b": 4}))
        try:
            await client.call(QUEUE, {"a": 1, "b": 0})
        except ZeroDivisionError as error:
            print("1 / 0:", error)
        await serving.close()  # the queue stays for a while, without anybody who takes calls
        try:
            await client.call(QUEUE, {"a": 1, "b": 2}, expiration=0.1)
        except TimeoutError:
            print("1 / 2: nobody took the call in time")


if __name__ == "__main__":
    asyncio.run(main())
