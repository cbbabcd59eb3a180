"""A work queue: durable, one task at a time per worker, a task that fails goes back to its place once.

    python examples/work_queue.py [amqp://guest:guest@127.0.0.1:5672/%2F]

Sends ten tasks, works them off with acknowledgements, and ends when the queue is empty. Needs pika.
"""

from __future__ import annotations

import sys

import pika
from pika.adapters.blocking_connection import BlockingChannel

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"
QUEUE = "example.tasks"
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def send(channel: BlockingChannel) -> None:
    """Publish ten tasks that a restart does not lose."""
    for number in range(10):
        channel.basic_publish(exchange="", routing_key=QUEUE, body=f"task {number}".encode(), properties=PERSISTENT)


def work(channel: BlockingChannel) -> None:
    """Take tasks one by one. Task 3 fails the first time: it comes back with the redelivered flag."""
    channel.basic_qos(prefetch_count=1)
    for method, _, body in channel.consume(QUEUE, inactivity_timeout=1):
        if method is None:
            break
        if body == b"task 3" and not method.redelivered:
            print(body.decode(), "failed, once more")
            channel.basic_nack(method.delivery_tag, requeue=True)
            continue
        print(body.decode(), "done", "(redelivered)" if method.redelivered else "")
        channel.basic_ack(method.delivery_tag)
    channel.cancel()


def main() -> None:
    with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        send(channel)
        work(channel)


if __name__ == "__main__":
    main()
