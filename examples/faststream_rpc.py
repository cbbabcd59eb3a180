"""Questions and answers with FastStream: a subscriber that answers, and requests that wait for the answer.

    python examples/faststream_rpc.py [amqp://guest:guest@127.0.0.1:5672/]

FastStream waits for answers at amq.rabbitmq.reply-to: no client has a queue of its own for them. Asks three questions
and ends. Needs faststream[rabbit].
"""

from __future__ import annotations

import asyncio
import sys

from faststream.rabbit import RabbitBroker, RabbitQueue

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/"
SUMS = RabbitQueue("example.faststream", auto_delete=True)

broker = RabbitBroker(URL, logger=None)


@broker.subscriber(SUMS)
async def add(numbers: list[int]) -> int:
    """Answer with the sum."""
    return sum(numbers)


async def main() -> None:
    async with broker:
        await broker.start()
        for numbers in ([1, 2], [3, 4, 5], []):
            answer = await broker.request(numbers, SUMS, timeout=5)
            print(numbers, "make", await answer.decode())


if __name__ == "__main__":
    asyncio.run(main())
