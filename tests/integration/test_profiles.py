"""Real clients on listeners with other compatibility profiles (contract U2, ADR 43): a broker with one of each."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

import amqp
import pika
import pytest
import trustme
from kombu import Connection
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerProcess

UniqueName = Callable[[str], str]
Parameters = pika.ConnectionParameters


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Parameters]]:
    """The address of a listener with the profile rabbitmq-3.13, and how to connect to one with strict-spec over TLS."""
    folder = tmp_path_factory.mktemp("profiles")
    authority, location, port = trustme.CA(), folder / "key.pem", quiet_port()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(location))
    broker = BrokerProcess(folder / "broker")
    file = broker.config / "broker.xml"
    text = file.read_text().replace("<defaultConnection ", '<defaultConnection profile="rabbitmq-3.13" ')
    strict = (
        f'<sslConnection enabled="true" port="{port}" profile="strict-spec">'
        f"<keyStore><location>{location}</location></keyStore></sslConnection></amqp>"
    )
    file.write_text(text.replace("</amqp>", strict))
    broker.start()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    yield broker.url, Parameters("127.0.0.1", port, ssl_options=pika.SSLOptions(context, "localhost"))
    broker.stop()


@pytest.fixture
def rabbitmq_url(listeners: tuple[str, Parameters]) -> str:
    return listeners[0]


def test_kombu_sets_the_prefetch_as_the_product_has_it(rabbitmq_url: str, amqp_url: str) -> None:
    with Connection(rabbitmq_url) as as_rabbitmq, Connection(amqp_url) as usual:
        assert not as_rabbitmq.qos_semantics_matches_spec
        assert usual.qos_semantics_matches_spec


def test_py_amqp_and_pika_read_product_and_version(rabbitmq_url: str) -> None:
    with amqp.Connection(rabbitmq_url.removeprefix("amqp://guest:guest@").rstrip("/")) as connection:
        assert connection.server_properties["product"] == "RabbitMQ"
    parameters = pika.URLParameters(rabbitmq_url)
    with pika.BlockingConnection(parameters) as blocking:
        assert blocking._impl.server_properties["version"] == "3.13.7"


@pytest.mark.parametrize("is_global", [False, True])
def test_kombu_limits_a_channel_by_the_prefetch_that_it_chooses(
    rabbitmq_url: str, unique: UniqueName, is_global: bool
) -> None:
    name, received = unique("q"), []
    with Connection(rabbitmq_url) as connection:
        channel = connection.channel()
        channel.queue_declare(name, exclusive=True)
        channel.basic_qos(0, 1, is_global)
        for tag in ("a", "b"):
            channel.basic_consume(name, no_ack=False, callback=received.append, consumer_tag=tag)
        for number in range(3):
            channel.basic_publish(amqp.Message(str(number)), "", name)
        ready = connection.channel().queue_declare(name, passive=True).message_count
    assert ready == (2 if is_global else 1)


def test_pika_is_refused_what_rabbitmq_refuses(rabbitmq_url: str, unique: UniqueName) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    with pytest.raises(ChannelClosedByBroker, match=r"'x-delivery-limit' .* of queue type rabbit_classic_queue"):
        connection.channel().queue_declare(unique("q"), arguments={"x-delivery-limit": 3})
    with pytest.raises(ConnectionClosedByBroker, match="active=false"):
        connection.channel().flow(False)


def test_pika_finds_the_specification_on_a_strict_listener(listeners: tuple[str, Parameters]) -> None:
    with pika.BlockingConnection(listeners[1]) as connection:
        assert connection._impl.server_properties["product"] == "Cordillera"
        with pytest.raises(ChannelClosedByBroker) as closed:
            connection.channel().queue_delete("nothing")
        assert closed.value.reply_code == 404
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        name = channel.queue_declare("", exclusive=True).method.queue
        for tag in ("a", "b"):
            channel.basic_consume(name, lambda *delivery: None, consumer_tag=tag)
        for _ in range(3):
            channel.basic_publish("", name, b"m")
        assert connection.channel().queue_declare(name, passive=True).method.message_count == 2
