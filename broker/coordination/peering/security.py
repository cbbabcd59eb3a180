"""How peers prove the cluster's secret to each other, and keep what they say from others (ADR 77).

Beyond loopback every connection is TLS 1.3. The server's key and certificate are made when the process starts, and
nobody signs them: the proofs of the secret name the certificate, so that they are of no use on another connection.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.thrift.secret import SharedSecret, new_nonce

_PLAIN: Final = b"cordillera peers, plain"
_TLS: Final = b"cordillera peers, TLS "
_YEARS: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class PeerSecurity:
    """What this node has to prove itself and to hide what it says; without TLS on loopback alone."""

    secret: SharedSecret | None
    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None
    own_channel: bytes = _PLAIN
    """What proofs name on connections that others make to this node."""
    new_nonce: Callable[[], bytes] = new_nonce

    def channel_to(self, tls: Any) -> bytes:
        """Return what proofs name on a connection to another node; `tls` is the object of its TLS, None without."""
        return _PLAIN if tls is None else _channel(tls.getpeercert(binary_form=True) or b"")


def plain(secret: SharedSecret | None) -> PeerSecurity:
    """Return what a node needs whose peers are all on its machine."""
    return PeerSecurity(secret)


def encrypted(secret: SharedSecret) -> PeerSecurity:
    """Make a key, and return what a node needs whose peers are on other machines."""
    key, certificate = _new_certificate()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # the proof of the secret says who the server is
    client.verify_mode = ssl.CERT_NONE
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    server.num_tickets = 0  # each connection proves the secret anew
    # The key exists in the memory of this process alone; OpenSSL reads it from a file without a name.
    memory = os.memfd_create("peers")
    try:
        os.write(memory, key + certificate.public_bytes(serialization.Encoding.PEM))
        server.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
    return PeerSecurity(secret, server, client, _channel(certificate.public_bytes(serialization.Encoding.DER)))


def _channel(certificate: bytes) -> bytes:
    return _TLS + hashlib.sha256(certificate).digest()


def _new_certificate() -> tuple[bytes, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cordillera node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _YEARS)  # nobody compares clocks
        .not_valid_after(now + _YEARS)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate
