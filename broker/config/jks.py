"""Java key stores (JKS): keys and certificates as `keytool -storetype JKS` and WSO2's servers keep them.

The format is that of `sun.security.provider.JavaKeyStore` and `KeyProtector` of OpenJDK: big-endian numbers, entries,
and a SHA-1 over the password, a phrase and all that is before it. SHA-1 and the cipher of the keys, a stream of SHA-1
values, are the format's own. Reads bytes only; certificates are not looked into.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Final

JKS_MAGIC: Final = b"\xfe\xed\xfe\xed"
JCEKS_MAGIC: Final = b"\xce\xce\xce\xce"

_VERSIONS: Final = (1, 2)
_KEY: Final = 1
_CERTIFICATE: Final = 2
_PHRASE: Final = b"Mighty Aphrodite"
_DIGEST: Final = 20
_PROTECTOR: Final = bytes.fromhex("060a2b060104012a02110101")
"""The object identifier of `KeyProtector`'s cipher, 1.3.6.1.4.1.42.2.17.1.1, in DER."""
_SEQUENCE: Final = 0x30
_OCTETS: Final = 0x04
_DAMAGED: Final = "it is damaged: it ends too early"


@dataclass(frozen=True, slots=True)
class JksEntry:
    """A key with its certificate chain, or a trusted certificate."""

    alias: str
    certificates: tuple[bytes, ...]
    """In DER. Of a key, its own certificate first; else the trusted one."""
    protected_key: bytes = field(default=b"", repr=False)
    """The private key as the store has it; empty for a trusted certificate."""

    def private_key(self, password: str) -> bytes:
        """Return the key as PKCS #8 in DER. Raises ValueError when the password is not the key's."""
        return _unprotected(_protected_octets(self.protected_key), _octets(password))


def read_jks(content: bytes, password: str) -> list[JksEntry]:
    """Return the entries in the order of the file.

    An empty password leaves the checksum unchecked, as Java does; keys cannot be opened with it. Raises ValueError
    telling what is wrong.
    """
    reader = _Reader(content[: -_DIGEST or None])
    if reader.take(4) != JKS_MAGIC:
        raise ValueError("it is no Java key store")
    version = reader.number(4)
    if version not in _VERSIONS:
        raise ValueError(f"version {version} of the format is not known")
    if password:
        _check(content, password)
    entries = [reader.entry(version) for _ in range(reader.count(least_octets=14))]
    if reader.is_not_at_end:
        raise ValueError("it is damaged: there is more in it than its entries")
    return entries


def _check(content: bytes, password: str) -> None:
    expected = sha1(_octets(password) + _PHRASE + content[:-_DIGEST], usedforsecurity=False).digest()
    if not hmac.compare_digest(expected, content[-_DIGEST:]):
        raise ValueError("the password is wrong, or the file is damaged")


def _octets(password: str) -> bytes:
    return password.encode("utf-16-be", "surrogatepass")


class _Reader:
    """Takes the fields of a store one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def is_not_at_end(self) -> bool:
        return self._at < len(self._content)

    def take(self, octets: int) -> bytes:
        end = self._at + octets
        if end > len(self._content):
            raise ValueError(_DAMAGED)
        taken = self._content[self._at : end]
        self._at = end
        return taken

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def count(self, least_octets: int) -> int:
        """Read how many elements follow, each of which takes at least so many octets."""
        count = self.number(4)
        if count * least_octets > len(self._content) - self._at:
            raise ValueError(_DAMAGED)
        return count

    def text(self) -> str:
        return self.take(self.number(2)).decode("utf-8", "replace")

    def entry(self, version: int) -> JksEntry:
        kind, alias = self.number(4), self.text()
        self.take(8)  # when it was made
        if kind == _CERTIFICATE:
            return JksEntry(alias, (self._certificate(version),))
        if kind != _KEY:
            raise ValueError(f"entry '{alias}' is of a kind that Java key stores do not have: {kind}")
        key = self.take(self.number(4))
        chain = tuple(self._certificate(version) for _ in range(self.count(least_octets=4)))
        return JksEntry(alias, chain, key)

    def _certificate(self, version: int) -> bytes:
        kind = self.text() if version > 1 else "X.509"
        if kind != "X.509":
            raise ValueError(f"a certificate is of type '{kind}', not X.509")
        return self.take(self.number(4))


def _protected_octets(key: bytes) -> bytes:
    """Return what PKCS #8's EncryptedPrivateKeyInfo holds."""
    info, _ = _der(_SEQUENCE, key)
    algorithm, rest = _der(_SEQUENCE, info)
    if not algorithm.startswith(_PROTECTOR):
        raise ValueError("its private key is protected in a way that Java key stores do not have")
    return _der(_OCTETS, rest)[0]


def _der(tag: int, data: bytes) -> tuple[bytes, bytes]:
    """Return the content of the value of this tag at the beginning of `data`, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise ValueError(_DAMAGED)
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError(_DAMAGED)
    return data[start : start + length], data[start + length :]


def _unprotected(protected: bytes, password: bytes) -> bytes:
    """Undo `KeyProtector`: salt, the key exclusive-or a stream of digests, and a digest of the key."""
    if len(protected) < 2 * _DIGEST:
        raise ValueError(_DAMAGED)
    digest, hidden, check = protected[:_DIGEST], protected[_DIGEST:-_DIGEST], protected[-_DIGEST:]
    stream = bytearray()
    while len(stream) < len(hidden):
        digest = sha1(password + digest, usedforsecurity=False).digest()
        stream += digest
    key = bytes(one ^ other for one, other in zip(hidden, stream, strict=False))
    if not hmac.compare_digest(sha1(password + key, usedforsecurity=False).digest(), check):
        raise ValueError("the password of its private key is wrong")
    return key
