"""The console's certificate: made at the first start, signed by nobody else, and kept beside the password file."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.config.configuration import Configuration
from broker.errors import ConfigError
from broker.machine.faults import MachineFaults
from broker.node.admin_password import password_path

_log = structlog.get_logger(__name__)

_DAYS: Final = 397
"""The longest time for which browsers take a certificate."""
_RENEW: Final = timedelta(days=30)
_LOOK_INTERVAL: Final = 10.0
"""Seconds between two looks at the file."""


def certificate_path(config: Configuration) -> Path:
    """Return where key and certificate are kept: beside the administrator's password."""
    beside = password_path(config)
    return beside.with_name(f"{beside.name.removesuffix('.admin-password')}.console.pem")


class ConsoleCertificate:
    """The console's certificate, which is made where there is none, and anew before it ends.

    Put a certificate of your own, with its key, into the file, and it is used as it is, without a start.
    """

    def __init__(self, path: Path) -> None:
        """Read or make it. Raises `ConfigError` for a file that cannot be read or written."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._complaint = ""
        self.context: Final = _new_context()
        """For all connections: those that come later get what is read later."""
        self._read()

    def end(self) -> float | None:
        """Return when it ends, in seconds since 1970; None if it cannot be read."""
        return end_of(self._path)

    def look(self) -> None:
        """Read the file if it has changed, make it anew if it ends soon. A file of no use leaves what was there."""
        if _state_of(self._path) == self._seen and not self._complaint and not _is_ours_and_ends(self._path):
            return
        try:
            self._read()
        except ConfigError as error:
            if str(error) != self._complaint:
                _log.error("the console's certificate was not read again", reason=str(error))
            self._complaint = str(error)
            return
        self._complaint = ""
        _log.info("the console's certificate was read again", file=str(self._path))

    async def watch(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Look at the file for ever."""
        faults = MachineFaults("reading the console's certificate again")
        while True:
            await sleep(_LOOK_INTERVAL)
            with faults:
                self.look()

    def _read(self) -> None:
        path = self._path
        if not path.exists() or _is_ours_and_ends(path):
            _make(path)
        self._seen = _state_of(path)
        _load(self.context, path)


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_cert_chain(path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the console's certificate {path} cannot be used: {error}; remove or replace it") from error


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when the file is written or replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def check_certificate(path: Path) -> None:
    """Raise `ConfigError` when a start could not use the file, nor make it. Changes nothing."""
    if path.exists() and not _is_ours_and_ends(path):
        _load(_new_context(), path)
        return
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        reason = errno.EACCES if folder.is_dir() else errno.ENOTDIR
        raise _cannot_be_written(path, OSError(reason, os.strerror(reason)))


def _cannot_be_written(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the console's certificate {path} cannot be written: {error.strerror or error};"
        " set management/console/@enabled to false, or management/adminPasswordFile to a folder that can be written"
    )


def end_of(path: Path) -> float | None:
    """Return when the certificate of a file ends, in seconds since 1970; None if it cannot be read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def _is_ours_and_ends(path: Path) -> bool:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False  # loading says what is wrong
    return found.issuer == found.subject and found.not_valid_after_utc - datetime.now(UTC) < _RENEW


def _make(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cordillera console")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secret + certificate.public_bytes(serialization.Encoding.PEM))
        part.replace(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    _log.info("a certificate was made for the console", file=str(path))
    return path


def _names() -> list[x509.GeneralName]:
    host = socket.gethostname()
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if host.isascii() and host and host != "localhost":
        names.append(x509.DNSName(host))
    return [*names, x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]
