"""Connections of clients with a token in the place of a password: contract C16, ADR 55."""

from __future__ import annotations

from typing import Any

import pytest

from broker.auth.directory import Directory
from broker.auth.recorded_access import RecordedAccess
from broker.auth.scopes import GrantedAccess
from broker.auth.signing_keys import SigningKeys
from broker.auth.token_claims import ClaimRules
from broker.auth.token_signatures import Signatures, keys_in_set
from broker.auth.tokens import TokenLogins, VerifiedTokens
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    BasicCancel,
    BasicConsume,
    BasicConsumeOk,
    BasicPublish,
    ChannelClose,
    ConnectionClose,
    ConnectionStartOk,
    ConnectionUpdateSecret,
    ConnectionUpdateSecretOk,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.codec.properties import BasicProperties
from broker.config.authentication import ALGORITHMS
from tests.support.clock import FakeClock
from tests.support.harness import ALL_CAPABILITIES, Client, Harness, start_ok
from tests.support.logins import public_user, users_of
from tests.support.tokens import EVERYTHING, claims_of, ec_key, key_set, signed


class Node:
    """A harness that lets in whoever has a token of the issuer's, and the user guest, who may do nothing."""

    def __init__(self) -> None:
        clock = FakeClock()
        logins = TokenLogins(
            users_of(public_user("guest", "guest")),
            ClaimRules("rabbitmq", "rabbitmq."),
            Signatures(ALGORITHMS),
            SigningKeys(keys_in_set(key_set(ec_key())), None, clock.monotonic),
            VerifiedTokens(bytes(32)),
            monotonic=lambda: self.harness.clock.monotonic(),
            wall=lambda: self.harness.clock.wall_ms() / 1000,
        )
        self.harness = Harness(users=logins, access=GrantedAccess(RecordedAccess(Directory())))

    def token(self, *scopes: str, seconds: float = 60, **claims: Any) -> str:
        now = self.harness.clock.wall_ms() / 1000
        return signed(claims_of(scopes or EVERYTHING, now=now, **{"exp": now + seconds, **claims}), ec_key())

    def peer(self, token: str) -> Client:
        return self.harness.peer(login=b"\0ignored\0" + token.encode())


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_token_permits_what_its_scopes_say(node: Node) -> None:
    peer = node.peer(
        node.token("rabbitmq.configure:%2F/a-*", "rabbitmq.write:*/amq.topic/a.*", "rabbitmq.write:*/amq.d*")
    )
    assert peer.call(1, QueueDeclare(queue="a-1")) == QueueDeclareOk("a-1", 0, 0)
    peer.publish("a.1", b"m", exchange="amq.topic")
    peer.publish("a-1", b"m")
    assert peer.received() == []
    peer.publish("b.1", b"m", exchange="amq.topic")
    text = "write access to topic 'b.1' in exchange 'amq.topic' in vhost '/' refused for user 'ann'"
    assert peer.received() == [(1, ChannelClose(403, f"ACCESS_REFUSED - {text}", *BasicPublish.ids))]


def test_without_a_scope_for_the_queue_it_is_not_declared(node: Node) -> None:
    peer = node.peer(node.token("rabbitmq.configure:*/a-*"))
    text = "ACCESS_REFUSED - configure access to queue 'b' in vhost '/' refused for user 'ann'"
    assert peer.call(1, QueueDeclare(queue="b")) == ChannelClose(403, text, *QueueDeclare.ids)


@pytest.mark.parametrize("claims", [{"aud": "other"}, {"exp": 0}, {"exp": None}])
def test_a_token_that_is_not_good_is_a_login_that_is_refused(node: Node, claims: dict[str, Any]) -> None:
    client = node.harness.connect()
    client.send_raw(PROTOCOL_HEADER)
    client.send(0, start_ok(ALL_CAPABILITIES, response=b"\0ann\0" + node.token(**claims).encode()))
    text = (
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
    )
    assert client.received()[1:] == [(0, ConnectionClose(403, text, *ConnectionStartOk.ids))]


def test_with_its_token_a_connection_ends(node: Node) -> None:
    peer = node.peer(node.token(seconds=60))
    assert peer.connection.next_deadline() == node.harness.clock.monotonic() + 60
    node.harness.clock.advance(59.9)
    peer.tick()
    assert peer.received() == []
    node.harness.clock.advance(0.1)
    peer.tick()
    assert peer.received() == [(0, ConnectionClose(320, "CONNECTION_FORCED - credential expired", 0, 0))]


def test_another_token_keeps_it_open(node: Node) -> None:
    peer = node.peer(node.token(seconds=60))
    node.harness.clock.advance(50)
    assert peer.call(0, ConnectionUpdateSecret(node.token(seconds=60).encode(), "soon")) == ConnectionUpdateSecretOk()
    node.harness.clock.advance(50)
    peer.tick()
    assert peer.received() == []
    assert peer.call(1, QueueDeclare(queue="q")) == QueueDeclareOk("q", 0, 0)
    node.harness.clock.advance(10)
    peer.tick()
    assert peer.received() == [(0, ConnectionClose(320, "CONNECTION_FORCED - credential expired", 0, 0))]


def test_another_token_may_permit_less_and_what_it_does_not_permit_ends(node: Node) -> None:
    peer = node.peer(node.token())
    peer.call(1, QueueDeclare(queue="q"))
    peer.call(1, QueueDeclare(queue="kept"))
    assert peer.call(1, BasicConsume(queue="q", consumer_tag="c")) == BasicConsumeOk("c")
    assert peer.call(1, BasicConsume(queue="kept", consumer_tag="k")) == BasicConsumeOk("k")
    peer.publish("q", b"m", exchange="amq.direct")
    narrow = node.token("rabbitmq.read:*/kept")
    peer.send(0, ConnectionUpdateSecret(narrow.encode(), ""))
    assert peer.received() == [(1, BasicCancel("c", True)), (0, ConnectionUpdateSecretOk())]
    peer.publish("q", b"m", exchange="amq.direct")
    text = "ACCESS_REFUSED - write access to exchange 'amq.direct' in vhost '/' refused for user 'ann'"
    assert peer.received() == [(1, ChannelClose(403, text, *BasicPublish.ids))]


@pytest.mark.parametrize(
    ("scopes", "claims", "text"),
    [
        (EVERYTHING, {"sub": "eve"}, "New secret was refused by one of the backends"),
        (EVERYTHING, {"exp": 1}, "New secret was refused by one of the backends"),
        (EVERYTHING, {"aud": "x"}, "New secret was refused by one of the backends"),
        (("rabbitmq.read:other/*",), {}, "access to vhost '/' refused for user 'ann'"),
    ],
)
def test_a_secret_that_is_refused_closes_the_connection(
    node: Node, scopes: tuple[str, ...], claims: dict[str, Any], text: str
) -> None:
    peer = node.peer(node.token())
    peer.send(0, ConnectionUpdateSecret(node.token(*scopes, **claims).encode(), ""))
    assert peer.received() == [(0, ConnectionClose(530, f"NOT_ALLOWED - {text}", *ConnectionUpdateSecret.ids))]


@pytest.mark.parametrize("secret", [b"", b"guest", b"\xff\xfe", b"eyJ.." + b"x" * 70_000])
def test_a_secret_that_is_no_token_is_refused(node: Node, secret: bytes) -> None:
    peer = node.peer(node.token())
    peer.send(0, ConnectionUpdateSecret(secret, ""))
    text = "NOT_ALLOWED - New secret was refused by one of the backends"
    assert peer.received() == [(0, ConnectionClose(530, text, *ConnectionUpdateSecret.ids))]


def test_an_answer_that_comes_behind_the_end_has_no_effect(node: Node) -> None:
    peer = node.peer(node.token())
    peer.send(0, ConnectionClose(200, "", 0, 0))
    before = peer.received()
    peer.send(0, ConnectionUpdateSecret(node.token().encode(), ""))
    assert peer.received() == []
    assert len(before) == 1


def test_a_tag_lets_publish_for_others(node: Node) -> None:
    ann, other = BasicProperties(user_id="ann"), BasicProperties(user_id="bob")
    peer = node.peer(node.token(*EVERYTHING, "rabbitmq.tag:impersonator"))
    peer.publish("q", b"m", properties=ann)
    peer.publish("q", b"m", properties=other)
    assert peer.received() == []
    plain = node.peer(node.token())
    plain.publish("q", b"m", properties=other)
    text = "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'ann'"
    assert plain.received() == [(1, ChannelClose(406, text, *BasicPublish.ids))]


def test_equal_scopes_share_the_routes_of_what_they_publish(node: Node) -> None:
    one = node.peer(node.token("rabbitmq.write:*/*"))
    other = node.peer(node.token("rabbitmq.write:*/*", sub="bob"))
    routes = [peer.connection.channels[1].publisher._routes for peer in (one, other)]
    assert routes[0] is routes[1]
