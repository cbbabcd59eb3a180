"""The user in a certificate."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from broker.config.ssl_connection import CertificateLogin
from broker.server.certificate_login import certificate_user, user_in
from tests.support.tls import shake_hands, trusting_client


def certificate(common_names: Sequence[str], alternatives: Sequence[Any] = ()) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Andes, Inc.")]
    name = x509.Name(parts + [x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names])
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, end)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


ORDERS = certificate(
    ["orders"],
    [
        x509.RFC822Name("orders@example.com"),
        x509.DNSName("orders.example.com"),
        x509.DNSName("second.example.com"),
        x509.UniformResourceIdentifier("spiffe://example.com/orders"),
    ],
)


@pytest.mark.parametrize(
    ("login", "user"),
    [
        ("commonName", "orders"),
        ("subject", "CN=orders,O=Andes\\, Inc."),
        ("dns", "orders.example.com"),
        ("email", "orders@example.com"),
        ("uri", "spiffe://example.com/orders"),
    ],
)
def test_each_kind_of_name_names_a_user(login: CertificateLogin, user: str) -> None:
    assert user_in(ORDERS, login) == user


@pytest.mark.parametrize(
    ("content", "login"),
    [
        (certificate(["one", "two"]), "commonName"),
        (certificate([]), "commonName"),
        (certificate(["orders"]), "dns"),
        (certificate(["orders"], [x509.DNSName("d")]), "email"),
        (b"no certificate", "commonName"),
    ],
)
def test_without_the_name_there_is_no_user(content: bytes, login: CertificateLogin) -> None:
    assert user_in(content, login) == ""


def agreed(verify_mode: ssl.VerifyMode, *, shows: bool) -> ssl.SSLObject:
    """Return the server's side of a handshake with a client that may show a certificate."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = verify_mode
    client = trusting_client()
    if shows:
        authority.issue_cert("client.example.com", common_name="client").configure_cert(client)
    return shake_hands(server, client).server


def test_a_certificate_that_was_verified_names_its_user() -> None:
    assert certificate_user(agreed(ssl.CERT_OPTIONAL, shows=True), "commonName") == "client"


def test_nobody_is_named_when_certificates_do_not_log_in() -> None:
    assert certificate_user(agreed(ssl.CERT_OPTIONAL, shows=True), "off") == ""


@pytest.mark.parametrize(("verify_mode", "shows"), [(ssl.CERT_OPTIONAL, False), (ssl.CERT_NONE, True)])
def test_nobody_is_named_without_a_verified_certificate(verify_mode: ssl.VerifyMode, shows: bool) -> None:
    assert certificate_user(agreed(verify_mode, shows=shows), "commonName") == ""


class Unverified:
    """A connection whose peer has shown a certificate that nobody has checked."""

    def __init__(self, verify_mode: ssl.VerifyMode = ssl.CERT_NONE) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.verify_mode = verify_mode

    def getpeercert(self, binary_form: bool) -> bytes:
        return ORDERS


@pytest.mark.parametrize(
    ("verify_mode", "login", "user"),
    [(ssl.CERT_NONE, "uri", ""), (ssl.CERT_REQUIRED, "off", ""), (ssl.CERT_REQUIRED, "email", "orders@example.com")],
)
def test_a_certificate_that_nobody_has_checked_names_nobody(
    verify_mode: ssl.VerifyMode, login: CertificateLogin, user: str
) -> None:
    assert certificate_user(Unverified(verify_mode), login) == user  # type: ignore[arg-type]


def test_nobody_is_named_without_tls() -> None:
    assert certificate_user(None, "commonName") == ""
