"""Puts everything that definitions can hold into a RabbitMQ that has nothing yet, by its commands and as a client."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    ConnectionOpen,
    ConnectionTuneOk,
    ExchangeBind,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
)
from tests.differential.live import Node
from tests.differential.permissions.brokers import LiveLink
from tests.support.harness import GUEST, start_ok
from tests.support.peer import command

PLUGINS: Final = (
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
)
"""The plugins whose exchange types this broker has too."""
_SALT: Final = b"salt"


def _hash(algorithm: str) -> dict[str, str]:
    digest = hashlib.new(algorithm, _SALT + b"secret").digest()
    return {
        "password_hash": b64encode(_SALT + digest).decode(),
        "hashing_algorithm": f"rabbit_password_hashing_{algorithm}",
    }


_USERS: Final = (
    {
        "name": "sha512",
        "tags": ["monitoring", "policymaker"],
        "limits": {"max-connections": 100, "max-channels": 1000},
        **_hash("sha512"),
    },
    {"name": "md5", "tags": ["impersonator", "our own tag"], **_hash("md5")},
    {
        "name": "no password",
        "tags": [],
        "password_hash": "",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
    },
)
"""Users who cannot be made by commands."""
_ARGUMENTS: Final[Mapping[str, Any]] = {
    "text": "grün",
    "empty": "",
    "integer": 1 << 40,
    "negative": -7,
    "real": 1.5,
    "true": True,
    "list": ["a", 1, {"b": [False]}],
    "table": {"c": {"d": "e"}},
}
"""Arguments that no one asks for, of the types that survive the way through JSON."""


def fill(node: Node, folder: Path) -> None:
    """Make everything."""
    _make_vhosts(node)
    _make_users(node, folder)
    for vhost in ("/", "grün"):
        _declare_all(node, vhost)
    _make_policies(node)


def _make_vhosts(node: Node) -> None:
    node.control("add_vhost", "grün", "--description", "a virtual host", "--tags", "one,two")
    node.control("add_vhost", "quorum", "--default-queue-type", "quorum")
    node.control("add_vhost", "limited")
    node.control("set_vhost_limits", "-p", "limited", '{"max-connections": 64, "max-queues": 1000}')
    node.control("set_vhost_limits", "-p", "quorum", '{"max-queues": 0}')


def _make_users(node: Node, folder: Path) -> None:
    path = folder / "users.json"
    path.write_text(json.dumps({"users": _USERS}))
    node.control("import_definitions", str(path))
    node.control("add_user", "sha256", "secret")
    node.control("set_user_tags", "sha256", "administrator", "management")
    node.control("add_user", "no permissions", "secret")
    node.control("set_permissions", "-p", "/", "sha256", "^(own|amq)\\..*", ".*", "")
    node.control("set_permissions", "-p", "grün", "sha256", ".*", ".*", ".*")
    node.control("set_permissions", "-p", "grün", "sha512", "", "", "")
    node.control("set_permissions", "-p", "quorum", "md5", "^ü", ".*", "^$")
    node.control("set_topic_permissions", "-p", "/", "sha256", "amq.topic", "^{username}\\.", ".*")
    node.control("set_topic_permissions", "-p", "grün", "sha512", "no such exchange", "", "^{vhost}")
    for vhost in ("grün", "quorum", "limited"):
        node.control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")


def _make_policies(node: Node) -> None:
    node.control(
        "set_policy", "-p", "/", "--priority", "7", "--apply-to", "queues", "lengths", "^q", '{"max-length": 10}'
    )
    node.control("set_policy", "-p", "grün", "letters", ".*", '{"dead-letter-exchange": "x", "message-ttl": 1000}')
    node.control("set_policy", "-p", "/", "--apply-to", "exchanges", "alternates", "^x", '{"alternate-exchange": "ae"}')
    node.control(
        "set_operator_policy",
        "-p",
        "/",
        "--priority",
        "1",
        "--apply-to",
        "queues",
        "most",
        ".*",
        '{"max-length": 1000}',
    )
    node.control("set_global_parameter", "cluster_name", '"the name of a cluster"')
    node.control("set_global_parameter", "ours", '{"a": [1, true, "b"]}')


def _declare_all(node: Node, vhost: str) -> None:
    """Declare everything that clients declare."""
    channel = Channel(LiveLink(node.port), vhost)
    for method in (*_exchanges(), *_queues(), *_bindings()):
        channel.call(method)
    channel.close()


def _exchanges() -> Iterator[Method]:
    for kind in ("direct", "fanout", "topic", "headers"):
        yield _exchange(f"x.{kind}", kind)
    yield _exchange("x", "direct", **{"alternate-exchange": "ae"}, **_ARGUMENTS)
    yield _exchange("ae", "fanout")
    yield replace(_exchange("auto-delete", "topic"), auto_delete=True)
    yield replace(_exchange("transient", "headers"), durable=False)
    yield _exchange("hash", "x-consistent-hash", **{"hash-header": "h"})
    yield _exchange("history", "x-recent-history", **{"x-recent-history-length": 5})
    yield _exchange("random", "x-random")
    yield _exchange("modulus", "x-modulus-hash")


def _exchange(name: str, kind: str, **arguments: Any) -> ExchangeDeclare:
    return ExchangeDeclare(exchange=name, type=kind, durable=True, arguments=FieldTable.of(arguments))


def _queues() -> Iterator[Method]:
    letters = {"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "dead"}
    yield _queue("plain")
    yield _queue("named grün", _ARGUMENTS)
    yield _queue("classic", {"x-queue-type": "classic", "x-max-priority": 5, "x-queue-mode": "lazy"})
    yield _queue("version", {"x-queue-version": 2})
    yield _queue("times", {"x-message-ttl": 60_000, "x-expires": 3_600_000})
    yield _queue("lengths", {"x-max-length": 10, "x-max-length-bytes": 1 << 33, "x-overflow": "reject-publish-dlx"})
    yield _queue("letters", letters)
    yield _queue("active", {"x-single-active-consumer": True, "x-queue-master-locator": "client-local"})
    yield _queue("quorum", {"x-queue-type": "quorum"})
    yield _queue("careful", {"x-queue-type": "quorum", **_CAREFUL, **letters})
    yield replace(_queue("auto-delete"), auto_delete=True)
    yield replace(_queue("transient"), durable=False)
    yield QueueDeclare()


_CAREFUL: Final[Mapping[str, Any]] = {
    "x-delivery-limit": 3,
    "x-quorum-initial-group-size": 1,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


def _queue(name: str, arguments: Mapping[str, Any] | None = None) -> QueueDeclare:
    return QueueDeclare(queue=name, durable=True, arguments=FieldTable.of(dict(arguments or {})))


def _bindings() -> Iterator[Method]:
    for source in ("x.direct", "x.fanout", "x.topic", "amq.direct", "amq.topic", "random", "modulus", "history"):
        yield _bind("plain", source, "a.*.#")
    yield _bind("plain", "x.direct", "")
    yield _bind("plain", "x.direct", "another grün")
    yield _bind("plain", "hash", "7")
    yield _bind("quorum", "x.topic", "#", **_ARGUMENTS)
    yield _bind("plain", "x.headers", **{"x-match": "all", "a": 1, "b": "c", "d": None, "e": True})
    yield _bind("plain", "x.headers", **{"x-match": "any-with-x", "x-b": 1.5})
    yield _bind("plain", "amq.headers", **{"x-match": "any"})
    yield ExchangeBind(destination="x.fanout", source="x.topic", routing_key="#.b")
    yield ExchangeBind(destination="ae", source="amq.fanout", arguments=FieldTable.of({"one": 1}))
    yield _bind("transient", "x.direct", "t")
    yield _bind("plain", "transient", "t", **{"x-match": "all", "k": "v"})


def _bind(queue: str, exchange: str, key: str = "", **arguments: Any) -> QueueBind:
    return QueueBind(queue=queue, exchange=exchange, routing_key=key, arguments=FieldTable.of(arguments))


class Channel:
    """Channel 1 of a connection to a server."""

    def __init__(self, link: LiveLink, vhost: str) -> None:
        self._link = link
        start = start_ok(response=GUEST)
        methods = (start, ConnectionTuneOk(2047, 131072, 0), ConnectionOpen(vhost))
        link.send(PROTOCOL_HEADER + b"".join(command(0, method) for method in methods))
        self.call(ChannelOpen())

    def call(self, method: Method) -> None:
        """Send a method and wait for its answer."""
        self._link.send(command(1, method))
        while True:
            come = self._link.hear()
            assert come is not None, "the socket is closed"
            for _, answer in come:
                assert not isinstance(answer, ChannelClose | ConnectionClose), answer
                if answer.name == f"{method.name}-ok":
                    return

    def close(self) -> None:
        """Close the socket."""
        self._link.close()
