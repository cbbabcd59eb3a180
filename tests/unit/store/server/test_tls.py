"""How much of a server's certificate each mode verifies."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from broker.config.connection_options import ConnectionOptions, TlsMode
from broker.errors import ConfigError
from broker.store.server.tls import tls_context


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


@pytest.mark.parametrize(
    ("mode", "verifies", "host"),
    [
        ("prefer", ssl.CERT_NONE, False),
        ("require", ssl.CERT_NONE, False),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_each_mode_verifies_what_it_says(authority: Path, mode: TlsMode, verifies: ssl.VerifyMode, host: bool) -> None:
    context = tls_context(ConnectionOptions(tls=mode, tls_ca=authority))

    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (verifies, host)


def test_no_context_is_made_for_plain_text() -> None:
    assert tls_context(ConnectionOptions(tls="disable")) is None


def test_only_the_named_authority_is_trusted(authority: Path) -> None:
    context = tls_context(ConnectionOptions(tls="verify-full", tls_ca=authority))

    assert context is not None
    assert len(context.get_ca_certs()) == 1


def test_a_client_certificate_may_hold_its_key(tmp_path: Path) -> None:
    both = tmp_path / "client.pem"
    trustme.CA().issue_cert("broker@example.org").private_key_and_cert_chain_pem.write_to_path(both)

    assert tls_context(ConnectionOptions(tls="require", tls_cert=both)) is not None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"

    with pytest.raises(
        ConfigError, match=r"the datasource's TLS files cannot be used \(.*missing\.pem\): .*No such file"
    ):
        tls_context(ConnectionOptions(tls="verify-full", tls_ca=missing))


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")

    with pytest.raises(ConfigError, match=r"wrong\.pem"):
        tls_context(ConnectionOptions(tls="verify-ca", tls_ca=wrong))
