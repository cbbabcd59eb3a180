"""Let messages wait in the broker: for a while, or until a moment (docs/delayed.md).

    python examples/delayed.py [amqp://guest:guest@127.0.0.1:5672/%2F]

The confirm says that a message is in the schedule and on disk. Needs pika.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

import pika

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"
QUEUE = "example.reminders"


def main() -> None:
    channel = pika.BlockingConnection(pika.URLParameters(URL)).channel()
    channel.queue_delete(QUEUE)
    channel.queue_declare(QUEUE, durable=True)
    channel.confirm_delivery()

    def publish(text: str, **headers: object) -> None:
        channel.basic_publish("", QUEUE, text.encode(), pika.BasicProperties(delivery_mode=2, headers=headers))

    begin = time.monotonic()
    at = datetime.now(UTC) + timedelta(seconds=1)
    publish("in one and a half seconds", **{"x-delay": 1500})
    publish("at a moment", **{"x-deliver-at": at.isoformat()})
    publish("at once")
    waiting = channel.queue_declare(QUEUE, passive=True).method.message_count
    print("3 messages are confirmed,", waiting, "of them is in the queue")

    for method, properties, body in channel.consume(QUEUE, inactivity_timeout=5):
        if method is None:
            break
        channel.basic_ack(method.delivery_tag)
        print(f"{body.decode()}: after {time.monotonic() - begin:.1f} s")
        if "x-delay" in properties.headers:
            print("its x-delay is", properties.headers["x-delay"], "now: it is not delayed again")
            break
    channel.connection.close()


if __name__ == "__main__":
    main()
