"""Which permissions the methods of a channel need: ADR 23."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.auth.access import AllPermissions, OpenAccess, Permission, Permissions, Purpose, ResourceKind
from broker.auth.identity import Identity
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicConsume,
    BasicGet,
    BasicPublish,
    ChannelClose,
    ExchangeBind,
    ExchangeDeclare,
    ExchangeDeclareOk,
    ExchangeDelete,
    ExchangeUnbind,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueuePurge,
    QueueUnbind,
)
from tests.support.harness import Client, Harness

ADMIN = b"\0admin\0secret"
Need = tuple[Permission, ResourceKind, str]
CONFIGURE, WRITE, READ = Permission.CONFIGURE, Permission.WRITE, Permission.READ


@dataclass(frozen=True)
class Granted:
    """The permissions in a list."""

    needs: frozenset[Need]

    asks_for_purpose = False

    def permits(self, permission: Permission, kind: ResourceKind, name: str, purpose: Purpose | None = None) -> bool:
        return (permission, kind, name) in self.needs

    def permits_key(self, permission: Permission, exchange: str, routing_key: str) -> bool:
        return True


class Lists(OpenAccess):
    """Access control for guest; admin may do everything."""

    def __init__(self) -> None:
        self.guest: Permissions = Granted(frozenset())
        self._admin = AllPermissions()

    def permissions(self, identity: Identity, vhost: str) -> Permissions:
        return self._admin if identity.user == "admin" else self.guest


@pytest.fixture
def access() -> Lists:
    return Lists()


@pytest.fixture
def harness(access: Lists) -> Harness:
    harness = Harness(access=access)
    admin = harness.peer(login=ADMIN)
    for name in ("x", "y"):
        admin.send(1, ExchangeDeclare(exchange=name, type="topic"))
    admin.send(1, QueueDeclare(queue="q"))
    return harness


def guest(harness: Harness, access: Lists, *needs: Need) -> Client:
    access.guest = Granted(frozenset(needs))
    return harness.peer()


METHODS: list[tuple[Method, list[Need]]] = [
    (ExchangeDeclare(exchange="n", type="topic"), [(CONFIGURE, "exchange", "n")]),
    (ExchangeDeclare(exchange="x", type="topic"), [(CONFIGURE, "exchange", "x")]),
    (
        ExchangeDeclare(exchange="n", type="topic", arguments=FieldTable.of({"alternate-exchange": "y"})),
        [(CONFIGURE, "exchange", "n"), (READ, "exchange", "n"), (WRITE, "exchange", "y")],
    ),
    (ExchangeDelete(exchange="x"), [(CONFIGURE, "exchange", "x")]),
    (ExchangeBind(destination="y", source="x"), [(WRITE, "exchange", "y"), (READ, "exchange", "x")]),
    (ExchangeUnbind(destination="y", source="x"), [(WRITE, "exchange", "y"), (READ, "exchange", "x")]),
    (QueueDeclare(queue="n"), [(CONFIGURE, "queue", "n")]),
    (QueueDeclare(), [(CONFIGURE, "queue", "amq.gen-1")]),
    (
        QueueDeclare(queue="n", arguments=FieldTable.of({"x-dead-letter-exchange": "y"})),
        [(CONFIGURE, "queue", "n"), (READ, "queue", "n"), (WRITE, "exchange", "y")],
    ),
    (
        QueueDeclare(queue="n", arguments=FieldTable.of({"x-dead-letter-exchange": ""})),
        [(CONFIGURE, "queue", "n"), (READ, "queue", "n"), (WRITE, "exchange", "amq.default")],
    ),
    (QueueBind(queue="q", exchange="x"), [(WRITE, "queue", "q"), (READ, "exchange", "x")]),
    (QueueUnbind(queue="q", exchange="x"), [(WRITE, "queue", "q"), (READ, "exchange", "x")]),
    (QueuePurge(queue="q"), [(READ, "queue", "q")]),
    (QueueDelete(queue="q"), [(CONFIGURE, "queue", "q")]),
    (BasicConsume(queue="q"), [(READ, "queue", "q")]),
    (BasicGet(queue="q"), [(READ, "queue", "q")]),
]
NAMES = [f"{method.name} {number}" for number, (method, _) in enumerate(METHODS)]


@pytest.mark.parametrize(("method", "needs"), METHODS, ids=NAMES)
def test_a_method_needs_these_permissions_and_no_others(
    harness: Harness, access: Lists, method: Method, needs: list[Need]
) -> None:
    assert not isinstance(guest(harness, access, *needs).call(1, method), ChannelClose)


@pytest.mark.parametrize(("method", "needs"), METHODS, ids=NAMES)
def test_a_method_is_refused_when_one_of_its_permissions_lacks(
    harness: Harness, access: Lists, method: Method, needs: list[Need]
) -> None:
    for lacking in needs:
        peer = guest(harness, access, *(need for need in needs if need != lacking))
        permission, kind, name = lacking
        text = f"ACCESS_REFUSED - {permission} access to {kind} '{name}' in vhost '/' refused for user 'guest'"
        assert peer.call(1, method) == ChannelClose(403, text, *method.ids)


def test_asking_whether_something_is_there_needs_none(harness: Harness, access: Lists) -> None:
    peer = guest(harness, access)
    assert peer.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 0, 0)
    assert peer.call(1, ExchangeDeclare(exchange="x", passive=True)) == ExchangeDeclareOk()


def test_a_publish_needs_write_on_its_exchange(harness: Harness, access: Lists) -> None:
    peer = guest(harness, access, (WRITE, "exchange", "amq.default"))
    peer.publish("q", b"m")
    assert peer.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 1, 0)
    peer.publish("q", b"m", exchange="x")
    text = "ACCESS_REFUSED - write access to exchange 'x' in vhost '/' refused for user 'guest'"
    assert peer.received() == [(1, ChannelClose(403, text, 60, 40))]


def test_what_one_user_may_publish_another_may_not(harness: Harness, access: Lists) -> None:
    admin = harness.peer(login=ADMIN)
    admin.publish("q", b"from admin")
    peer = guest(harness, access)
    peer.publish("q", b"from guest")
    text = "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'guest'"
    assert peer.received() == [(1, ChannelClose(403, text, 60, 40))]
    admin.publish("q", b"again")
    assert admin.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 2, 0)


def test_users_with_equal_permissions_find_a_route_once(harness: Harness, access: Lists) -> None:
    needs: Need = (WRITE, "exchange", "amq.default")
    one, other = guest(harness, access, needs), guest(harness, access, needs)
    arguments = BasicPublish(routing_key="q").encode()[4:]
    assert one.connection.channels[1].resolve(arguments) is other.connection.channels[1].resolve(arguments)
    admin = harness.peer(login=ADMIN)
    assert admin.connection.channels[1].resolve(arguments) is not one.connection.channels[1].resolve(arguments)


def test_a_subscription_to_another_topic_needs_what_emptying_it_needs() -> None:
    access = Lists()
    harness = Harness(access=access)
    admin = harness.peer(login=ADMIN, vhost="carbon")
    admin.call(1, QueueDeclare(queue="s", durable=True, exclusive=True))
    admin.call(1, QueueBind(queue="s", exchange="amq.topic", routing_key="old"))
    admin.send(1, BasicPublish(0, "amq.topic", "old"), body=b"kept")
    access.guest = Granted(frozenset({(WRITE, "queue", "s"), (READ, "exchange", "amq.topic")}))
    guest = harness.peer(vhost="carbon")
    guest.send(1, QueueBind(queue="s", exchange="amq.topic", routing_key="new"))
    [close] = [method for _, method in guest.received() if isinstance(method, ChannelClose)]
    assert close.reply_text == "ACCESS_REFUSED - read access to queue 's' in vhost 'carbon' refused for user 'guest'"
    assert admin.call(1, QueueDeclare(queue="s", passive=True)) == QueueDeclareOk("s", 1, 0)
