"""Let the broker hold Celery's tasks until their eta or countdown, in the place of a worker (docs/delayed.md).

    python examples/celery_eta.py [amqp://guest:guest@127.0.0.1:5672//]

The queue looks at Celery's header `eta`; a policy can say the same of queues that are there. The worker gets a task
only when it is due: it holds none back. Needs celery.
"""

from __future__ import annotations

import sys
import time

from celery import Celery
from celery.contrib.testing.worker import start_worker
from kombu import Queue

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672//"
QUEUE = "example.celery.eta"

app = Celery("example", broker=URL, backend="rpc://")
app.conf.update(
    task_default_queue=QUEUE,
    task_queues=[Queue(QUEUE, routing_key=QUEUE, queue_arguments={"x-deliver-at-header": "eta"})],
    broker_connection_retry_on_startup=True,
)


@app.task(bind=True)
def add(self, a: int, b: int) -> tuple[int, float]:
    return a + b, time.time()


def in_queue() -> int:
    with app.connection_for_read() as connection:
        return connection.default_channel.queue_declare(QUEUE, passive=True).message_count


def main() -> None:
    with app.connection_for_write() as connection:
        app.conf.task_queues[0](connection.default_channel).declare()
    begin = time.time()
    late = add.apply_async((2, 3), countdown=2)
    soon = add.delay(1, 1)
    print("of 2 tasks", in_queue(), "is in the queue: the other waits in the broker")
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="CRITICAL") as worker:
        print("1 + 1 =", soon.get(timeout=20)[0])
        total, at = late.get(timeout=20)
        print("2 + 3 =", total, "and not before its time:", at - begin >= 2)
        # The worker hears it at once; it would look up by itself ten seconds later. Without a destination the command
        # would stop all workers on the broker, those of other programs too.
        app.control.shutdown(destination=[worker.hostname])


if __name__ == "__main__":
    main()
