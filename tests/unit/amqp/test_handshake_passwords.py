"""Logins whose passwords are hashed beside the loop: ADR 49, contract C6."""

from __future__ import annotations

import pytest

from broker.auth.password_hash import new_rabbitmq
from broker.auth.passwords import Verdict
from broker.auth.users import User
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import ConnectionClose, ConnectionTune
from broker.errors import ConnectionForced
from tests.support.clock import FakeClock
from tests.support.harness import Client, Harness, start_ok
from tests.support.logins import InlineHashing, public_user, users_of

CLOSES = ("authentication_failure_close",)
REFUSAL = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
CLIENTS = 500


@pytest.fixture
def hashing() -> InlineHashing:
    return InlineHashing()


@pytest.fixture
def harness(hashing: InlineHashing) -> Harness:
    users = [
        User(f"user {number}", new_rabbitmq("secret", "rabbit_password_hashing_sha256", b"salt").text)
        for number in range(CLIENTS)
    ]
    clock = FakeClock()
    harness = Harness(users=users_of(public_user("guest", "guest"), *users, hashing=hashing, clock=clock))
    return harness


def begin(harness: Harness, user: str, password: str) -> Client:
    client = harness.connect(is_loopback=False)
    client.send_raw(PROTOCOL_HEADER)
    client.send(0, start_ok(CLOSES, response=f"\0{user}\0{password}".encode()))
    return client


def answer(client: Client) -> str:
    return client.received()[-1][1].name


def test_a_login_that_is_being_hashed_holds_up_no_other_client(harness: Harness, hashing: InlineHashing) -> None:
    peer = harness.peer()
    hashing.gate.is_open = False
    waiting = begin(harness, "user 1", "secret")
    peer.publish("nowhere", b"goes on")
    other = begin(harness, "guest", "guest")
    assert answer(other) == ConnectionTune.name
    assert answer(waiting) != ConnectionTune.name
    hashing.gate.is_open = True
    harness.run()
    assert answer(waiting) == ConnectionTune.name


def test_a_client_that_goes_away_while_its_password_is_hashed_leaves_nothing_but_what_was_learned(
    harness: Harness, hashing: InlineHashing
) -> None:
    hashing.gate.is_open = False
    begin(harness, "user 1", "secret").lose()
    hashing.gate.is_open = True
    harness.run()
    assert len(harness.stage) == 0
    assert answer(begin(harness, "user 1", "secret")) == ConnectionTune.name
    assert hashing.hashed == 1


def test_a_client_that_is_refused_is_told_and_not_why(harness: Harness) -> None:
    for user in ("user 1", "nobody"):
        for number in range(50):
            client = begin(harness, user, f"guess {number}")
            assert client.received()[-1] == (0, ConnectionClose(403, REFUSAL, 10, 11))


def test_a_storm_of_known_clients_costs_no_hashing(harness: Harness, hashing: InlineHashing) -> None:
    clients = [begin(harness, f"user {number}", "secret") for number in range(CLIENTS)]
    assert hashing.hashed == CLIENTS
    for client in clients:
        client.lose()
    for number in range(CLIENTS):
        assert answer(begin(harness, f"user {number}", "secret")) == ConnectionTune.name
    assert hashing.hashed == CLIENTS


def test_beside_a_flood_of_wrong_passwords_known_clients_log_in_without_hashing(
    harness: Harness, hashing: InlineHashing
) -> None:
    assert answer(begin(harness, "user 1", "secret")) == ConnectionTune.name
    for number in range(200):
        begin(harness, f"user {2 + number % 100}", f"guess {number}").lose()
    hashed = hashing.hashed
    assert hashed < 50
    assert answer(begin(harness, "user 1", "secret")) == ConnectionTune.name
    assert answer(begin(harness, "user 400", "secret")) == ConnectionClose.name
    assert hashing.hashed == hashed


def test_a_login_for_which_there_is_no_place_is_told_to_try_again() -> None:
    class FullHashing(InlineHashing):
        async def run(self, *_: object) -> Verdict | None:
            raise ConnectionForced("too many logins wait to be checked, try again later")

    client = begin(Harness(users=users_of(hashing=FullHashing())), "nobody", "guess")
    text = "CONNECTION_FORCED - too many logins wait to be checked, try again later"
    assert client.received()[-1] == (0, ConnectionClose(320, text, 10, 11))
