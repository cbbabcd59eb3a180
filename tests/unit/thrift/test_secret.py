"""Two nodes show each other that they share a secret."""

from __future__ import annotations

import pytest

from broker.ports.peer_calls import Unauthorized
from broker.thrift.secret import Admission, SharedSecret, check_server, new_nonce

SECRET = SharedSecret("0123456789abcdef")
CLIENT_NONCE = b"c" * 32
SERVER_NONCE = b"s" * 32


def admission(secret: SharedSecret | None = SECRET, server_nonce: bytes = SERVER_NONCE) -> Admission:
    return Admission(secret, lambda: server_nonce)


def test_a_secret_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="a shared secret of 15 octets; at least 16 are needed"):
        SharedSecret("0123456789abcde")


def test_a_secret_does_not_show_itself() -> None:
    assert "0123456789abcdef" not in f"{SECRET!r} {SECRET}"


def test_without_a_secret_everybody_is_admitted() -> None:
    assert admission(None).is_admitted


def test_a_caller_with_the_secret_is_admitted_and_sees_the_servers_proof() -> None:
    server = admission()

    server_nonce = server.challenge(CLIENT_NONCE)
    server_proof = server.authenticate(SECRET.client_proof(CLIENT_NONCE, server_nonce))

    assert server.is_admitted
    check_server(SECRET, server_proof, CLIENT_NONCE, server_nonce)


def test_a_caller_with_another_secret_is_not_admitted() -> None:
    server = admission()
    other = SharedSecret("another secret of 16 octets")
    server.challenge(CLIENT_NONCE)

    with pytest.raises(Unauthorized, match="the shared secret is another one"):
        server.authenticate(other.client_proof(CLIENT_NONCE, SERVER_NONCE))
    assert not server.is_admitted


def test_a_proof_of_another_connection_is_worth_nothing() -> None:
    seen = SECRET.client_proof(CLIENT_NONCE, b"t" * 32)
    server = admission()
    server.challenge(CLIENT_NONCE)

    with pytest.raises(Unauthorized, match="the shared secret is another one"):
        server.authenticate(seen)


def test_a_proof_is_tried_once_per_challenge() -> None:
    server = admission()
    server.challenge(CLIENT_NONCE)
    with pytest.raises(Unauthorized):
        server.authenticate(b"a guess")

    with pytest.raises(Unauthorized, match="a proof without a challenge"):
        server.authenticate(SECRET.client_proof(CLIENT_NONCE, SERVER_NONCE))


def test_a_proof_before_the_challenge_is_refused() -> None:
    with pytest.raises(Unauthorized, match="a proof without a challenge"):
        admission().authenticate(SECRET.client_proof(CLIENT_NONCE, SERVER_NONCE))


def test_a_second_challenge_is_refused() -> None:
    server = admission()
    server.challenge(CLIENT_NONCE)

    with pytest.raises(Unauthorized, match="a second challenge on one connection"):
        server.challenge(CLIENT_NONCE)


def test_a_nonce_of_another_length_is_refused_on_either_side() -> None:
    with pytest.raises(Unauthorized, match="a nonce of 0 octets; it must have 32"):
        admission().challenge(b"")
    with pytest.raises(Unauthorized, match="a nonce of 3 octets; it must have 32"):
        SECRET.client_proof(CLIENT_NONCE, b"abc")


def test_a_node_without_a_secret_refuses_a_caller_with_one() -> None:
    with pytest.raises(Unauthorized, match="this node has no shared secret"):
        admission(None).challenge(CLIENT_NONCE)


def test_the_callers_own_proof_is_not_the_servers() -> None:
    reflected = SECRET.client_proof(CLIENT_NONCE, SERVER_NONCE)

    with pytest.raises(Unauthorized, match="the server does not know the shared secret"):
        check_server(SECRET, reflected, CLIENT_NONCE, SERVER_NONCE)


def test_a_nonce_is_new_each_time() -> None:
    assert len(new_nonce()) == 32
    assert new_nonce() != new_nonce()
