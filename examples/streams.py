"""Write readings into a stream, and read them from different places (docs/streams.md).

    python examples/streams.py [amqp://guest:guest@127.0.0.1:5672/%2F]

Needs pika.
"""

from __future__ import annotations

import sys

import pika

URL = sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2F"
STREAM = "example.readings"


def connect() -> pika.channel.Channel:
    channel = pika.BlockingConnection(pika.URLParameters(URL)).channel()
    channel.basic_qos(prefetch_count=100)
    return channel


def read(count: int, tag: str = "", **arguments: object) -> list[str]:
    """Return so many messages, with their offsets, as a consumer with these arguments gets them."""
    channel = connect()
    table = {f"x-stream-{name.replace('_', '-')}": value for name, value in arguments.items()}
    found: list[str] = []

    def on_message(channel: pika.channel.Channel, method: object, properties: object, body: bytes) -> None:
        found.append(f"{properties.headers['x-stream-offset']}: {body.decode()}")
        channel.basic_ack(method.delivery_tag)
        if len(found) == count:
            channel.stop_consuming()

    channel.basic_consume(STREAM, on_message, consumer_tag=tag, arguments=table)
    channel.start_consuming()
    channel.connection.close()
    return found


def main() -> None:
    channel = connect()
    channel.queue_delete(STREAM)
    channel.queue_declare(STREAM, durable=True, arguments={"x-queue-type": "stream", "x-max-age": "30D"})
    channel.confirm_delivery()
    for number in range(6):
        sensor = "north" if number % 2 else "south"
        properties = pika.BasicProperties(headers={"x-stream-filter-value": sensor})
        channel.basic_publish("", STREAM, f"{sensor} {20 + number}".encode(), properties)

    print("from the first:", ", ".join(read(6, offset="first")))
    print("from offset 4:", ", ".join(read(2, offset=4)))
    print("the north alone:", ", ".join(read(3, offset="first", filter="north")))
    print("a reader of two:", ", ".join(read(2, "reader", offset="first", automatic_offset_tracking=True)))
    print("goes on with:", ", ".join(read(2, "reader", offset="first", automatic_offset_tracking=True)))
    print(channel.queue_declare(STREAM, passive=True).method.message_count, "readings are still there")
    channel.connection.close()


if __name__ == "__main__":
    main()
