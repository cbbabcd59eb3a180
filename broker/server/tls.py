"""TLS for a listener, from its `sslConnection` in broker.xml (contract N1, N2, invariant I89).

Key and trust stores are PEM, PKCS #12 or JKS (ADR 48). OpenSSL takes keys from files only: it gets them in files of
memory, so that no key is written to a disk.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from broker.config.ciphers import FFDHE2048, cipher_list
from broker.config.key_stores import KeyAndChain, key_and_chain, read_store, trusted_certificates
from broker.config.place import one_line
from broker.config.ssl_connection import KeyStore, TlsListener, TrustStore
from broker.errors import ConfigError

_log = structlog.get_logger(__name__)

AMQP: Final = "transports/amqp/sslConnection"
"""The element of the AMQP listener."""

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH: Final = {"false": ssl.CERT_NONE, "want": ssl.CERT_OPTIONAL, "true": ssl.CERT_REQUIRED}
_TRUST: Final = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
"""A certificate in the trust store is trusted by itself, whoever has issued it: as in Java, in every Python alike."""
_REASONS: Final = {
    "KEY_VALUES_MISMATCH": "the private key is not the one of the certificate",
    "EE_KEY_TOO_SMALL": "the key is too short to be safe",
    "CA_KEY_TOO_SMALL": "a key of the chain is too short to be safe",
    "CA_MD_TOO_WEAK": "a certificate of the chain has a signature that is not safe any more",
    "EE_MD_TOO_WEAK": "the certificate has a signature that is not safe any more",
}


@dataclass(frozen=True, slots=True)
class TlsSetup:
    """What a TLS listener needs, and the certificates in it, in DER."""

    context: ssl.SSLContext
    own: Sequence[bytes]
    trusted: Sequence[bytes]


def tls_setup(connection: TlsListener, element: str = AMQP) -> TlsSetup:
    """Read the stores and return a context with them. Raises ConfigError naming the file that cannot be used.

    `element` is where in broker.xml the listener is.

    A trust store makes client certificates welcome, unless `clientAuth` says no, and checks those that are shown.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_flags = _TRUST
    context.options |= ssl.OP_NO_RENEGOTIATION
    versions = [_VERSIONS[name] for name in connection.tls_versions]
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    own = _use_key(context, connection.key_store, element)
    trusted: Sequence[bytes] = ()
    if connection.asks_for_certificates:
        trusted = _use_trusted(context, connection.trust_store, element)
        context.verify_mode = _CLIENT_AUTH[connection.client_auth]
    if connection.ciphers:
        context.set_ciphers(cipher_list(connection.ciphers))
        if any(suite["name"].startswith("DHE-") for suite in context.get_ciphers()):
            with _in_memory(FFDHE2048.encode()) as path:
                context.load_dh_params(path)
    return TlsSetup(context, own, trusted)


def _use_key(context: ssl.SSLContext, store: KeyStore, element: str) -> Sequence[bytes]:
    password = store.password.get_secret_value()
    try:
        found = key_and_chain(read_store(Path(store.location)), password, store.key_alias)
        if not found.certificates:
            raise ValueError("there is no certificate in it")
        with _in_memory(found.pem) as path:
            context.load_cert_chain(path, password=lambda: password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{element}/keyStore: cannot use {store.location}: {_reason(error)};"
            " expected a file with the private key and its certificates, as PEM, PKCS #12 or JKS"
        ) from error
    _tell_of_other_keys(found, store, element)
    return found.certificates


def _tell_of_other_keys(found: KeyAndChain, store: KeyStore, element: str) -> None:
    if found.others:
        _log.warning(
            "a key store has several private keys, its first one is used; name one in keyAlias",
            element=f"{element}/keyStore/keyAlias",
            file=store.location,
            others=", ".join(found.others),
        )


def _use_trusted(context: ssl.SSLContext, store: TrustStore, element: str) -> Sequence[bytes]:
    password = store.password.get_secret_value()
    try:
        certificates = trusted_certificates(read_store(Path(store.location)), password)
        usable = [each for each in certificates if _is_trusted(context, each)]
        if not usable:
            raise ValueError("there is no usable certificate in it")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{element}/trustStore: cannot use {store.location}: {_reason(error)};"
            " expected a file of certificates, as PEM, PKCS #12 or JKS"
        ) from error
    if len(usable) < len(certificates):
        _log.warning(
            "a trust store has certificates that cannot be read, they are left out",
            element=f"{element}/trustStore",
            file=store.location,
            certificates=len(certificates) - len(usable),
        )
    return usable


def _is_trusted(context: ssl.SSLContext, certificate: bytes) -> bool:
    """Trust a certificate; return whether OpenSSL could read it."""
    try:
        context.load_verify_locations(cadata=certificate)
    except ssl.SSLError:
        return False
    return True


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Give a file that is on no disk, and has no name that others know. Raises OSError."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    if not isinstance(error, ssl.SSLError):
        return one_line((error.strerror if isinstance(error, OSError) else None) or str(error))
    return _REASONS.get(error.reason or "", "its key cannot be read, or the password is wrong")
