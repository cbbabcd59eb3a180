"""Keys of issuers: from files, and from a server of key sets that runs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from broker.auth.signing_keys import MAX_AGE, MAX_SET, RETRY_AFTER, Fetch, SigningKeys, read_file
from broker.auth.token_signatures import key_of_pem
from tests.support.clock import FakeClock
from tests.support.key_server import KeyServer
from tests.support.tokens import ec_key, key_set, public_pem, rsa_key


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with KeyServer(key_set(ec_key())) as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def keys_of(server: KeyServer, clock: FakeClock) -> SigningKeys:
    return SigningKeys({}, Fetch(server.url), clock.monotonic)


async def test_a_key_is_read_when_a_token_names_it_and_then_known(server: KeyServer, clock: FakeClock) -> None:
    keys = keys_of(server, clock)
    assert (server.paths, keys.find("ec")) == ([], None)
    assert keys.needs_reading("ec")
    await keys.read_for("ec")
    found = keys.find("ec")
    assert found is not None
    assert found.kid == "ec"
    assert not keys.needs_reading("ec")
    assert server.paths == ["/certs"]


async def test_unknown_keys_are_asked_for_only_so_often(server: KeyServer, clock: FakeClock) -> None:
    keys = keys_of(server, clock)
    for number in range(20):
        await keys.read_for(f"unknown {number}")
    assert keys.reads == len(server.paths) == 1
    clock.advance(RETRY_AFTER)
    server.body = key_set(ec_key(), rsa_key())
    await asyncio.gather(*(keys.read_for("rsa") for _ in range(20)))
    assert keys.find("rsa") is not None
    assert keys.reads == len(server.paths) == 2


async def test_a_set_that_is_old_is_read_again_and_keys_that_left_it_are_gone(
    server: KeyServer, clock: FakeClock
) -> None:
    changes: list[str] = []
    keys = keys_of(server, clock)
    keys.on_change = lambda: changes.append("change")
    await keys.read_for("ec")
    clock.advance(MAX_AGE - 1)
    assert not keys.needs_reading("ec")
    clock.advance(1)
    assert keys.needs_reading("ec")
    await keys.read_for("ec")
    assert changes == ["change"]
    server.body = key_set(rsa_key())
    clock.advance(MAX_AGE)
    await keys.read_for("ec")
    assert keys.find("ec") is None
    assert changes == ["change", "change"]


async def test_another_key_of_the_same_name_is_a_change(server: KeyServer, clock: FakeClock) -> None:
    keys = keys_of(server, clock)
    await keys.read_for("ec")
    before = keys.find("ec")
    server.body = key_set(ec_key("ec", "P-384"))
    clock.advance(MAX_AGE)
    await keys.read_for("ec")
    assert keys.find("ec") != before


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (404, {}, b"", "HTTP Error 404: Not Found"),
        (500, {}, b"", "HTTP Error 500: Internal Server Error"),
        (302, {"Location": "http://127.0.0.1:1/"}, b"", "the server of the key set redirects; configure"),
        (302, {"Location": "file:///etc/passwd"}, b"", "HTTP Error 302: Found - Redirection to url"),
        (200, {}, b"<html>", "it is no JSON Web Key Set"),
        (200, {}, b"x" * (MAX_SET + 1), f"the key set is larger than {MAX_SET} octets"),
        (200, {"Content-Length": "1000"}, b"{}", "it is no JSON Web Key Set"),
    ],
)  # fmt: skip
async def test_while_a_set_cannot_be_read_the_last_one_is_good(
    server: KeyServer, clock: FakeClock, status: int, headers: dict[str, str], body: bytes, reason: str
) -> None:
    keys = keys_of(server, clock)
    await keys.read_for("ec")
    server.status, server.headers, server.body = status, headers, body
    clock.advance(MAX_AGE)
    with capture_logs() as logs:
        await keys.read_for("ec")
    (line,) = logs
    assert line["event"] == "the key set of tokens was not read"
    assert line["reason"].startswith(reason)
    assert keys.find("ec") is not None
    assert not keys.needs_reading("ec")
    clock.advance(RETRY_AFTER)
    assert keys.needs_reading("ec")


async def test_a_server_that_is_not_there_is_a_line_in_the_log(clock: FakeClock) -> None:
    keys = SigningKeys({}, Fetch("http://127.0.0.1:1/certs"), clock.monotonic)
    with capture_logs() as logs:
        await keys.read_for("ec")
    assert "Connection refused" in logs[0]["reason"]
    assert keys.find("ec") is None


async def test_an_issuer_with_tls_has_to_show_a_certificate_that_is_trusted(tmp_path: Path, clock: FakeClock) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(bundle)
    with KeyServer(key_set(ec_key()), tls=context) as server:
        trusting = SigningKeys({}, Fetch(server.url, bundle), clock.monotonic)
        await trusting.read_for("ec")
        assert trusting.find("ec") is not None
        careful = SigningKeys({}, Fetch(server.url), clock.monotonic)
        with capture_logs() as logs:
            await careful.read_for("ec")
    assert "certificate verify failed" in logs[0]["reason"]
    assert careful.find("ec") is None


def test_authorities_that_are_not_there_are_an_error() -> None:
    with pytest.raises(OSError, match="No such file"):
        Fetch("https://issuer/certs", "/nowhere.pem")


async def test_a_set_may_be_a_file_that_changes(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "keys.json"

    def write(octets: bytes) -> str:
        path.write_bytes(octets)
        return str(path)

    name = write(key_set(ec_key()))
    keys = SigningKeys({}, lambda: read_file(name), clock.monotonic)
    await keys.read_for("ec")
    assert keys.find("ec") is not None
    write(key_set(rsa_key()))
    clock.advance(RETRY_AFTER)
    await keys.read_for("rsa")
    assert keys.find("rsa") is not None
    write(b"x" * (MAX_SET + 1))
    clock.advance(MAX_AGE)
    with capture_logs() as logs:
        await keys.read_for("rsa")
    assert logs[0]["reason"] == f"the key set is larger than {MAX_SET} octets"


def test_keys_of_files_are_always_there_and_one_may_be_for_tokens_without_a_name(clock: FakeClock) -> None:
    ec, rsa = key_of_pem(public_pem(ec_key())), key_of_pem(public_pem(rsa_key()))
    only = SigningKeys({"ec": ec}, None, clock.monotonic)
    assert (only.find("ec"), only.find(""), only.find("x")) == (ec, ec, None)
    assert not only.needs_reading("x")
    both = SigningKeys({"ec": ec, "rsa": rsa}, None, clock.monotonic)
    assert both.find("") is None
    default = SigningKeys({"ec": ec, "": rsa}, None, clock.monotonic)
    assert default.find("") == rsa
