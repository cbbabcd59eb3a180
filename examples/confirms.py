"""Publisher confirms: know that a message is safe, and that it reached a queue.

    python examples/confirms.py [amqp://guest:guest@127.0.0.1:5672/%2F]

`basic_publish` of pika's blocking channel returns when the broker has confirmed. For throughput, keep many publishes
under way (pika's SelectConnection, aio-pika): each commit confirms all that it holds. Needs pika.
"""

from __future__ import annotations

import sys

import pika
from pika.exceptions import UnroutableError

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"
QUEUE = "example.orders"
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def main() -> None:
    with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(QUEUE, durable=True)

        for number in range(3):
            body = f"order {number}".encode()
            channel.basic_publish("", QUEUE, body, PERSISTENT, mandatory=True)
            print(body.decode(), "is on disk")

        try:
            channel.basic_publish("", "example.nowhere", b"lost?", PERSISTENT, mandatory=True)
        except UnroutableError:
            print("no queue for 'example.nowhere': the message came back")

        waiting = channel.queue_declare(QUEUE, passive=True).method.message_count
        print(waiting, "orders wait; they are still there after a kill -9 of the broker")


if __name__ == "__main__":
    main()
