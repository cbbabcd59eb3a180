"""Publish again whatever has no confirm, and have each order in the queue once (docs/deduplication.md).

    python examples/deduplication.py [amqp://guest:guest@127.0.0.1:5672/%2F]

The connection breaks on the way, before some confirms have arrived: those orders are published once more. Needs pika.
"""

from __future__ import annotations

import sys

import pika

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"
QUEUE = "example.orders.once"
DAY_MS = 24 * 60 * 60 * 1000


def connect() -> pika.channel.Channel:
    return pika.BlockingConnection(pika.URLParameters(URL)).channel()


def publish(channel: pika.channel.Channel, number: int) -> None:
    key = pika.BasicProperties(delivery_mode=2, headers={"x-dedup-id": f"order-{number}"})
    channel.basic_publish("", QUEUE, f"order {number}".encode(), key)


def main() -> None:
    channel = connect()
    channel.queue_delete(QUEUE)
    channel.queue_declare(QUEUE, durable=True, arguments={"x-dedup-window": DAY_MS})

    for number in range(5):  # without confirms: nobody knows which of them have arrived
        publish(channel, number)
    channel.connection.close()
    print("the connection is gone, and 5 orders have no confirm")

    channel = connect()
    channel.confirm_delivery()
    for number in range(7):
        publish(channel, number)
    print("7 orders are confirmed, 5 of them for the second time")

    orders = []
    for method, _, body in channel.consume(QUEUE, inactivity_timeout=1):
        if method is None:
            break
        channel.basic_ack(method.delivery_tag)
        orders.append(body.decode())
    print(len(orders), "orders came out:", ", ".join(orders))

    publish(channel, 3)
    print("order 3 is confirmed again, and", channel.queue_declare(QUEUE, passive=True).method.message_count, "wait")
    channel.connection.close()


if __name__ == "__main__":
    main()
