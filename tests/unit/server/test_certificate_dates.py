"""Certificates that expire: what the log says, and how loudly."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from broker.server.certificate_dates import report_own, report_trusted

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LONG = timedelta(days=400)
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def certificate(begin: datetime, end: datetime, name: str = "n") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number(), begin, end)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


GOOD = certificate(NOW - DAY, NOW + LONG)
EXPIRED = certificate(NOW - LONG, NOW - DAY)
SOON = certificate(NOW - DAY, NOW + 30 * DAY)


@pytest.mark.parametrize(
    ("begin", "end", "level", "event"),
    [
        (NOW - DAY, NOW + 31 * DAY, "", ""),
        (NOW - DAY, NOW + 30 * DAY, "warning", "a TLS certificate expires soon"),
        (NOW - DAY, NOW, "warning", "a TLS certificate expires soon"),
        (NOW - 2 * DAY, NOW - DAY, "error", "a TLS certificate has expired, peers will refuse it"),
        (NOW + DAY, NOW + 2 * DAY, "warning", "a TLS certificate is not valid yet, peers will refuse it"),
    ],
)
def test_what_the_log_says_of_the_own_certificate(
    logged: list[MutableMapping[str, Any]], begin: datetime, end: datetime, level: str, event: str
) -> None:
    report_own([certificate(begin, end)], "own.pem", NOW)
    assert [(line["log_level"], line["event"]) for line in logged] == ([(level, event)] if event else [])
    for line in logged:
        assert (line["element"], line["file"]) == ("transports/amqp/sslConnection/keyStore", "own.pem")
        assert (line["subject"], line["valid_to"]) == ("CN=n", end.isoformat())


def test_the_days_that_are_left_are_counted(logged: list[MutableMapping[str, Any]]) -> None:
    report_own([certificate(NOW - DAY, NOW + 12 * DAY)], "own.pem", NOW)
    assert logged[0]["days"] == 12


def test_every_certificate_of_a_chain_counts(logged: list[MutableMapping[str, Any]]) -> None:
    report_own([GOOD, SOON, EXPIRED], "own.pem", NOW)
    assert [line["log_level"] for line in logged] == ["warning", "error"]


@pytest.mark.parametrize(
    ("certificates", "expected"),
    [
        ([GOOD, GOOD], []),
        ([GOOD, EXPIRED], [("warning", "1 of 2")]),
        ([GOOD, certificate(NOW + DAY, NOW + LONG)], [("warning", "1 of 2")]),
        ([EXPIRED, EXPIRED], [("error", "2 of 2")]),
        ([GOOD, SOON, EXPIRED], [("warning", "1 of 3"), ("warning", "1 of 3")]),
        ([], []),
    ],
)
def test_trusted_certificates_are_an_error_when_none_is_valid(
    logged: list[MutableMapping[str, Any]], certificates: list[bytes], expected: list[tuple[str, str]]
) -> None:
    report_trusted(certificates, "trust.jks", NOW)
    assert [(line["log_level"], line["certificates"]) for line in logged] == expected


def test_no_more_than_five_trusted_certificates_are_named(logged: list[MutableMapping[str, Any]]) -> None:
    report_trusted([certificate(NOW - LONG, NOW - DAY, str(n)) for n in range(7)], "trust.jks", NOW)
    assert logged[0]["subjects"] == "CN=0; CN=1; CN=2; CN=3; CN=4; …"


def test_what_the_library_cannot_read_is_left_out(logged: list[MutableMapping[str, Any]]) -> None:
    report_own([b"no certificate", EXPIRED], "own.pem", NOW)
    assert len(logged) == 1
