"""Writes Java key stores, for tests that need ones of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1

SALT = bytes(range(20))


@dataclass(frozen=True)
class Key:
    """A private key in PKCS #8, with its certificates, all in DER."""

    alias: str
    pkcs8: bytes
    chain: Sequence[bytes]


@dataclass(frozen=True)
class Trusted:
    """A trusted certificate in DER."""

    alias: str
    certificate: bytes


def jks(entries: Sequence[Key | Trusted], password: str = "changeit", version: int = 2) -> bytes:
    """Return a store of version 1 or 2."""
    content = b"\xfe\xed\xfe\xed" + _number(version) + _number(len(entries))
    for entry in entries:
        content += _number(1 if isinstance(entry, Key) else 2) + _text(entry.alias) + bytes(8)
        if isinstance(entry, Key):
            content += _octets(_protected(entry.pkcs8, password)) + _number(len(entry.chain))
            content += b"".join(_certificate(each, version) for each in entry.chain)
        else:
            content += _certificate(entry.certificate, version)
    return content + checksum(content, password)


def checksum(content: bytes, password: str = "changeit") -> bytes:
    """Return what a store ends with."""
    return sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + content).digest()


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _text(value: str) -> bytes:
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def _octets(value: bytes) -> bytes:
    return _number(len(value)) + value


def _certificate(certificate: bytes, version: int) -> bytes:
    return (_text("X.509") if version > 1 else b"") + _octets(certificate)


def _protected(key: bytes, password: str) -> bytes:
    secret = password.encode("utf-16-be")
    digest, hidden = SALT, b""
    for start in range(0, len(key), 20):
        digest = sha1(secret + digest).digest()
        hidden += bytes(one ^ other for one, other in zip(key[start : start + 20], digest, strict=False))
    algorithm = _der(0x30, bytes.fromhex("060a2b060104012a02110101") + b"\x05\x00")
    return _der(0x30, algorithm + _der(0x04, SALT + hidden + sha1(secret + key).digest()))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content
