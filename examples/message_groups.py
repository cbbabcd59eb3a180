"""Handle each customer's messages in order, and those of different customers side by side (docs/message-groups.md).

python examples/message_groups.py [amqp://guest:guest@127.0.0.1:5672/%2F]
"""

from __future__ import annotations

import sys
from collections import defaultdict

import pika
from pika.adapters.blocking_connection import BlockingChannel

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"
QUEUE = "example.message_groups"
CUSTOMERS = {"large": 20, "small": 2, "tiny": 1}


def publish(channel: BlockingChannel) -> None:
    """The large customer's messages come first, and in front of all others."""
    for customer, count in CUSTOMERS.items():
        properties = pika.BasicProperties(delivery_mode=2, headers={"x-group-id": customer})
        for number in range(count):
            channel.basic_publish("", QUEUE, f"{customer} {number}".encode(), properties)


def main() -> None:
    publisher, *workers = (pika.BlockingConnection(pika.URLParameters(URL)) for _ in range(3))
    channel = publisher.channel()
    channel.queue_delete(QUEUE)
    channel.queue_declare(QUEUE, durable=True, arguments={"x-message-groups": True})
    publish(channel)
    channels = [worker.channel() for worker in workers]
    handled: defaultdict[str, list[str]] = defaultdict(list)
    order: list[str] = []
    while len(order) < sum(CUSTOMERS.values()):
        working = [(each, *each.basic_get(QUEUE)) for each in channels]
        for each, method, _, body in working:
            if method is None:
                continue
            text = body.decode()
            if text == "large 3" and not method.redelivered:
                each.basic_nack(method.delivery_tag, requeue=True)
                continue
            handled[text.partition(" ")[0]].append(text)
            order.append(text)
            each.basic_ack(method.delivery_tag)
    print(f"the first messages were: {', '.join(order[:3])}")
    for customer, texts in sorted(handled.items()):
        print(
            f"{customer}: in order"
            if texts == [f"{customer} {n}" for n in range(len(texts))]
            else f"{customer}: {texts}"
        )
    for connection in (publisher, *workers):
        connection.close()


if __name__ == "__main__":
    main()
