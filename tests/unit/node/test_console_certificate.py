"""The console's own certificate, which follows its file while the node runs."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from broker.errors import ConfigError
from broker.node.console_certificate import ConsoleCertificate


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def shown(certificate: ConsoleCertificate) -> bytes:
    """Return what a client is shown that connects now."""
    client_context = ssl.create_default_context()
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found


def issue(path: Path, authority: trustme.CA, moment: int) -> None:
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    os.utime(path, (moment, moment))


def test_the_first_start_makes_one_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "console.pem"
    made = ConsoleCertificate(path)
    assert path.stat().st_mode & 0o777 == 0o600
    end = made.end()
    assert end is not None
    assert timedelta(days=390) < datetime.fromtimestamp(end, UTC) - datetime.now(UTC) < timedelta(days=398)
    assert shown(ConsoleCertificate(path)) == shown(made), "it is made once"


def test_a_certificate_put_into_the_file_is_shown_from_then_on(
    tmp_path: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    path, authority = tmp_path / "console.pem", trustme.CA()
    certificate = ConsoleCertificate(path)
    before = shown(certificate)
    certificate.look()
    assert shown(certificate) == before
    issue(path, authority, 1)
    certificate.look()
    certificate.look()
    assert shown(certificate) != before
    assert [line["event"] for line in logged] == [
        "a certificate was made for the console",
        "the console's certificate was read again",
    ]


def test_a_file_of_no_use_leaves_what_was_there_and_is_told_once(
    tmp_path: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    path = tmp_path / "console.pem"
    issue(path, trustme.CA(), 1)
    certificate = ConsoleCertificate(path)
    before = shown(certificate)
    path.write_text("no certificate")
    certificate.look()
    certificate.look()
    assert shown(certificate) == before
    assert [line["log_level"] for line in logged] == ["error"]
    with pytest.raises(ConfigError, match=r"cannot be used: .*; remove or replace it"):
        ConsoleCertificate(path)
