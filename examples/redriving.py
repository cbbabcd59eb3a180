"""Ask where an order is, mend what was wrong, move the dead letters back, and take that back (docs/redriving.md).

    python examples/redriving.py [amqp://guest:guest@127.0.0.1:5672/%2F [http://guest:guest@127.0.0.1:15672]]

Needs pika, and the HTTP API (docs/finding-messages.md).
"""

from __future__ import annotations

import base64
import json
import sys
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pika

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"
API = sys.argv[2] if len(sys.argv) > 2 else "http://guest:guest@127.0.0.1:15672"
QUEUE, DEAD = "example.redriving", "example.redriving.dead"
COUNTRIES = ("LK", "DE", "??", "FR", "??")


def ask(method: str, path: str, body: Any = None) -> Any:
    """Return what the HTTP API answers."""
    place = urlsplit(API)
    login = base64.b64encode(f"{place.username}:{place.password}".encode()).decode()
    request = urllib.request.Request(
        f"{place.scheme}://{place.hostname}:{place.port}/api/broker{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def finished(number: int) -> Any:
    """Return what a redrive has done when it is over."""
    while (told := ask("GET", f"/redrives/%2F/{number}"))["state"] in ("running", "restoring"):
        time.sleep(0.05)
    return told


def declare(channel: pika.channel.Channel) -> None:
    for name in (QUEUE, DEAD):
        channel.queue_delete(name)
    channel.queue_declare(DEAD, durable=True)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
    channel.queue_declare(QUEUE, durable=True, arguments=arguments)


def handle_all(channel: pika.channel.Channel) -> None:
    """A program that knows no country `??` rejects such orders, and they die."""
    for method, properties, _ in channel.consume(QUEUE, inactivity_timeout=0.5):
        if method is None:
            break
        if properties.headers["country"] == "??":
            channel.basic_reject(method.delivery_tag, requeue=False)
        else:
            channel.basic_ack(method.delivery_tag)
    channel.cancel()


def main() -> None:
    channel = pika.BlockingConnection(pika.URLParameters(URL)).channel()
    channel.confirm_delivery()
    declare(channel)
    for number, country in enumerate(COUNTRIES):
        properties = pika.BasicProperties(
            delivery_mode=2, message_id=f"redriving-{number}", headers={"country": country, "number": number}
        )
        channel.basic_publish("", QUEUE, f"order {number}".encode(), properties)
    handle_all(channel)

    (found,) = ask("GET", "/find/%2F?message_id=redriving-2")["items"]
    death = found["deaths"][0]
    print(f"order 2 is in {found['queue']}: {death['reason']} in {death['queue']}")
    print(f"order 1 is in {len(ask('GET', '/find/%2F?message_id=redriving-1')['items'])} queues: it was handled")

    wish = {"where": "country = '??' AND number < 4"}
    print(f"a redrive would move {ask('POST', f'/queues/%2F/{DEAD}/redrive', {**wish, 'dry_run': True})['would_move']}")
    number = ask("POST", f"/queues/%2F/{DEAD}/redrive", wish)["id"]
    print(f"{finished(number)['moved']} moved back")
    (found,) = ask("GET", "/find/%2F?message_id=redriving-2")["items"]
    print(f"order 2 is in {found['queue']}")

    ask("POST", f"/redrives/%2F/{number}/undo")
    print(f"{finished(number)['restored']} put back")
    (found,) = ask("GET", "/find/%2F?message_id=redriving-2")["items"]
    print(f"order 2 is in {found['queue']}")
    channel.connection.close()


if __name__ == "__main__":
    main()
