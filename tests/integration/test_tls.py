"""The TLS listener of `transports/amqp/sslConnection` (contract N1, N2)."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest
import trustme
from pika.credentials import ExternalCredentials

from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerFailed, BrokerProcess
from broker.config.key_stores import key_and_chain
from tests.support.java_stores import PASSWORD, SERVER_JKS, TRUST_JKS, decoded
from tests.support.tls import EVERY_CIPHER, trusting_client
from tests.support.waiting import wait_until

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


def test_a_key_store_that_cannot_be_read_stops_the_start_with_one_line(tmp_path: Path) -> None:
    location = tmp_path / "wso2carbon.jks"
    location.write_bytes(b"\xfe\xed\xfe\xed")
    broker = BrokerProcess(tmp_path / "broker")
    _with_tls(broker, location)
    with pytest.raises(BrokerFailed, match=r"keyStore: cannot use .*wso2carbon\.jks: it is damaged") as failed:
        broker.start()
    assert "exit code 78" in str(failed.value)
    assert "Traceback" not in str(failed.value)


AS_WSO2_SHIPS_IT = f"""\
      <sslConnection enabled="true" port="{{port}}">
        <keyStore>
          <location>repository/resources/security/wso2carbon.jks</location>
          <password>{PASSWORD}</password>
          <certType>SunX509</certType>
        </keyStore>
        <trustStore>
          <location>repository/resources/security/client-truststore.jks</location>
          <password>{PASSWORD}</password>
          <certType>SunX509</certType>
        </trustStore>
        <sslEnabledProtocols>TLSv1</sslEnabledProtocols>
        {{more}}
      </sslConnection>
    </amqp>
"""


@dataclass(frozen=True)
class JavaStores:
    """A broker with Java key stores in the home that its configuration lies in, and the authority of both sides."""

    broker: BrokerProcess
    port: int
    key: Path
    authority: bytes

    def client(self) -> ssl.SSLContext:
        """Return one that trusts the broker, and shows no certificate."""
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=self.authority)
        return context

    def failures(self) -> list[str]:
        """Return the reasons of all handshakes that have failed."""
        lines = [json.loads(line) for line in self.broker.log.splitlines()]
        failed = [line for line in lines if line["event"] == "a TLS handshake has failed"]
        assert all(line["peer"].startswith("127.0.0.1:") and line["level"] == "warning" for line in failed)
        return [line["reason"] for line in failed]


@pytest.fixture(scope="module")
def java_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaStores]:
    folder = tmp_path_factory.mktemp("java")
    broker, port = BrokerProcess(folder / "broker"), quiet_port()
    security = folder / "broker/repository/resources/security"
    security.mkdir(parents=True)
    (security / "wso2carbon.jks").write_bytes(decoded(SERVER_JKS))
    (security / "client-truststore.jks").write_bytes(decoded(TRUST_JKS))
    more = "<certificateLogin>commonName</certificateLogin>"
    file = broker.config / "broker.xml"
    file.write_text(file.read_text().replace("    </amqp>\n", AS_WSO2_SHIPS_IT.format(port=port, more=more)))
    administrator = "<UserManager><Realm><Configuration><AdminUser><UserName>localhost</UserName><Password>x</Password>"
    ends = "</AdminUser></Configuration></Realm></UserManager>"
    (broker.config / "user-mgt.xml").write_text(administrator + ends)
    found = key_and_chain(decoded(SERVER_JKS), PASSWORD)
    key = folder / "client.pem"
    key.write_bytes(found.pem)  # the name in it is localhost, and its authority is the trusted one
    broker.start()
    yield JavaStores(broker, port, key, found.certificates[-1])
    broker.stop()


def logs_in(stores: JavaStores, context: ssl.SSLContext, credentials: Any) -> bool:
    options = pika.SSLOptions(context, "localhost")
    parameters = pika.ConnectionParameters("127.0.0.1", stores.port, credentials=credentials, ssl_options=options)
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, ssl.SSLError):
        return False
    return True


def test_the_files_of_wso2_serve_clients_from_java_key_stores(java_stores: JavaStores) -> None:
    guest, external = pika.PlainCredentials("guest", "guest"), ExternalCredentials()
    client = java_stores.client()
    assert logs_in(java_stores, client, guest)
    assert not logs_in(java_stores, client, external)

    client.load_cert_chain(java_stores.key)
    assert logs_in(java_stores, client, guest)
    assert logs_in(java_stores, client, external)
    assert "TLSv1 is no longer safe and left out; clients get TLSv1.2 or TLSv1.3" in java_stores.broker.log


def test_a_handshake_that_fails_leaves_a_line_with_its_reason(java_stores: JavaStores) -> None:
    before = len(java_stores.failures())
    guest = pika.PlainCredentials("guest", "guest")
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    trustme.CA().issue_cert("stranger").configure_cert(stranger)
    assert not logs_in(java_stores, stranger, guest)
    assert not logs_in(java_stores, ssl.create_default_context(), guest)
    with socket.create_connection(("127.0.0.1", java_stores.port), timeout=10) as plain:
        plain.sendall(b"AMQP\0\0\x09\x01")
        with suppress(OSError):
            assert plain.recv(100)[:1] != b"\1"

    wait_until(lambda: len(java_stores.failures()) == before + 3, 10.0, "all are logged", [java_stores.broker])
    refused, untrusted, plain_text = java_stores.failures()[before:]
    assert refused.startswith("the certificate of the client is refused: ")
    assert untrusted == "the client does not know the authority of this listener's certificate (TLSV1_ALERT_UNKNOWN_CA)"
    assert plain_text == "the client does not speak TLS (WRONG_VERSION_NUMBER)"


def test_tls_1_1_is_refused(java_stores: JavaStores) -> None:
    with (
        socket.create_connection(("127.0.0.1", java_stores.port), timeout=10) as raw,
        pytest.raises(ssl.SSLError),
    ):
        trusting_client("TLSv1.1", EVERY_CIPHER).wrap_socket(raw)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the command openssl (package openssl) is missing")
@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3"), ("-tls1_1", "")])
def test_openssl_connects_and_shows_its_certificate(java_stores: JavaStores, option: str, version: str) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{java_stores.port}", "-brief", option]
    said = subprocess.run(
        [*command, "-cert", str(java_stores.key), "-key", str(java_stores.key)],
        input=b"",
        capture_output=True,
        timeout=20,
        check=False,
    )
    text = (said.stdout + said.stderr).decode()
    assert (f"Protocol version: {version}" in text) if version else (said.returncode != 0), text


@pytest.mark.slow
def test_a_certificate_that_is_replaced_is_shown_without_a_signal(
    tmp_path: Path, authority: trustme.CA, key_store: Path, trusting: ssl.SSLContext
) -> None:
    broker = BrokerProcess(tmp_path / "broker")
    port = _with_tls(broker, key_store)
    broker.start()

    def shown() -> bytes | None:
        raw = socket.create_connection(("127.0.0.1", port), 10)
        with trusting.wrap_socket(raw, server_hostname="localhost") as client:
            return client.getpeercert(binary_form=True)

    before = shown()
    key_store.write_text("broken")
    wait_until(lambda: "were not read again" in broker.log, 20.0, "the broken file is noticed", [broker])
    assert shown() == before
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(key_store))
    wait_until(lambda: shown() != before, 20.0, "the new certificate is shown", [broker])
    broker.stop()
