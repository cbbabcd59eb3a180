"""The context of the TLS listener: contract N1, N2; invariant I89."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, MutableMapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from broker.config.broker_xml import KeyStore, SslConnection, TrustStore
from broker.errors import ConfigError
from broker.server.tls import server_context
from tests.support.edge import Node

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def key_store(folder: Path, authority: trustme.CA, begin: datetime = NOW - DAY, end: datetime = NOW + DAY) -> Path:
    file = folder / "keystore.pem"
    certificate = authority.issue_cert("localhost", not_before=begin, not_after=end)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


def connection(location: Path, trusted: Path | str = "", ciphers: str = "") -> SslConnection:
    return SslConnection.model_validate(
        {
            "@enabled": "true",
            "keyStore": KeyStore(location=str(location)),
            "trustStore": TrustStore(location=str(trusted)),
            "ciphers": ciphers,
        }
    )


def test_a_certificate_that_is_valid_is_no_news(
    tmp_path: Path, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    server_context(connection(key_store(tmp_path, authority)), NOW)
    assert logged == []


@pytest.mark.parametrize(
    ("begin", "end", "event"),
    [
        (NOW - 2 * DAY, NOW - DAY, "a TLS certificate has expired, peers will refuse it"),
        (NOW + DAY, NOW + 2 * DAY, "a TLS certificate is not valid yet, peers will refuse it"),
    ],
)
def test_a_certificate_that_is_not_valid_now_is_a_warning(
    tmp_path: Path,
    authority: trustme.CA,
    logged: list[MutableMapping[str, Any]],
    begin: datetime,
    end: datetime,
    event: str,
) -> None:
    file = key_store(tmp_path, authority, begin, end)
    assert server_context(connection(file), NOW).get_ca_certs() == []
    (line,) = logged
    assert (line["log_level"], line["event"], line["file"]) == ("warning", event, str(file))
    assert (line["element"], line["valid_to"]) == ("transports/amqp/sslConnection/keyStore", end.isoformat())


def test_an_authority_that_is_not_valid_now_is_a_warning(
    tmp_path: Path, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(str(trusted))
    long_after = datetime(4000, 1, 1, tzinfo=UTC)
    server_context(connection(key_store(tmp_path, authority, end=long_after + DAY), trusted), long_after)
    assert [line["element"] for line in logged] == ["transports/amqp/sslConnection/trustStore"]


def test_the_key_of_another_certificate_is_named_as_such(tmp_path: Path, authority: trustme.CA) -> None:
    file = tmp_path / "keystore.pem"
    one, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    file.write_bytes(one.private_key_pem.bytes() + other.cert_chain_pems[0].bytes())
    with pytest.raises(ConfigError, match="the private key is not the one of the certificate"):
        server_context(connection(file))


def test_a_listener_has_the_ciphers_that_are_configured(tmp_path: Path, authority: trustme.CA) -> None:
    context = server_context(
        connection(key_store(tmp_path, authority), ciphers="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), NOW
    )
    names = [suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"]
    assert names == ["ECDHE-RSA-AES128-GCM-SHA256"]


async def test_a_client_certificate_that_is_refused_leaves_one_line(
    node: Node, tmp_path: Path, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(str(trusted))
    client = ssl.create_default_context()
    authority.configure_trust(client)
    trustme.CA().issue_cert("stranger").configure_cert(client)
    async with asyncio.timeout(5), node.tasks:
        context = server_context(connection(key_store(tmp_path, authority, end=datetime(4000, 1, 1)), trusted))
        port = await node.server.listen("127.0.0.1", 0, context)
        del logged[:]
        with suppress(OSError):  # with TLS 1.3 a client learns it when it reads
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
            with closing(writer):
                await reader.read()
        while not logged:
            await node.turn()
        await node.server.stop("over", 5.0)
    (line,) = logged
    assert line["log_level"] in ("info", "warning")
    assert "certificate verify failed" in line["reason"]
    assert line["peer"].startswith("127.0.0.1:")
