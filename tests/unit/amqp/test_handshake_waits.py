"""A handshake that waits for a store: ADR 23, contract C2 to C11, invariant I86."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from broker.auth.access import NO_LIMITS, AllPermissions, Permissions, UserLimits
from broker.auth.identity import Identity
from broker.codec.constants import HEARTBEAT_FRAME, PROTOCOL_HEADER
from broker.codec.methods import (
    BasicPublish,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionStart,
    ConnectionTune,
    ConnectionTuneOk,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.errors import NotAllowed, StoreUnavailable
from tests.support.harness import Client, Harness, start_ok
from tests.support.peer import command
from tests.support.stage import Gate

CLOSES = ("authentication_failure_close",)


class StoredUsers:
    """Users and permissions that lie behind a gate: guest with the password guest, and nobody in `carbon`."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.failure: Exception | None = None

    def log_in(
        self, name: str, password: str, *, address: str, is_loopback: bool
    ) -> Coroutine[Any, Any, Identity | None]:
        async def look() -> Identity | None:
            await self._passed()
            return Identity(name, is_loopback) if (name, password) == ("guest", "guest") else None

        return look()

    def known(self, name: str, *, is_loopback: bool) -> Coroutine[Any, Any, Identity | None]:
        async def look() -> Identity | None:
            await self._passed()
            return Identity(name, is_loopback) if name == "guest" else None

        return look()

    def permissions(self, identity: Identity, vhost: str) -> Coroutine[Any, Any, Permissions]:
        async def look() -> Permissions:
            await self._passed()
            if vhost == "carbon":
                raise NotAllowed(f"access to vhost '{vhost}' refused for user '{identity.user}'")
            return AllPermissions()

        return look()

    def permissions_now(self, identity: Identity, vhost: str) -> Permissions:
        return AllPermissions()

    def limits(self, user: str) -> UserLimits:
        return NO_LIMITS

    async def _passed(self) -> None:
        await self.gate.passed()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def users() -> StoredUsers:
    return StoredUsers()


@pytest.fixture
def harness(users: StoredUsers) -> Harness:
    return Harness(users=users, access=users)


def started(harness: Harness) -> Client:
    client = harness.connect()
    client.send_raw(PROTOCOL_HEADER)
    client.received()
    return client


def kinds(client: Client) -> list[str]:
    return [method.name for _, method in client.received()]


def open_gate(harness: Harness, users: StoredUsers) -> None:
    users.gate.is_open = True
    harness.run()


def session(body_size: int) -> bytes:
    """Return a whole handshake, and what follows it, as a client sends it that waits for nothing."""
    return (
        PROTOCOL_HEADER
        + command(0, start_ok(CLOSES))
        + HEARTBEAT_FRAME
        + command(0, ConnectionTuneOk())
        + command(0, ConnectionOpen())
        + command(1, ChannelOpen())
        + command(1, QueueDeclare(queue="q"))
        + command(1, BasicPublish(routing_key="q"), body=b"x" * body_size)
        + command(1, QueueDeclare(queue="q", passive=True))
    )


def test_the_answer_comes_when_it_is_known(harness: Harness, users: StoredUsers) -> None:
    client = started(harness)
    users.gate.is_open = False
    client.send(0, start_ok(CLOSES))
    assert kinds(client) == []
    open_gate(harness, users)
    assert kinds(client) == [ConnectionTune.name]
    client.send(0, ConnectionTuneOk())
    users.gate.is_open = False
    client.send(0, ConnectionOpen())
    assert kinds(client) == []
    open_gate(harness, users)
    assert kinds(client) == [ConnectionOpenOk.name]


@pytest.mark.parametrize("size", [1, 7, 100, 8192, 1_000_000])
def test_what_comes_behind_a_step_that_waits_is_done_in_order(harness: Harness, users: StoredUsers, size: int) -> None:
    client = harness.connect()
    users.gate.is_open = False
    data = session(body_size=30_000)
    for start in range(0, len(data), size):
        client.send_raw(data[start : start + size])
    assert kinds(client) == [ConnectionStart.name]
    open_gate(harness, users)
    assert [method for _, method in client.received()] == [
        ConnectionTune(2047, 131_072, 60),
        ConnectionOpenOk(),
        ChannelOpenOk(),
        QueueDeclareOk("q", 0, 0),
        QueueDeclareOk("q", 1, 0),
    ]


def test_a_client_is_not_read_while_too_much_waits_behind_a_step(harness: Harness, users: StoredUsers) -> None:
    client = started(harness)
    users.gate.is_open = False
    client.send(0, start_ok(CLOSES))
    client.send_raw(b"\0" * 60_000)
    assert client.connection.wants_input
    client.send_raw(b"\0" * 6_000)
    assert not client.connection.wants_input
    open_gate(harness, users)
    assert client.connection.wants_input


def test_a_step_that_waits_has_no_more_time_than_another(harness: Harness, users: StoredUsers) -> None:
    client = started(harness)
    users.gate.is_open = False
    client.send(0, start_ok(CLOSES))
    harness.clock.advance(9.9)
    client.send_raw(HEARTBEAT_FRAME)
    assert not client.tick()
    harness.clock.advance(0.2)
    assert client.tick()


def test_a_client_that_is_lost_while_a_step_waits_is_not_let_in_afterwards(
    harness: Harness, users: StoredUsers
) -> None:
    client = started(harness)
    client.send(0, start_ok(CLOSES))
    client.send(0, ConnectionTuneOk())
    client.received()
    users.gate.is_open = False
    client.send(0, ConnectionOpen())
    client.send(1, ChannelOpen())
    client.lose()
    open_gate(harness, users)
    assert harness.broker.open_connections == set()
    assert client.connection.channels == {}
    assert client.connection.output.buffer == []


def test_a_refusal_after_a_wait_is_told_and_its_answer_awaited(harness: Harness, users: StoredUsers) -> None:
    client = started(harness)
    users.gate.is_open = False
    client.send(0, start_ok(CLOSES, response=b"\0guest\0wrong"))
    client.send(0, ConnectionTuneOk())
    open_gate(harness, users)
    ((_, close),) = client.received()
    assert isinstance(close, ConnectionClose)
    assert (close.reply_code, close.class_id, close.method_id) == (403, 10, 11)
    assert not client.is_closed
    client.send(0, ConnectionCloseOk())
    assert client.is_closed


def test_a_refusal_after_a_wait_is_no_word_to_a_client_that_does_not_expect_one(
    harness: Harness, users: StoredUsers
) -> None:
    client = started(harness)
    users.gate.is_open = False
    client.send(0, start_ok((), response=b"\0guest\0wrong"))
    open_gate(harness, users)
    assert client.received() == []
    assert client.is_closed


def test_a_vhost_may_be_refused_after_a_wait(harness: Harness, users: StoredUsers) -> None:
    client = started(harness)
    client.send(0, start_ok(CLOSES))
    client.send(0, ConnectionTuneOk())
    client.received()
    users.gate.is_open = False
    client.send(0, ConnectionOpen("carbon"))
    client.send(1, ChannelOpen())
    open_gate(harness, users)
    text = "NOT_ALLOWED - access to vhost 'carbon' refused for user 'guest'"
    assert client.received() == [(0, ConnectionClose(530, text, 10, 40))]


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (StoreUnavailable("disk on fire"), "INTERNAL_ERROR - the store is unavailable, try again later"),
        (RuntimeError("a bug"), "INTERNAL_ERROR - internal error"),
    ],
)
def test_a_store_that_fails_closes_the_connection(
    harness: Harness, users: StoredUsers, failure: Exception, text: str
) -> None:
    client = started(harness)
    users.failure = failure
    client.send(0, start_ok(CLOSES))
    assert client.received() == [(0, ConnectionClose(541, text, 10, 11))]


def test_a_node_that_stops_does_not_wait_for_a_step(harness: Harness, users: StoredUsers) -> None:
    client = started(harness)
    client.send(0, start_ok(CLOSES))
    client.send(0, ConnectionTuneOk())
    client.received()
    users.gate.is_open = False
    client.send(0, ConnectionOpen())
    client.send(1, ChannelOpen())
    client.connection.force_close("shutdown")
    harness.run()
    assert client.received() == [(0, ConnectionClose(320, "CONNECTION_FORCED - shutdown", 0, 0))]
    client.send(0, ConnectionCloseOk())
    assert client.is_closed
    open_gate(harness, users)
    assert client.received() == []
    assert harness.broker.open_connections == set()


def test_a_node_that_stops_says_nothing_to_a_client_whose_login_waits(harness: Harness, users: StoredUsers) -> None:
    client = started(harness)
    users.gate.is_open = False
    client.send(0, start_ok(CLOSES))
    client.connection.force_close("shutdown")
    harness.run()
    assert client.is_closed
    open_gate(harness, users)
    assert client.received() == []


def test_users_that_are_in_memory_are_answered_in_the_same_turn() -> None:
    client = started(Harness())
    client.connection.receive(command(0, start_ok(CLOSES)) + command(0, ConnectionTuneOk()), 1000.0)
    client.connection.receive(command(0, ConnectionOpen()), 1000.0)
    assert client.connection.output.buffer == [
        command(0, ConnectionTune(2047, 131_072, 60)),
        command(0, ConnectionOpenOk()),
    ]
