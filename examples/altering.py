"""Give a queue that is in use a length, and a single active consumer (docs/altering-queues.md).

    python examples/altering.py [amqp://guest:guest@127.0.0.1:5672/%2F [http://guest:guest@127.0.0.1:15672]]

Needs pika, and the HTTP API.
"""

from __future__ import annotations

import base64
import json
import sys
import urllib.error
import urllib.request
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pika

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"
API = sys.argv[2] if len(sys.argv) > 2 else "http://guest:guest@127.0.0.1:15672"
QUEUE, OVER = "example.altering", "example.altering.over"


def alter(**arguments: Any) -> str:
    """Alter the queue; return why that is refused, or nothing."""
    place = urlsplit(API)
    login = base64.b64encode(f"{place.username}:{place.password}".encode()).decode()
    changes = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    request = urllib.request.Request(
        f"{place.scheme}://{place.hostname}:{place.port}/api/broker/queues/%2F/{QUEUE}/alter",
        json.dumps({"arguments": changes}).encode(),
        {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        reason: str = json.load(error)["reason"]
        return reason.partition("': ")[2]
    return ""


def main() -> None:
    connection = pika.BlockingConnection(pika.URLParameters(URL))
    channel = connection.channel()
    channel.confirm_delivery()
    for name in (QUEUE, OVER):
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True)
    for number in range(5):
        channel.basic_publish("", QUEUE, f"message {number}".encode(), pika.BasicProperties(delivery_mode=2))

    print(f"refused: {alter(max_priority=5)}")
    alter(max_length=3, dead_letter_exchange="", dead_letter_routing_key=OVER)
    left = channel.queue_declare(QUEUE, passive=True).method.message_count
    body = None
    while body is None:  # a dead letter is in its new queue a commit after its death
        connection.sleep(0.05)
        _, _, body = channel.basic_get(OVER, auto_ack=True)
    print(f"{left} of 5 are left: the {'oldest' if body == b'message 0' else body} went to {OVER}")

    alter(single_active_consumer=True)
    got: Counter[str] = Counter()

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        got[method.consumer_tag] += 1
        channel.basic_ack(method.delivery_tag)

    for _ in range(2):
        channel.basic_consume(QUEUE, on_message)
    while got.total() < left:
        connection.process_data_events(time_limit=1)
    print(f"one consumer of two got {got.total()} messages" if len(got) == 1 else f"both got some: {got}")
    connection.close()


if __name__ == "__main__":
    main()
