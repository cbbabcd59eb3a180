"""Java key stores: known answers of keytool, and files that are not what they seem."""

from __future__ import annotations

from hashlib import sha1

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, pkcs12

from broker.config.jks import JksEntry, read_jks
from tests.support.java_stores import (
    OTHER_KEY_PASSWORD,
    OTHER_KEY_PASSWORD_JKS,
    PASSWORD,
    SERVER_JKS,
    SERVER_PKCS12,
    TRUST_JKS,
    UMLAUT_JKS,
    UMLAUT_PASSWORD,
    decoded,
)
from tests.support.jks_writer import Key, Trusted, checksum, jks

HEADER = b"\xfe\xed\xfe\xed\0\0\0\2"


def test_a_key_of_keytool_is_the_one_that_keytool_has_put_into_pkcs12() -> None:
    (entry,) = read_jks(decoded(SERVER_JKS), PASSWORD)
    expected = pkcs12.load_key_and_certificates(decoded(SERVER_PKCS12), PASSWORD.encode())[0]
    key = load_der_private_key(entry.private_key(PASSWORD), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    assert isinstance(expected, EllipticCurvePrivateKey)
    assert (entry.alias, key.private_numbers()) == ("server", expected.private_numbers())


def test_a_key_comes_with_its_chain_in_order() -> None:
    (entry,) = read_jks(decoded(SERVER_JKS), PASSWORD)
    names = [x509.load_der_x509_certificate(each).subject.rfc4514_string() for each in entry.certificates]
    assert names == ["CN=localhost", "CN=Andean CA"]


def test_a_trusted_certificate_of_keytool_has_no_key() -> None:
    (entry,) = read_jks(decoded(TRUST_JKS), PASSWORD)
    assert (entry.alias, entry.protected_key, len(entry.certificates)) == ("ca", b"", 1)


def test_passwords_and_aliases_may_have_any_characters() -> None:
    (entry,) = read_jks(decoded(UMLAUT_JKS), UMLAUT_PASSWORD)
    assert entry.alias == "grüße"
    assert entry.private_key(UMLAUT_PASSWORD).startswith(b"\x30")


def test_a_key_may_have_a_password_of_its_own() -> None:
    (entry,) = read_jks(decoded(OTHER_KEY_PASSWORD_JKS), PASSWORD)
    with pytest.raises(ValueError, match="the password of its private key is wrong"):
        entry.private_key(PASSWORD)
    assert entry.private_key(OTHER_KEY_PASSWORD).startswith(b"\x30")


def test_a_wrong_password_is_noticed() -> None:
    with pytest.raises(ValueError, match="the password is wrong, or the file is damaged"):
        read_jks(decoded(TRUST_JKS), "changeit!")


def test_without_a_password_certificates_are_read_as_java_does() -> None:
    assert read_jks(decoded(TRUST_JKS), "") == read_jks(decoded(TRUST_JKS), PASSWORD)


def test_one_octet_that_is_different_is_noticed() -> None:
    content = bytearray(decoded(SERVER_JKS))
    content[len(content) // 2] ^= 1
    with pytest.raises(ValueError, match="the password is wrong, or the file is damaged"):
        read_jks(bytes(content), PASSWORD)


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_of_the_format_are_read(version: int) -> None:
    entries = [Key("k", b"secret", [b"own", b"authority"]), Trusted("t", b"trusted")]
    key, trusted = read_jks(jks(entries, version=version), PASSWORD)
    assert (key.alias, key.certificates, key.private_key(PASSWORD)) == ("k", (b"own", b"authority"), b"secret")
    assert (trusted.alias, trusted.certificates) == ("t", (b"trusted",))


@pytest.mark.parametrize("length", [0, 1, 19, 20, 21, 127, 128, 5000])
def test_keys_of_any_length_are_read(length: int) -> None:
    key = bytes(each % 251 for each in range(length))
    (entry,) = read_jks(jks([Key("k", key, [])]), PASSWORD)
    assert entry.private_key(PASSWORD) == key


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"PK\3\4" + bytes(40), "it is no Java key store"),
        (b"", "ends too early"),
        (b"\xfe\xed\xfe\xed\0\0\0\3" + bytes(4), "version 3 of the format is not known"),
        (HEADER + b"\xff\xff\xff\xff", "ends too early"),
        (HEADER + b"\0\0\0\1" + b"\0\0\0\2\0\1k" + bytes(8) + b"\0\5X.509" + b"\x7f\xff\xff\xff", "ends too early"),
        (HEADER + b"\0\0\0\1" + b"\0\0\0\2\0\1k" + bytes(8) + b"\0\3PGP" + bytes(4), "a certificate is of type 'PGP'"),
        (HEADER + b"\0\0\0\1" + b"\0\0\0\3\0\1k" + bytes(8), "entry 'k' is of a kind that Java key stores do not have"),
        (HEADER + b"\0\0\0\0" + b"more", "there is more in it than its entries"),
    ],
)
def test_what_is_no_store_is_told_from_one(content: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_jks(content + checksum(content), PASSWORD)


@pytest.mark.parametrize("end", range(0, 380, 7))
def test_a_store_that_ends_too_early_is_damaged_wherever_it_ends(end: int) -> None:
    content = decoded(TRUST_JKS)[:-20][:end]
    with pytest.raises(ValueError, match=r"damaged|no Java key store"):
        read_jks(content + checksum(content), PASSWORD)


@pytest.mark.parametrize("protected", [b"", b"\x30", b"\x30\x82\xff\xff", b"\x31\0", b"\x30\4\x30\2\5\0"])
def test_a_key_that_is_not_protected_as_java_does_cannot_be_opened(protected: bytes) -> None:
    content = (
        HEADER + b"\0\0\0\1" + b"\0\0\0\1\0\1k" + bytes(8) + len(protected).to_bytes(4, "big") + protected + bytes(4)
    )
    (entry,) = read_jks(content + checksum(content), PASSWORD)
    with pytest.raises(ValueError, match=r"damaged|protected in a way"):
        entry.private_key(PASSWORD)


@pytest.mark.parametrize(
    "octets", [bytes((4, 10)) + bytes(10), bytes((4, 39)) + bytes(39), bytes((4, 100)) + bytes(60)]
)
def test_a_protected_key_that_is_too_short_is_damaged(octets: bytes) -> None:
    algorithm = bytes.fromhex("300e060a2b060104012a02110101") + b"\5\0"
    protected = bytes((0x30, len(algorithm + octets))) + algorithm + octets
    with pytest.raises(ValueError, match="it is damaged: it ends too early"):
        JksEntry("k", (), protected).private_key(PASSWORD)


def test_a_key_is_in_no_repr() -> None:
    assert repr(JksEntry("k", (), b"secret")) == "JksEntry(alias='k', certificates=())"


def test_the_checksum_is_sha1_over_password_phrase_and_content() -> None:
    content = decoded(TRUST_JKS)
    phrase = "changeit".encode("utf-16-be") + b"Mighty Aphrodite"
    assert sha1(phrase + content[:-20]).digest() == content[-20:]
