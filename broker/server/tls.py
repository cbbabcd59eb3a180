"""TLS for the AMQP listener, from the `sslConnection` of broker.xml (contract N1, invariant I89).

Key and trust stores are PEM files.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from broker.config.broker_xml import SslConnection
from broker.config.ciphers import cipher_list
from broker.errors import ConfigError

_log = structlog.get_logger(__name__)

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "the private key is not the one of the certificate",
    "EE_KEY_TOO_SMALL": "the key is too short to be safe",
    "CA_KEY_TOO_SMALL": "a key of the chain is too short to be safe",
    "CA_MD_TOO_WEAK": "a certificate of the chain has a signature that is not safe any more",
}


def server_context(connection: SslConnection, now: datetime | None = None) -> ssl.SSLContext:
    """Return the context of the TLS listener. Raises ConfigError naming the file that cannot be used.

    A trust store makes client certificates welcome and checks those that are shown. A certificate that is not valid at
    `now` is a warning: it may become valid, or be replaced (SIGHUP), while the node runs.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    versions = [_VERSIONS[name] for name in connection.ssl_enabled_protocols]
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    password = connection.key_store.password.get_secret_value()
    location = Path(connection.key_store.location)
    try:
        context.load_cert_chain(location, password=lambda: password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"transports/amqp/sslConnection/keyStore: cannot use {location}: {_reason(error)};"
            " expected a PEM file with the private key and the certificate chain"
        ) from error
    now = now or datetime.now(UTC)
    _warn_of_dates("keyStore", location, now)
    if connection.trust_store.location:
        trusted = Path(connection.trust_store.location)
        try:
            context.load_verify_locations(trusted)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"transports/amqp/sslConnection/trustStore: cannot use {trusted}: {_reason(error)};"
                " expected a PEM file of certificates"
            ) from error
        context.verify_mode = ssl.CERT_OPTIONAL
        _warn_of_dates("trustStore", trusted, now)
    if connection.ciphers:
        context.set_ciphers(cipher_list(connection.ciphers))
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    return _REASONS.get(getattr(error, "reason", None) or "", "not a PEM file, or the password is wrong")


def _warn_of_dates(element: str, file: Path, now: datetime) -> None:
    """Warn of every certificate in `file` that has expired or is not valid yet."""
    from cryptography import x509  # takes a while

    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):  # in a form that OpenSSL knows and this library does not
        return
    for certificate in certificates:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if begin <= now <= end:
            continue
        _log.warning(
            "a TLS certificate has expired, peers will refuse it"
            if now > end
            else "a TLS certificate is not valid yet, peers will refuse it",
            element=f"transports/amqp/sslConnection/{element}",
            file=str(file),
            subject=certificate.subject.rfc4514_string(),
            valid_from=begin.isoformat(),
            valid_to=end.isoformat(),
        )
