"""What an administrator changes is logged, by names that stay, and without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    BasicGet,
    ChannelOpen,
    ConnectionOpen,
    ConnectionTuneOk,
    ExchangeDeclare,
    ExchangeDelete,
    QueueDeclare,
    QueueDelete,
    QueuePurge,
)
from broker.ports.records import (
    GlobalParameterKey,
    GlobalParameterRecord,
    PermissionRecord,
    PolicyKey,
    PolicyRecord,
    TopicPermissionRecord,
    UserRecord,
    VirtualHostSettingsRecord,
)
from broker.topology.commands import Commands
from tests.support.harness import ALL_CAPABILITIES, start_ok
from tests.unit.topology.test_administration import Node

SECRET = "$argon2id$never-to-be-seen"


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def lines(node: Node) -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def events(lines: list[Any]) -> list[dict[str, Any]]:
    """Return the audit events among log lines, without what the level and the sentence say."""
    found = [line for line in lines if "audit" in line]
    return [{key: value for key, value in line.items() if key not in ("event", "log_level")} for line in found]


def test_what_is_changed_of_users(node: Node, lines: list[Any]) -> None:
    ann = UserRecord("ann", SECRET, "management")
    node.do(node.administration.put_user(ann))
    node.do(node.administration.put_user(ann))
    node.do(node.administration.change_user("ann", lambda user: replace(user, password_hash=SECRET + "2", tags="")))
    node.do(node.administration.set_permissions(PermissionRecord("ann", "/", "a", "b", "c")))
    node.do(node.administration.clear_permissions("ann", "/"))
    node.do(node.administration.clear_permissions("ann", "/"))
    node.do(node.administration.set_topic_permissions(TopicPermissionRecord("ann", "/", "amq.topic", "a", "b")))
    node.do(node.administration.clear_topic_permissions("ann", "/"))
    node.do(node.administration.delete_user("ann"))
    topic = {"user": "ann", "vhost": "/", "exchange": "amq.topic"}
    assert events(lines) == [
        {"audit": "user.created", "user": "ann", "tags": "management"},
        {"audit": "user.changed", "user": "ann", "tags": "", "changed": ["password", "tags"]},
        {"audit": "permission.created", "user": "ann", "vhost": "/", "configure": "a", "write": "b", "read": "c"},
        {"audit": "permission.deleted", "user": "ann", "vhost": "/"},
        {"audit": "topic.permission.created", **topic, "write": "a", "read": "b"},
        {"audit": "topic.permission.deleted", **topic},
        {"audit": "user.deleted", "user": "ann"},
    ]
    assert SECRET not in str(lines)


def test_what_is_changed_of_virtual_hosts_policies_and_parameters(node: Node, lines: list[Any]) -> None:
    settings = VirtualHostSettingsRecord("v", "text")
    policy = PolicyRecord("v", "p", False, ".*", "all", 0, b'{"max-length":1}')
    node.do(node.administration.create_vhost(settings))
    node.do(node.administration.create_vhost(replace(settings, max_queues=7)))
    node.do(node.administration.put_policy(policy))
    node.do(node.administration.clear_policy(PolicyKey("v", "p", False)))
    node.do(node.administration.put_global_parameter(GlobalParameterRecord("n", b'"amqp://u:secret@host"')))
    node.do(node.administration.clear_global_parameter(GlobalParameterKey("n").name))
    node.do(node.administration.delete_vhost("v"))
    assert events(lines) == [
        {"audit": "vhost.created", "vhost": "v"},
        {"audit": "vhost.changed", "vhost": "v", "changed": ["description"]},
        {"audit": "vhost.changed", "vhost": "v", "changed": ["max_queues"]},
        {"audit": "policy.set", "vhost": "v", "policy": "p", "is_operator": False},
        {"audit": "policy.cleared", "vhost": "v", "policy": "p", "is_operator": False},
        {"audit": "parameter.set", "parameter": "n"},
        {"audit": "parameter.cleared", "parameter": "n"},
        {"audit": "vhost.deleted", "vhost": "v"},
    ]
    assert "secret" not in str(lines)


async def no_hash(password: str) -> str:
    return SECRET


def test_definitions_are_told_when_they_come_and_go(node: Node, lines: list[Any]) -> None:
    commands = Commands(node.administration, no_hash, "1.0").by_name
    given = {"users": [{"name": "ann", "password_hash": "", "cordillera_password_hash": "$public$never"}]}
    node.do(commands["import_definitions"]({"definitions": given, "dry_run": True}))
    assert events(lines) == []
    node.do(commands["import_definitions"]({"definitions": given}))
    node.do(commands["export_definitions"]({}))
    assert events(lines) == [
        {"audit": "user.created", "user": "ann", "tags": ""},
        {"audit": "definitions.imported", "changes": 1, "left_out": []},
        {"audit": "definitions.exported"},
    ]
    assert "never" not in str(lines)


def test_what_clients_make_and_delete_that_lasts(node: Node, lines: list[Any]) -> None:
    peer = node.harness.peer()
    of_guest = {"user": "guest", "vhost": "/"}
    connection = {"connection": "127.0.0.1:50000"}
    assert events(lines)[1:] == [{"audit": "connection.created", **of_guest, "name": "", **connection}]
    lines.clear()
    for method in (
        ExchangeDeclare(exchange="x", type="topic", durable=True),
        ExchangeDeclare(exchange="x", type="topic", durable=True),
        ExchangeDeclare(exchange="transient"),
        QueueDeclare(queue="q", durable=True),
        QueueDeclare(queue="q", durable=True),
        QueueDeclare(queue="transient"),
        QueueDeclare(durable=True, exclusive=True),
        QueuePurge(queue="transient"),
        QueuePurge(queue="q"),
        QueueDelete(queue="q"),
        QueueDelete(queue="q"),
        QueueDelete(queue="transient"),
        ExchangeDelete(exchange="transient"),
        ExchangeDelete(exchange="x"),
        ExchangeDelete(exchange="x"),
    ):
        peer.call(1, method)
    assert events(lines) == [
        {"audit": "exchange.created", **of_guest, "exchange": "x", "type": "topic", **connection},
        {"audit": "queue.created", **of_guest, "queue": "q", "type": "classic", **connection},
        {"audit": "queue.purged", **of_guest, "queue": "q", "messages": 0, **connection},
        {"audit": "queue.deleted", **of_guest, "queue": "q", "messages": 0, **connection},
        {"audit": "exchange.deleted", **of_guest, "exchange": "x", **connection},
    ]


def test_what_is_refused_names_user_and_reason(node: Node, lines: list[Any]) -> None:
    node.permit(read="")
    peer = node.harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    lines.clear()
    peer.call(1, BasicGet(queue="q"))
    reason = "ACCESS_REFUSED - read access to queue 'q' in vhost '/' refused for user 'guest'"
    connection = {"connection": "127.0.0.1:50000"}
    assert events(lines) == [{"audit": "access.refused", "user": "guest", "channel": 1, "reason": reason, **connection}]


def test_logins_and_refusals(node: Node, lines: list[Any]) -> None:
    for password, vhost in (("guest", "carbon"), ("guest", "none"), ("never", "/")):
        client = node.harness.connect()
        client.send_raw(PROTOCOL_HEADER)
        client.send(0, start_ok(ALL_CAPABILITIES, response=f"\0guest\0{password}".encode()))
        if password == "guest":
            client.send(0, ConnectionTuneOk(0, 0, 0))
            client.send(0, ConnectionOpen(vhost))
            client.send(1, ChannelOpen())
    of_guest, connection = {"user": "guest"}, {"connection": "127.0.0.1:50000"}
    plain = {**of_guest, "mechanism": "PLAIN", **connection}
    success, refused = "user.authentication.success", "vhost.refused"
    assert events(lines) == [
        {"audit": success, **plain},
        {
            "audit": refused,
            **of_guest,
            "vhost": "carbon",
            "reason": "access to vhost 'carbon' refused for user 'guest'",
            **connection,
        },
        {"audit": success, **plain},
        {"audit": refused, **of_guest, "vhost": "none", "reason": "vhost none not found", **connection},
        {"audit": "user.authentication.failure", **plain, "reason": "the password is wrong"},
    ]
    assert "never" not in str(lines)
