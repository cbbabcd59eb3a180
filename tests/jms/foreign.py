"""What a client of RabbitMQ publishes for the case `foreign`, which a client of JMS reads."""

from __future__ import annotations

import pika
from pika.spec import BasicProperties


def publish(port: int, queue: str) -> None:
    """Leave four messages in `queue`: a text with properties of many types, JSON, one without a type, a dead one."""
    where = pika.ConnectionParameters(port=port, virtual_host="carbon")
    with pika.BlockingConnection(where) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        properties = {"p_bool": True, "p_int": 7, "p_long": 1 << 40, "p_text": "text", "n_none": None}
        text = BasicProperties(content_type="text/plain", expiration="600000", headers=properties, delivery_mode=2)
        channel.basic_publish("", queue, b"plain", text)
        channel.basic_publish("", queue, b"{}", BasicProperties(content_type="application/json"))
        channel.basic_publish("", queue, b"\x00\x01")
        dying = f"{queue}.dying"
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue, "x-message-ttl": 1}
        channel.queue_declare(dying, durable=True, arguments=arguments)
        channel.basic_publish("", dying, b"dead", BasicProperties(content_type="text/plain", delivery_mode=2))
        connection.sleep(0.5)
        channel.queue_delete(dying)
