"""Stores of every form that the TLS listener takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

from broker.config.key_stores import Form, form_of, key_and_chain, pem_certificates, read_store, trusted_certificates
from tests.support.java_stores import (
    PASSWORD,
    SERVER_JKS,
    SERVER_LEGACY_PKCS12,
    SERVER_PKCS12,
    TRUST_JKS,
    TRUST_PKCS12,
    decoded,
)
from tests.support.jks_writer import Key, Trusted, jks

SERVER = [SERVER_JKS, SERVER_PKCS12, SERVER_LEGACY_PKCS12]


def subjects(certificates: list[bytes] | tuple[bytes, ...]) -> list[str]:
    return [x509.load_der_x509_certificate(each).subject.rfc4514_string() for each in certificates]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (decoded(SERVER_JKS), Form.JKS),
        (decoded(SERVER_PKCS12), Form.PKCS12),
        (b"text before\n-----BEGIN PRIVATE KEY-----", Form.PEM),
    ],
)
def test_a_form_is_told_by_the_content(content: bytes, form: Form) -> None:
    assert form_of(content) is form


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a PEM file, a PKCS #12 store or a Java key store"),
        (b"hello, world", "not a PEM file, a PKCS #12 store or a Java key store"),
        (b"\x30\x82\1\0\x30\x81\xa0\2\1\2" + bytes(200), "not a PEM file, a PKCS #12 store or a Java key store"),
        (b"\x30\xff" + bytes(127), "not a PEM file, a PKCS #12 store or a Java key store"),
        (b"\x30\x82\1\0\2", "not a PEM file, a PKCS #12 store or a Java key store"),
        (b"\xce\xce\xce\xce\0\0\0\2", "JCEKS stores are not read; convert it"),
    ],
)
def test_other_forms_are_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        form_of(content)


@pytest.mark.parametrize("text", SERVER, ids=["jks", "pkcs12", "legacy pkcs12"])
def test_a_key_and_its_chain_are_the_same_from_every_form(text: str) -> None:
    found = key_and_chain(decoded(text), PASSWORD)
    key = load_pem_private_key(found.pem, None)
    assert subjects(found.certificates) == ["CN=localhost", "CN=Andean CA"]
    assert x509.load_der_x509_certificate(found.certificates[0]).public_key() == key.public_key()
    assert found.pem.endswith(pem_certificates(found.certificates))


@pytest.mark.parametrize("text", [TRUST_JKS, TRUST_PKCS12], ids=["jks", "pkcs12"])
def test_a_trust_store_has_no_key(text: str) -> None:
    assert subjects(trusted_certificates(decoded(text), PASSWORD)) == ["CN=Andean CA"]
    with pytest.raises(ValueError, match="there is no private key in it"):
        key_and_chain(decoded(text), PASSWORD)


@pytest.mark.parametrize("text", SERVER, ids=["jks", "pkcs12", "legacy pkcs12"])
def test_the_own_certificate_of_a_key_is_trusted_as_in_java(text: str) -> None:
    assert subjects(trusted_certificates(decoded(text), PASSWORD))[0] == "CN=localhost"


@pytest.mark.parametrize("text", [*SERVER, TRUST_JKS, TRUST_PKCS12])
def test_a_wrong_password_is_said_to_be_wrong(text: str) -> None:
    for read in (key_and_chain, trusted_certificates):
        with pytest.raises(ValueError, match="the password is wrong"):
            read(decoded(text), "wrong")


def test_a_pem_file_is_what_it_was_with_its_certificates_beside(authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    content = b"# a comment\n" + issued.private_key_and_cert_chain_pem.bytes()
    found = key_and_chain(content, "")
    assert found.pem == content
    assert pem_certificates(found.certificates) == issued.cert_chain_pems[0].bytes()


def test_a_pem_file_may_have_several_trusted_certificates(authority: trustme.CA) -> None:
    other = trustme.CA()
    content = authority.cert_pem.bytes() + b"\xe4 not UTF-8\n" + other.cert_pem.bytes()
    assert len(trusted_certificates(content, "")) == 2


def test_a_damaged_certificate_in_a_pem_file_is_refused() -> None:
    with pytest.raises(ValueError, match="a certificate in it is damaged"):
        trusted_certificates(b"-----BEGIN CERTIFICATE-----\n!\xff!\n-----END CERTIFICATE-----\n", "")


def test_of_several_keys_in_a_java_store_the_named_one_is_taken() -> None:
    content = jks([Trusted("t", b"t"), Key("one", b"1", [b"a"]), Key("two", b"2", [b"b"])])
    assert key_and_chain(content, PASSWORD, "TWO").certificates == (b"b",)
    assert key_and_chain(content, PASSWORD, "two").others == ()
    first = key_and_chain(content, PASSWORD)
    assert (first.certificates, first.others) == ((b"a",), ("two",))
    with pytest.raises(ValueError, match="there is no private key 'three' in it; there are one, two"):
        key_and_chain(content, PASSWORD, "three")


def test_the_key_of_a_pkcs12_store_has_the_name_that_is_asked_for() -> None:
    assert key_and_chain(decoded(SERVER_PKCS12), PASSWORD, "Server").certificates
    with pytest.raises(ValueError, match="there is no private key 'client' in it; there is server"):
        key_and_chain(decoded(SERVER_PKCS12), PASSWORD, "client")


def test_of_the_certificates_in_a_pkcs12_store_those_of_the_chain_are_shown_in_order(authority: trustme.CA) -> None:
    middle = authority.create_child_ca()
    issued = middle.issue_cert("localhost")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    own, above, top, stranger = (
        x509.load_pem_x509_certificate(each.bytes())
        for each in (issued.cert_chain_pems[0], middle.cert_pem, authority.cert_pem, trustme.CA().cert_pem)
    )
    content = pkcs12.serialize_key_and_certificates(
        None, key, own, [stranger, top, above], BestAvailableEncryption(b"secret")
    )
    found = key_and_chain(content, "secret")
    assert subjects(found.certificates) == [each.subject.rfc4514_string() for each in (own, above, top)]


def test_a_missing_file_and_one_that_is_too_large_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file or directory"):
        read_store(tmp_path / "none")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(4 * 1024 * 1024 + 1)
    with pytest.raises(ValueError, match="it is larger than 4194304 octets"):
        read_store(large)


def test_a_private_key_is_in_no_repr() -> None:
    found = key_and_chain(decoded(SERVER_JKS), PASSWORD)
    assert "PRIVATE" not in repr(found)
