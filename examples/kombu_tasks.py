"""Tasks with kombu, the library below Celery: JSON bodies, a direct exchange, a consumer with a callback.

    python examples/kombu_tasks.py [amqp://guest:guest@127.0.0.1:5672//]

Sends three tasks, runs them and ends. Needs kombu.
"""

from __future__ import annotations

import sys
from typing import Any

from kombu import Connection, Exchange, Message, Queue

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672//"
TASKS = Queue("example.kombu", Exchange("example.kombu", type="direct", durable=True), routing_key="task")


def run(body: dict[str, Any], message: Message) -> None:
    """Do one task and acknowledge it."""
    print(f"{body['a']} + {body['b']} = {body['a'] + body['b']}")
    message.ack()


def main() -> None:
    with Connection(URL) as connection:
        producer = connection.Producer(serializer="json")
        for number in range(3):
            producer.publish(
                {"a": number, "b": 10},
                exchange=TASKS.exchange,
                routing_key=TASKS.routing_key,
                declare=[TASKS],
                retry=True,
            )
        with connection.Consumer(TASKS, callbacks=[run], prefetch_count=1):
            for _ in range(3):
                connection.drain_events(timeout=5)


if __name__ == "__main__":
    main()
