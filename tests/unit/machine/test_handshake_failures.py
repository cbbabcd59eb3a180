"""The reasons of failed TLS handshakes in words."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from broker.machine.handshake_failures import handshake_failure
from tests.support.tls import EVERY_CIPHER, trusting_client


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def failure(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> str:
    """Return what the server says of a handshake that fails."""
    said, heard = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(said, heard, server_hostname=name), server.wrap_bio(heard, said, server_side=True)]
    for _ in range(10):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                if side.server_side:
                    return handshake_failure(error)
    raise AssertionError("the server has no objections")


def test_a_version_that_is_not_served(server: ssl.SSLContext) -> None:
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    expected = "the client offers no version of TLS that this listener speaks (UNSUPPORTED_PROTOCOL)"
    assert failure(server, trusting_client("TLSv1.2", EVERY_CIPHER)) == expected


def test_no_cipher_in_common(server: ssl.SSLContext) -> None:
    expected = "the client and this listener have no cipher suite in common (NO_SHARED_CIPHER)"
    assert failure(server, trusting_client("TLSv1.2", "AES128-SHA")) == expected


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_client_that_does_not_trust_the_listener(server: ssl.SSLContext, version: str) -> None:
    client = ssl.create_default_context()
    client.minimum_version = client.maximum_version = getattr(ssl.TLSVersion, version.replace(".", "_"))
    expected = "the client does not know the authority of this listener's certificate (TLSV1_ALERT_UNKNOWN_CA)"
    assert failure(server, client) == expected


def test_a_client_that_finds_another_name(server: ssl.SSLContext, authority: trustme.CA) -> None:
    client = ssl.create_default_context()
    authority.configure_trust(client)
    assert "the client does not accept this listener's certificate" in failure(server, client, "elsewhere")


def test_a_certificate_that_is_not_trusted(server: ssl.SSLContext, authority: trustme.CA) -> None:
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    client = trusting_client()
    trustme.CA().issue_cert("client").configure_cert(client)
    assert failure(server, client).startswith("the certificate of the client is refused: ")
    expected = "the client showed no certificate, and this listener demands one (PEER_DID_NOT_RETURN_A_CERTIFICATE)"
    assert failure(server, trusting_client()) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the client speaks HTTP without TLS (HTTP_REQUEST)"),
        (b"AMQP\0\0\x09\x01" + bytes(16), "the client does not speak TLS (WRONG_VERSION_NUMBER)"),
    ],
)
def test_what_is_not_tls(server: ssl.SSLContext, said: bytes, expected: str) -> None:
    heard = ssl.MemoryBIO()
    heard.write(said)
    with pytest.raises(ssl.SSLError) as failed:
        server.wrap_bio(heard, ssl.MemoryBIO(), server_side=True).do_handshake()
    assert handshake_failure(failed.value) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(), "the client closed the connection during the handshake"),
        (ConnectionAbortedError("it takes too long"), "it takes too long"),
        (MemoryError(), "MemoryError()"),
    ],
)
def test_what_is_not_an_error_of_tls(error: Exception, expected: str) -> None:
    assert handshake_failure(error) == expected


def test_an_error_without_words_is_shown_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError) as failed:
        ssl.create_default_context().load_verify_locations(cadata="-----BEGIN CERTIFICATE-----\n")
    assert "(_ssl.c" in handshake_failure(failed.value)
