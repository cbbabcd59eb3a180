"""Tasks with Dramatiq: workers in this process, and a task that fails and is tried again.

    python examples/dramatiq_tasks.py [amqp://guest:guest@127.0.0.1:5672/]

Sends three tasks, waits until all are done and ends. Needs dramatiq and pika.
"""

from __future__ import annotations

import logging
import sys

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import CurrentMessage

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/"
QUEUE = "example.dramatiq"

broker = RabbitmqBroker(url=URL)
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE, max_retries=3, min_backoff=10)
def greet(name: str) -> None:
    """Greet; nobody called bob is there at first."""
    message = CurrentMessage.get_current_message()
    tries = message.options.get("retries", 0) if message is not None else 0
    if name == "bob" and not tries:
        raise LookupError("bob is not there yet")
    print(f"hello {name}", "after one failure" if tries else "")


def main() -> None:
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL)  # a failed try is expected here
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=2)
    worker.start()
    for name in ("alice", "bob", "carol"):
        greet.send(name)
    broker.join(QUEUE, timeout=20_000)
    worker.join()
    worker.stop()
    broker.close()


if __name__ == "__main__":
    main()
