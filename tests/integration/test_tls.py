"""The TLS listener of `transports/amqp/sslConnection` (contract N1)."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pika
import pytest
import trustme

from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerFailed, BrokerProcess

SSL_CONNECTION = """\
      <sslConnection enabled="true" port="{port}">
        <keyStore><location>{location}</location></keyStore>
      </sslConnection>
    </amqp>
"""


def _with_tls(broker: BrokerProcess, location: Path) -> int:
    port = quiet_port()
    file = broker.config / "broker.xml"
    file.write_text(file.read_text().replace("    </amqp>\n", SSL_CONNECTION.format(port=port, location=location)))
    return port


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def key_store(authority: trustme.CA, tmp_path: Path) -> Path:
    location = tmp_path / "keystore.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(location))
    return location


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_a_client_publishes_and_gets_over_tls(tmp_path: Path, key_store: Path, trusting: ssl.SSLContext) -> None:
    broker = BrokerProcess(tmp_path / "broker")
    port = _with_tls(broker, key_store)
    broker.start()
    options = pika.SSLOptions(trusting, "localhost")
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, ssl_options=options))
    channel = connection.channel()
    channel.queue_declare("secret")
    channel.basic_publish("", "secret", b"x" * 300_000)
    _, _, body = channel.basic_get("secret", auto_ack=True)
    connection.close()
    broker.stop()
    assert body == b"x" * 300_000


def test_tls_1_1_is_refused(tmp_path: Path, key_store: Path, trusting: ssl.SSLContext) -> None:
    broker = BrokerProcess(tmp_path / "broker")
    port = _with_tls(broker, key_store)
    broker.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw)
    broker.stop()


def test_a_key_store_that_is_not_pem_stops_the_start_with_one_line(tmp_path: Path) -> None:
    location = tmp_path / "wso2carbon.jks"
    location.write_bytes(b"\xfe\xed\xfe\xed")
    broker = BrokerProcess(tmp_path / "broker")
    _with_tls(broker, location)
    with pytest.raises(BrokerFailed, match=r"keyStore: cannot use .*wso2carbon\.jks: not a PEM file"):
        broker.start()
