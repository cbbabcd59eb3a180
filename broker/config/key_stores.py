"""Key stores and trust stores: PEM files, PKCS #12 and Java's JKS, told apart by what is in them.

Whatever the form, what comes out is PEM for a private key with its chain, and DER for trusted certificates. Nothing is
verified here, and nothing is written. Errors are ValueErrors that say what is wrong with the file and not which it is.
"""

from __future__ import annotations

import re
import ssl
import textwrap
from base64 import b64encode
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.config.jks import JCEKS_MAGIC, JKS_MAGIC, JksEntry, read_jks

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates

_MAX_OCTETS: Final = 4 * 1024 * 1024
_PEM: Final = b"-----BEGIN "
_PEM_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_DER_SEQUENCE: Final = 0x30
_DER_INTEGER: Final = 0x02


class Form(Enum):
    """What a store is, by its first octets."""

    PEM = "PEM"
    PKCS12 = "PKCS #12"
    JKS = "JKS"


@dataclass(frozen=True, slots=True)
class KeyAndChain:
    """What a server shows of itself."""

    pem: bytes = field(repr=False)
    """The private key and its certificates, the server's own first; a PEM file's own text, encrypted if that is."""
    certificates: tuple[bytes, ...]
    """The certificates in DER."""
    others: tuple[str, ...] = ()
    """The aliases of further private keys in the store, which are not used."""


def read_store(path: Path) -> bytes:
    """Return the content of a store. Raises ValueError."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_OCTETS + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(content) > _MAX_OCTETS:
        raise ValueError(f"it is larger than {_MAX_OCTETS} octets")
    return content


def form_of(content: bytes) -> Form:
    """Return the form of a store. Raises ValueError when it is none of them."""
    if content.startswith(JKS_MAGIC):
        return Form.JKS
    if content.startswith(JCEKS_MAGIC):
        raise ValueError("JCEKS stores are not read; convert it: keytool -importkeystore -deststoretype pkcs12")
    if _PEM in content:
        return Form.PEM
    if _is_pkcs12(content):
        return Form.PKCS12
    raise ValueError("not a PEM file, a PKCS #12 store or a Java key store (JKS)")


def key_and_chain(content: bytes, password: str, alias: str = "", key_password: str = "") -> KeyAndChain:
    """Return the private key of a store with its certificates.

    Of several keys in a Java key store it is the one called `alias`, or the first; its password is its own or that of
    the store. Raises ValueError.
    """
    match form_of(content):
        case Form.PEM:
            return KeyAndChain(content, tuple(_pem_certificates(content)))
        case Form.PKCS12:
            return _of_pkcs12(_load_pkcs12(content, password), alias)
        case Form.JKS:
            return _of_jks(read_jks(content, password), key_password or password, alias)


def trusted_certificates(content: bytes, password: str) -> list[bytes]:
    """Return the certificates of a trust store, in DER. Raises ValueError."""
    match form_of(content):
        case Form.PEM:
            return _pem_certificates(content)
        case Form.PKCS12:
            store = _load_pkcs12(content, password)
            own = [store.cert] if store.cert else []
            return [_der(each.certificate) for each in (*own, *store.additional_certs)]
        case Form.JKS:
            entries = read_jks(content, password)
            return [entry.certificates[0] for entry in entries if entry.certificates]


def pem_certificates(certificates: tuple[bytes, ...]) -> bytes:
    """Return certificates in DER as a PEM file."""
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode()


def _is_pkcs12(content: bytes) -> bool:
    """Does it begin as RFC 7292 has it: a sequence, longer than 127 octets, whose first element is the version?"""
    if len(content) < 130 or content[0] != _DER_SEQUENCE:
        return False
    octets_of_length = content[1] & 0x7F
    return content[2 + octets_of_length] == _DER_INTEGER


def _pem_certificates(content: bytes) -> list[bytes]:
    found = []
    for match in _PEM_CERTIFICATE.findall(content):
        try:
            found.append(ssl.PEM_cert_to_DER_cert(match.decode("ascii")))
        except ValueError as error:
            raise ValueError("a certificate in it is damaged") from error
    return found


def _of_jks(entries: list[JksEntry], password: str, alias: str) -> KeyAndChain:
    keys = {entry.alias: entry for entry in entries if entry.protected_key}
    if not keys:
        raise ValueError("there is no private key in it")
    entry = keys.get(alias.lower()) if alias else next(iter(keys.values()))
    if entry is None:
        raise ValueError(f"there is no private key '{alias}' in it; there are {', '.join(keys)}")
    pem = _pem("PRIVATE KEY", entry.private_key(password)) + pem_certificates(entry.certificates)
    others = () if alias else tuple(name for name in keys if name != entry.alias)
    return KeyAndChain(pem, entry.certificates, others)


def _load_pkcs12(content: bytes, password: str) -> PKCS12KeyAndCertificates:
    from cryptography.hazmat.primitives.serialization import pkcs12  # takes a while

    try:
        return pkcs12.load_pkcs12(content, password.encode() or None)
    except ValueError as error:
        raise ValueError("the password is wrong, or the file is damaged") from error
    except Exception as error:  # the library has more kinds: algorithms that it does not know
        raise ValueError(f"its encryption cannot be undone: {error}") from error


def _of_pkcs12(store: PKCS12KeyAndCertificates, alias: str) -> KeyAndChain:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if store.key is None or store.cert is None:
        raise ValueError("there is no private key in it")
    name = (store.cert.friendly_name or b"").decode("utf-8", "replace")
    if alias and alias.lower() != name.lower():
        raise ValueError(f"there is no private key '{alias}' in it; there is {name or 'one without a name'}")
    key = store.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = _chain(store.cert.certificate, [each.certificate for each in store.additional_certs])
    return KeyAndChain(key + pem_certificates(chain), chain)


def _chain(own: x509.Certificate, others: list[x509.Certificate]) -> tuple[bytes, ...]:
    """Return a certificate and those that lead to its authority: a store has them in any order, and others too."""
    chain = [own]
    left = list(others)
    while chain[-1].issuer != chain[-1].subject:
        following = next((each for each in left if _issued(each, chain[-1])), None)
        if following is None:
            break
        left.remove(following)
        chain.append(following)
    return tuple(map(_der, chain))


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _pem(label: str, der: bytes) -> bytes:
    lines = "\n".join(textwrap.wrap(b64encode(der).decode(), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()
