"""Tasks with Celery: a worker in this process, results, a chain and a group.

    python examples/celery_tasks.py [amqp://guest:guest@127.0.0.1:5672//]

Results come back over the broker (rpc://). In your own project the worker is a process: celery -A yourapp worker. Needs
celery.
"""

from __future__ import annotations

import sys

from celery import Celery, chain, group
from celery.contrib.testing.worker import start_worker

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672//"
QUEUE = "example.celery"

app = Celery("example", broker=URL, backend="rpc://")
app.conf.update(task_default_queue=QUEUE, broker_connection_retry_on_startup=True)


@app.task
def add(a: int, b: int) -> int:
    return a + b


def main() -> None:
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="CRITICAL") as worker:
        print("2 + 3 =", add.delay(2, 3).get(timeout=20))
        print("(1 + 2) + 10 =", chain(add.s(1, 2), add.s(10)).delay().get(timeout=20))
        print("sums:", group(add.s(number, number) for number in range(3)).delay().get(timeout=20))
        # The worker hears it at once; it would look up by itself ten seconds later. Without a destination the command
        # would stop all workers on the broker, those of other programs too.
        app.control.shutdown(destination=[worker.hostname])


if __name__ == "__main__":
    main()
