"""The context of the TLS listener: contract N1, N2; invariant I89."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, MutableMapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from broker.config.key_stores import key_and_chain
from broker.config.ssl_connection import KeyStore, SslConnection, TrustStore
from broker.errors import ConfigError
from broker.server.tls import tls_setup
from tests.support.edge import Node
from tests.support.java_stores import (
    OTHER_KEY_PASSWORD_JKS,
    PASSWORD,
    SERVER_JKS,
    SERVER_PKCS12,
    TRUST_JKS,
    TRUST_PKCS12,
    decoded,
)
from tests.support.jks_writer import Key, Trusted, checksum, jks
from tests.support.tls import EVERY_CIPHER, VERSIONS, shake_hands, trusting_client

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@cache
def server_certificate(authority: trustme.CA, kind: trustme.KeyType) -> trustme.LeafCert:
    """Return one certificate of each kind: an RSA key takes a while."""
    return authority.issue_cert("localhost", key_type=kind)


def key_store(folder: Path, authority: trustme.CA, kind: trustme.KeyType = trustme.KeyType.ECDSA) -> Path:
    return written(folder, "keystore.pem", server_certificate(authority, kind).private_key_and_cert_chain_pem.bytes())


def connection(location: Path, trusted: Path | str = "", **more: str) -> SslConnection:
    return SslConnection.model_validate(
        {
            "@enabled": "true",
            "keyStore": KeyStore.model_validate({"location": str(location), "password": PASSWORD}),
            "trustStore": TrustStore.model_validate({"location": str(trusted), "password": PASSWORD}),
            **more,
        }
    )


def written(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def client_of(authority: trustme.CA, issuer: trustme.CA | None = None) -> ssl.SSLContext:
    """Return a client that trusts `authority`, and shows a certificate of `issuer` if there is one."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if issuer is not None:
        issuer.issue_cert("client").configure_cert(context)
    return context


@pytest.mark.parametrize("kind", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
@pytest.mark.parametrize(
    ("configured", "served"),
    [
        ("TLSv1.2,TLSv1.3", {"TLSv1.2", "TLSv1.3"}),
        ("TLSv1.2", {"TLSv1.2"}),
        ("TLSv1.3", {"TLSv1.3"}),
        ("SSLv2Hello,SSLv3,TLSv1,TLSv1.1,TLSv1.2", {"TLSv1.2"}),
        ("TLSv1", {"TLSv1.2", "TLSv1.3"}),
    ],
)
def test_the_table_of_versions(
    tmp_path: Path, authority: trustme.CA, kind: trustme.KeyType, configured: str, served: set[str]
) -> None:
    server = tls_setup(connection(key_store(tmp_path, authority, kind), sslEnabledProtocols=configured)).context
    found = {}
    for version in VERSIONS:
        try:
            found[version] = shake_hands(server, trusting_client(version, EVERY_CIPHER)).server.version() or ""
        except ssl.SSLError as error:
            found[version] = error.reason
    assert found == {version: version if version in served else "UNSUPPORTED_PROTOCOL" for version in VERSIONS}


@pytest.mark.parametrize(
    ("kind", "configured", "served"),
    [
        (
            trustme.KeyType.ECDSA,
            "",
            "ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES128-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384"
            " ECDHE-ECDSA-AES256-SHA384 ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
        (
            trustme.KeyType.RSA,
            "",
            "ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-SHA256 ECDHE-RSA-AES256-GCM-SHA384"
            " ECDHE-RSA-AES256-SHA384 ECDHE-RSA-CHACHA20-POLY1305",
        ),
        (
            trustme.KeyType.RSA,
            "TLS_DHE_RSA_WITH_AES_256_CBC_SHA,TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
            "DHE-RSA-AES128-SHA DHE-RSA-AES256-SHA",
        ),
        (trustme.KeyType.RSA, "TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
    ],
    ids=["EC key", "RSA key", "as WSO2's file suggests", "without forward secrecy"],
)
def test_the_table_of_ciphers_of_tls_1_2(
    tmp_path: Path, authority: trustme.CA, kind: trustme.KeyType, configured: str, served: str
) -> None:
    server = tls_setup(connection(key_store(tmp_path, authority, kind), ciphers=configured)).context
    known = trusting_client("", EVERY_CIPHER).get_ciphers()
    found = []
    for suite in known:
        if suite["protocol"] == "TLSv1.3":
            continue
        with suppress(ssl.SSLError):
            agreed = shake_hands(server, trusting_client("TLSv1.2", f"{suite['name']}:@SECLEVEL=0"))
            found.append((agreed.server.cipher() or ("",))[0])
    assert sorted(found) == served.split()


def test_the_ciphers_of_tls_1_3_are_all_of_them(tmp_path: Path, authority: trustme.CA) -> None:
    server = tls_setup(connection(key_store(tmp_path, authority))).context
    suites = {suite["name"] for suite in server.get_ciphers() if suite["protocol"] == "TLSv1.3"}
    assert suites == {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}


@pytest.mark.parametrize("text", [SERVER_JKS, SERVER_PKCS12], ids=["jks", "pkcs12"])
@pytest.mark.parametrize("trust", [TRUST_JKS, TRUST_PKCS12], ids=["jks", "pkcs12"])
def test_the_stores_of_java_serve_a_client_that_trusts_their_authority(tmp_path: Path, text: str, trust: str) -> None:
    own = written(tmp_path, "own", decoded(text))
    setup = tls_setup(connection(own, written(tmp_path, "trust", decoded(trust))))
    client = ssl.create_default_context()
    client.load_verify_locations(cadata=setup.trusted[0])
    client.load_cert_chain(written(tmp_path, "server.pem", key_and_chain(decoded(SERVER_JKS), PASSWORD).pem))
    agreed = shake_hands(setup.context, client)
    assert agreed.client.getpeercert(binary_form=True) == setup.own[0]
    assert agreed.server.getpeercert(binary_form=True) == setup.own[0]  # a key of the same authority


def test_the_reason_is_one_line_whatever_the_file_holds(tmp_path: Path) -> None:
    content = jks([Trusted("t", b"c")])[:-20].replace(b"X.509", b"X\n509")
    with pytest.raises(ConfigError, match=r"a certificate is of type 'X 509', not X\.509"):
        tls_setup(connection(written(tmp_path, "store", content + checksum(content))))


def test_a_key_is_in_no_file_and_no_descriptor_afterwards(tmp_path: Path) -> None:
    file = written(tmp_path, "own.jks", decoded(SERVER_JKS))
    before = os.listdir("/proc/self/fd")
    tls_setup(connection(file))
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert os.listdir(tmp_path) == ["own.jks"]


def test_a_pem_key_may_be_encrypted(tmp_path: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    protected = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode()))
    file = written(tmp_path, "own.pem", protected + issued.cert_chain_pems[0].bytes())
    shake_hands(tls_setup(connection(file)).context, client_of(authority))


def test_the_key_of_another_certificate_is_named_as_such(tmp_path: Path, authority: trustme.CA) -> None:
    one, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    file = written(tmp_path, "keystore.pem", one.private_key_pem.bytes() + other.cert_chain_pems[0].bytes())
    with pytest.raises(ConfigError, match="the private key is not the one of the certificate"):
        tls_setup(connection(file))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"nothing", "not a PEM file, a PKCS #12 store or a Java key store"),
        (decoded(SERVER_JKS)[:-1], "the password is wrong, or the file is damaged"),
        (decoded(OTHER_KEY_PASSWORD_JKS), "the password of its private key is wrong"),
        (decoded(TRUST_JKS), "there is no private key in it"),
        (b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", "there is no certificate in it"),
        (jks([Key("k", b"no key", [b"no certificate"])]), "its key cannot be read"),
        (jks([Trusted("a\nb", b"t")]), "there is no private key in it"),
        (jks([Key("k", b"key", [b"c"])]).replace(b"X.509", b"X\n509"), "the password is wrong"),
        (None, "No such file or directory"),
    ],
)
def test_a_key_store_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "store"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        tls_setup(connection(file))
    assert str(refused.value).startswith(f"transports/amqp/sslConnection/keyStore: cannot use {file}: {complaint}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"nothing", "not a PEM file, a PKCS #12 store or a Java key store"),
        (jks([]), "there is no usable certificate in it"),
        (jks([Trusted("t", b"no certificate")]), "there is no usable certificate in it"),
        (b"-----BEGIN PUBLIC KEY-----", "there is no usable certificate in it"),
    ],
)
def test_a_trust_store_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, authority: trustme.CA, content: bytes, complaint: str
) -> None:
    trusted = written(tmp_path, "trust", content)
    with pytest.raises(ConfigError) as refused:
        tls_setup(connection(key_store(tmp_path, authority), trusted))
    assert str(refused.value).startswith(f"transports/amqp/sslConnection/trustStore: cannot use {trusted}: {complaint}")


def test_trusted_certificates_that_openssl_cannot_read_are_left_out_with_a_warning(
    tmp_path: Path, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    good = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).public_bytes(Encoding.DER)
    trusted = written(tmp_path, "trust", jks([Trusted("bad", b"bad"), Trusted("good", good)]))
    assert tls_setup(connection(key_store(tmp_path, authority), trusted)).trusted == [good]
    (line,) = logged
    assert (line["log_level"], line["certificates"]) == ("warning", 1)


def test_stores_that_are_as_they_should_be_are_no_news(
    tmp_path: Path, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    trusted = written(tmp_path, "trusted.pem", authority.cert_pem.bytes())
    tls_setup(connection(key_store(tmp_path, authority), trusted))
    assert logged == []


def test_of_several_keys_the_first_is_used_and_the_others_are_named(
    tmp_path: Path, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    keys = []
    for name in ("one", "two"):
        pem = authority.issue_cert("localhost")
        key = load_pem_private_key(pem.private_key_pem.bytes(), None)
        certificate = x509.load_pem_x509_certificate(pem.cert_chain_pems[0].bytes())
        pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        keys.append(Key(name, pkcs8, [certificate.public_bytes(Encoding.DER)]))
    file = written(tmp_path, "own.jks", jks(keys))
    assert tls_setup(connection(file)).own == tuple(keys[0].chain)
    assert [(line["log_level"], line["others"]) for line in logged] == [("warning", "two")]


@pytest.mark.parametrize(
    ("client_auth", "shown", "agreed"),
    [
        ("false", "stranger", True),
        ("want", "none", True),
        ("want", "known", True),
        ("want", "stranger", False),
        ("true", "none", False),
        ("true", "known", True),
        ("true", "stranger", False),
    ],
)
def test_certificates_of_clients(
    tmp_path: Path, authority: trustme.CA, client_auth: str, shown: str, agreed: bool
) -> None:
    trusted = written(tmp_path, "trusted.pem", authority.cert_pem.bytes())
    server = tls_setup(connection(key_store(tmp_path, authority), trusted, clientAuth=client_auth)).context
    issuer = {"none": None, "known": authority, "stranger": trustme.CA()}[shown]
    client = client_of(authority, issuer)
    if agreed:
        certificate = shake_hands(server, client).server.getpeercert(binary_form=True)
        assert (certificate is not None) == (shown == "known")
    else:
        with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_VERIFY_FAILED|PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            shake_hands(server, client)


Issued = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def issue(name: str, issuer: Issued | None = None, *, has_key_ids: bool = True, days: int = 1) -> Issued:
    """Return a key and its certificate: an authority that has issued itself, or a client of `issuer`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by_key, by_name = (issuer[0], issuer[1].subject) if issuer else (key, subject)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(by_name, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 60 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if has_key_ids:
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(by_key.public_key())
        builder = builder.add_extension(own, critical=False).add_extension(authority_id, critical=False)
    return key, builder.sign(by_key, hashes.SHA256())


def client_with(folder: Path, issued: Issued) -> ssl.SSLContext:
    key, certificate = issued
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    context = trusting_client()
    context.load_cert_chain(written(folder, "client.pem", pem))
    return context


def trust(folder: Path, issued: list[Issued]) -> Path:
    entries = [Trusted(str(n), each[1].public_bytes(Encoding.DER)) for n, each in enumerate(issued)]
    return written(folder, "trust.jks", jks(entries))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_authorities_of_one_subject_are_all_trusted(tmp_path: Path, authority: trustme.CA, which: int) -> None:
    authorities = [issue("authority"), issue("authority"), issue("authority")]
    setup = tls_setup(connection(key_store(tmp_path, authority), trust(tmp_path, authorities)))
    shake_hands(setup.context, client_with(tmp_path, issue("client", authorities[which])))


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("has_key_ids", [True, False])
def test_certificates_that_clients_have_issued_themselves_may_have_one_subject(
    tmp_path: Path, authority: trustme.CA, which: int, has_key_ids: bool
) -> None:
    clients = [issue("localhost", has_key_ids=has_key_ids) for _ in range(3)]
    setup = tls_setup(connection(key_store(tmp_path, authority), trust(tmp_path, clients)))
    shake_hands(setup.context, client_with(tmp_path, clients[which]))


def test_an_authority_that_was_renewed_is_trusted_beside_its_old_certificate(
    tmp_path: Path, authority: trustme.CA
) -> None:
    key, new = issue("authority")
    old = (
        x509.CertificateBuilder(new.subject, new.subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - 60 * DAY)
        .not_valid_after(datetime.now(UTC) - DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    setup = tls_setup(connection(key_store(tmp_path, authority), trust(tmp_path, [(key, old), (key, new)])))
    shake_hands(setup.context, client_with(tmp_path, issue("client", (key, new))))


def test_a_certificate_of_a_client_may_be_trusted_by_itself(tmp_path: Path, authority: trustme.CA) -> None:
    unknown = issue("authority")
    client = issue("client", unknown)
    setup = tls_setup(connection(key_store(tmp_path, authority), trust(tmp_path, [client])))
    shake_hands(setup.context, client_with(tmp_path, client))


async def test_a_client_certificate_that_is_refused_leaves_one_line(
    node: Node, tmp_path: Path, authority: trustme.CA, logged: list[MutableMapping[str, Any]]
) -> None:
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(str(trusted))
    client = ssl.create_default_context()
    authority.configure_trust(client)
    trustme.CA().issue_cert("stranger").configure_cert(client)
    async with asyncio.timeout(5), node.tasks:
        context = tls_setup(connection(key_store(tmp_path, authority), trusted)).context
        port = await node.server.listen("127.0.0.1", 0, context)
        del logged[:]
        with suppress(OSError):  # with TLS 1.3 a client learns it when it reads
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
            with closing(writer):
                await reader.read()
        while not logged:
            await node.turn()
        await node.server.stop("over", 5.0)
    (line,) = logged
    assert (line["log_level"], line["event"]) == ("warning", "a TLS handshake has failed")
    assert line["reason"].startswith("the certificate of the client is refused: ")
    assert line["peer"].startswith("127.0.0.1:")
