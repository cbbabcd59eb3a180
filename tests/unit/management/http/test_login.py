"""Who asks, as requests say it."""

from __future__ import annotations

import base64
import hashlib

import pytest

from broker.auth.password_hash import rabbitmq
from broker.ports.records import UserRecord
from tests.support.http_api import HttpNode, basic


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


def test_without_credentials_the_answer_asks_for_them_and_says_nothing_else(node: HttpNode) -> None:
    answer = node.ask("GET", "/api/overview", user=None)
    assert (answer.status, answer.body) == (401, b"")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="RabbitMQ Management"'


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic Z3Vlc3Q=", "Digest x", "Bearer", "nonsense"])
def test_what_is_no_credentials_is_answered_like_none(node: HttpNode, header: str) -> None:
    answer = node.ask("GET", "/api/overview", user=None, headers={"authorization": header})
    assert (answer.status, answer.body) == (401, b"")


@pytest.mark.parametrize("pair", [b"guest:wrong", b"nosuch:guest", b"guest:\xff", b":", b"user:user\0"])
def test_a_login_that_fails_says_so_in_rabbitmqs_words(node: HttpNode, pair: bytes) -> None:
    header = "Basic " + base64.b64encode(pair).decode()
    answer = node.ask("GET", "/api/overview", user=None, headers={"authorization": header})
    assert answer.status == 401
    assert answer.body == b'{"error":"not_authorized","reason":"Login failed"}'
    assert "WWW-Authenticate" in answer.headers


def test_guest_logs_in_from_the_nodes_machine_only(node: HttpNode) -> None:
    assert node.status("GET", "/whoami") == 200
    assert node.refusal("GET", "/whoami", address="192.0.2.7") == (401, "not_authorized", "Login failed")
    assert node.status("GET", "/whoami", user="watcher", address="192.0.2.7") == 200


def test_a_user_without_a_tag_may_not_use_the_api(node: HttpNode) -> None:
    assert node.refusal("GET", "/whoami", user="nobody") == (401, "not_authorised", "Not management user")


def test_logins_are_held_back_after_wrong_passwords(node: HttpNode) -> None:
    digest = base64.b64encode(b"salt" + hashlib.sha256(b"saltslow").digest()).decode()
    node.put(UserRecord("slow", rabbitmq(digest, "rabbit_password_hashing_sha256").text, "monitoring"))
    assert node.status("GET", "/whoami", user="slow") == 200
    for number in range(8):
        node.ask("GET", "/api/whoami", user=None, headers={"authorization": basic("slow", f"wrong{number}")})
    assert node.hashing.hashed == 6
    assert node.refusal("GET", "/whoami", user="slow") == (401, "not_authorized", "Login failed")


def test_logins_are_counted(node: HttpNode) -> None:
    node.get("/whoami")
    node.status("GET", "/whoami", user="unknown")
    node.harness.peer()
    assert node.get("/auth/attempts/NODE:1") == [
        {"protocol": "http", "auth_attempts": 3, "auth_attempts_failed": 1, "auth_attempts_succeeded": 2},
        {"protocol": "amqp091", "auth_attempts": 1, "auth_attempts_failed": 0, "auth_attempts_succeeded": 1},
    ]


def test_logins_are_counted_anew_when_an_administrator_says_so(node: HttpNode) -> None:
    assert node.status("DELETE", "/auth/attempts/NODE:1", user="watcher") == 401
    assert node.status("DELETE", "/auth/attempts/NODE:1") == 204
    assert node.get("/auth/attempts/NODE:1")[0]["auth_attempts"] == 1
    assert node.status("GET", "/auth/attempts/nope") == node.status("DELETE", "/auth/attempts/nope") == 404


def test_a_bearer_token_is_given_to_the_authenticator_as_a_secret(node: HttpNode) -> None:
    answer = node.ask("GET", "/api/whoami", user=None, headers={"authorization": "Bearer abc.def.ghi"})
    assert answer.body == b'{"error":"not_authorized","reason":"Login failed"}'
