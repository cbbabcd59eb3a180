from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.pem import has_private_key, pem_file

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("prefix", ["", "file:", "file://"])
def test_a_pem_file_is_a_path_or_a_file_url(tmp_path, prefix):
    path = tmp_path / "ca.pem"
    path.write_text(CERTIFICATE)
    assert pem_file(f"{prefix}{path}") == path


def test_a_relative_path_starts_at_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ca.pem").write_text(CERTIFICATE)
    assert pem_file("file:ca.pem") == Path("ca.pem")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xfe\xed\xfe\xed", "is not a PEM file; convert a JKS or PKCS #12 store with keytool and openssl"),
        (b"", "is not a PEM file"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", "has an encrypted private key; use one without a passphrase"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED", "has an encrypted private key"),
    ],
)
def test_a_file_that_the_tls_library_cannot_take_is_refused(tmp_path, content, reason):
    path = tmp_path / "store"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^'{path}' {reason}"):
        pem_file(str(path))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^file '.*' cannot be read: Is a directory$"):
        pem_file(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "expected"), [(CERTIFICATE, False), (CERTIFICATE + "-----BEGIN EC PRIVATE KEY-----\n", True)]
)
def test_a_certificate_may_have_its_key_in_the_same_file(tmp_path, content, expected):
    path = tmp_path / "client.pem"
    path.write_text(content)
    assert has_private_key(path) is expected
