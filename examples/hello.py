"""Hello: declare a queue, send one message, take it back.

    python examples/hello.py [amqp://guest:guest@127.0.0.1:5672/%2F]

Needs pika.
"""

from __future__ import annotations

import sys

import pika

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"


def main() -> None:
    with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
        channel = connection.channel()
        channel.queue_declare("hello")
        channel.basic_publish(exchange="", routing_key="hello", body=b"Hello World!")
        print("sent")

        method, _, body = channel.basic_get("hello", auto_ack=True)
        if method is None:
            raise SystemExit("the queue is empty: is another consumer on it?")
        print("received", body.decode())
        channel.queue_delete("hello")


if __name__ == "__main__":
    main()
