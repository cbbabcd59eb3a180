"""Definitions in RabbitMQ's form: out, in, and in again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import ExchangeBind, ExchangeDeclare, QueueBind, QueueDeclare
from broker.errors import AdministrationError
from broker.ports.records import PermissionRecord, TopicPermissionRecord, UserRecord, VirtualHostSettingsRecord
from broker.topology.definitions import exported
from broker.topology.definitions_import import Import
from tests.unit.topology.test_administration import Node

HASH = "$rabbit_password_hashing_sha256$kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"

FROM_RABBITMQ: dict[str, Any] = {
    "rabbit_version": "3.10.8",
    "rabbitmq_version": "3.10.8",
    "product_name": "RabbitMQ",
    "product_version": "3.10.8",
    "users": [
        {
            "name": "ann",
            "password_hash": HASH.rpartition("$")[2],
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": ["monitoring"],
            "limits": {"max-connections": 7},
        }
    ],
    "vhosts": [{"name": "/"}, {"name": "new"}],
    "permissions": [{"user": "ann", "vhost": "new", "configure": "^a", "write": ".*", "read": ""}],
    "topic_permissions": [{"user": "ann", "vhost": "new", "exchange": "amq.topic", "write": "^a", "read": ".*"}],
    "parameters": [
        {"value": {"max-queues": 50}, "vhost": "new", "component": "vhost-limits", "name": "limits"},
        {
            "value": {"apply-to": "all", "definition": {"max-length": 9}, "pattern": "^q", "priority": 0},
            "vhost": "new",
            "component": "operator_policy",
            "name": "op",
        },
    ],
    "global_parameters": [{"name": "cluster_name", "value": "rabbit@here"}],
    "policies": [
        {
            "vhost": "new",
            "name": "p",
            "pattern": "^(?!amq\\.)",
            "apply-to": "queues",
            "definition": {"max-length": 5, "ha-mode": "all"},
            "priority": 1,
        }
    ],
    "queues": [
        {
            "name": "q",
            "vhost": "new",
            "type": "classic",
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-message-ttl": 1000, "x-queue-type": "classic", "x-list": [1, "a", {"b": True}]},
        }
    ],
    "exchanges": [
        {
            "name": "x",
            "vhost": "new",
            "type": "topic",
            "durable": True,
            "auto_delete": False,
            "internal": False,
            "arguments": {"alternate-exchange": "amq.fanout"},
        }
    ],
    "bindings": [
        {
            "source": "x",
            "vhost": "new",
            "destination": "q",
            "destination_type": "queue",
            "routing_key": "a.#",
            "arguments": {},
        },
        {
            "source": "amq.fanout",
            "vhost": "new",
            "destination": "x",
            "destination_type": "exchange",
            "routing_key": "",
            "arguments": {"n": 1},
        },
    ],
}


@pytest.fixture
def node() -> Node:
    return Node()


def load(node: Node, definitions: Any, *, is_dry: bool = False) -> list[str]:
    """Import, and return what has differed."""
    imported = Import(node.administration, definitions)
    node.do(imported.run(is_dry=is_dry))
    return imported.lines


def test_what_rabbitmq_has_exported_is_made_and_exported_again(node: Node) -> None:
    lines = load(node, FROM_RABBITMQ)
    assert lines == [
        "virtual host 'new'",
        "user 'ann'",
        "permissions of 'ann' in virtual host 'new'",
        "topic permissions of 'ann' at 'amq.topic' in virtual host 'new'",
        "limits of virtual host 'new'",
        "operator policy 'op' in virtual host 'new'",
        "global parameter 'cluster_name'",
        "policy 'p' in virtual host 'new'",
        "exchange 'x' in virtual host 'new'",
        "queue 'q' in virtual host 'new'",
        "binding of queue 'q' to 'x' by 'a.#' in virtual host 'new'",
        "binding of exchange 'x' to 'amq.fanout' by '' in virtual host 'new'",
    ]
    assert node.administration.directory.user("ann") == UserRecord("ann", HASH, "monitoring", max_connections=7)
    found = exported(node.administration, "1.0")
    json.dumps(found)
    assert found["global_parameters"] == FROM_RABBITMQ["global_parameters"]
    for section in ("permissions", "topic_permissions", "parameters", "policies", "queues", "exchanges"):
        assert [each for each in found[section] if each.get("vhost") == "new"] == FROM_RABBITMQ[section]
    assert sorted(found["bindings"], key=str) == sorted(FROM_RABBITMQ["bindings"], key=str)
    assert [user for user in found["users"] if user["name"] == "ann"] == FROM_RABBITMQ["users"]


def test_a_second_import_changes_nothing(node: Node) -> None:
    load(node, FROM_RABBITMQ)
    before = exported(node.administration, "1.0")
    assert load(node, FROM_RABBITMQ) == []
    assert load(node, before) == []
    assert exported(node.administration, "1.0") == before


def test_an_export_makes_the_same_elsewhere(node: Node) -> None:
    load(node, FROM_RABBITMQ)
    there = Node()
    load(there, exported(node.administration, "1.0"))
    assert exported(there.administration, "1.0") == exported(node.administration, "1.0")


def test_a_dry_run_only_says_what_differs(node: Node) -> None:
    before = exported(node.administration, "1.0")
    assert len(load(node, FROM_RABBITMQ, is_dry=True)) == 12
    assert exported(node.administration, "1.0") == before


def test_all_but_exclusive_queues_is_exported(node: Node) -> None:
    peer = node.harness.peer()
    peer.call(1, QueueDeclare(queue="transient", auto_delete=True))
    peer.call(1, QueueDeclare(queue="mine", durable=True, exclusive=True))
    peer.call(1, QueueDeclare(queue="stays", durable=True, arguments=FieldTable.of({"x-octets": b"\xff"})))
    peer.call(1, ExchangeDeclare(exchange="gone", type="fanout"))
    for name in ("transient", "mine", "stays"):
        peer.call(1, QueueBind(queue=name, exchange="amq.fanout"))
    peer.call(1, ExchangeBind(destination="gone", source="amq.fanout"))
    found = exported(node.administration, "1.0")
    assert [(each["name"], each["durable"]) for each in found["queues"]] == [("stays", True), ("transient", False)]
    assert [(each["name"], each["durable"]) for each in found["exchanges"]] == [("gone", False)]
    assert [each["destination"] for each in found["bindings"]] == ["transient", "stays", "gone"]


def test_older_forms_are_understood(node: Node) -> None:
    load(
        node,
        {
            "users": [{"name": "bob", "password_hash": "", "tags": "administrator,management"}],
            "vhosts": [{"name": "v", "metadata": {"description": "x", "tags": ["a"], "default_queue_type": "quorum"}}],
        },
    )
    assert node.administration.directory.user("bob") == UserRecord("bob", "$none$", "administrator,management")
    assert node.administration.vhosts[-1] == VirtualHostSettingsRecord("v", "x", "a", default_queue_type="quorum")


@pytest.mark.parametrize(
    ("definitions", "reason"),
    [
        ([], "definitions are a JSON object"),
        ({"users": {}}, "'users' is no list of objects"),
        ({"queues": [1]}, "'queues' is no list of objects"),
        ({"streams": [{"name": "p"}]}, "'streams' are not served"),
        (
            {
                "queues": [{"name": "q", "vhost": "/"}],
                "bindings": [
                    {
                        "source": "amq.topic",
                        "destination": "q",
                        "destination_type": "queue",
                        "vhost": "/",
                        "arguments": {"x-filter-jms-selector": "a = 1"},
                    }
                ],
            },
            r"bindings\[0\]: argument 'x-filter-jms-selector' of a binding is not served in virtual host '/'",
        ),
        ({"policies": [{"name": "p"}]}, r"policies\[0\]: KeyError\('vhost'\) is missing or wrong"),
        ({"policies": [{"name": "p", "vhost": "/"}]}, r"policies\[0\]: a policy has a 'pattern', which is a text"),
        (
            {"policies": [{"name": "p", "vhost": "/", "pattern": "", "definition": {"x": 1}}]},
            r"policies\[0\]: policy 'p' is not valid: 'x' is not a recognised policy setting",
        ),
        ({"users": [{}]}, r"users\[0\]: KeyError\('name'\) is missing or wrong"),
        ({"permissions": [{"user": "ann"}]}, r"permissions\[0\]: KeyError\('vhost'\) is missing or wrong"),
        ({"parameters": [{"component": "shovel"}]}, r"parameters\[0\]: parameters of the component 'shovel'"),
        ({"queues": [{"name": "q", "vhost": "none"}]}, r"queues\[0\]: there is no virtual host 'none'"),
        (
            {"bindings": [{"source": "x", "destination": "q", "destination_type": "topic", "vhost": "/"}]},
            r"bindings\[0\]: there is no destination type 'topic'",
        ),
        (
            {"queues": [{"name": "q", "vhost": "/", "arguments": {"x-max-length": -1}}]},
            r"queues\[0\]: .*invalid arg 'x-max-length'",
        ),
    ],
)
def test_what_cannot_be_imported_is_said(node: Node, definitions: Any, reason: str) -> None:
    with pytest.raises(AdministrationError, match=reason):
        load_or_raise(node, definitions)


def load_or_raise(node: Node, definitions: Any) -> None:
    failed: list[AdministrationError] = []

    async def run() -> None:
        try:
            await Import(node.administration, definitions).run()
        except AdministrationError as error:
            failed.append(error)

    node.do(run())
    if failed:
        raise failed[0]


def test_a_different_queue_of_the_same_name_is_not_changed(node: Node) -> None:
    load(node, {"queues": [{"name": "q", "vhost": "/", "arguments": {"x-max-length": 1}}]})
    with pytest.raises(AdministrationError, match="inequivalent arg 'x-max-length'"):
        load_or_raise(node, {"queues": [{"name": "q", "vhost": "/", "arguments": {"x-max-length": 2}}]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"arguments": {"x-max-length": 1}},
        {"type": "quorum"},
        {"durable": False},
        {"auto_delete": True},
        {"name": "DeadLetterChannel"},
    ],
)
def test_a_dead_letter_channel_is_imported_only_as_it_is(node: Node, wrong: dict[str, Any]) -> None:
    load(node, {"vhosts": [{"name": "carbon"}]})
    given = {"name": "deadletterchannel", "vhost": "carbon", "type": "classic"}
    with pytest.raises(AdministrationError, match="in vhost 'carbon' is the dead letter channel: it is spelt"):
        load_or_raise(node, {"queues": [{**given, **wrong}]})
    load(node, {"queues": [{**given, "vhost": "/", **wrong}]})
    load(node, {"queues": [given]})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"queues": [{"name": "deadletterchannel", "type": "quorum"}]}, "is the dead letter channel"),
        ({"bindings": [{"arguments": {"x-filter-no-consume": True}}]}, "'x-filter-no-consume' of a binding is not"),
        ({"bindings": [{"arguments": {"x-filter-jms-selector": "a ="}}]}, "expected a value"),
    ],
)
def test_a_dry_run_knows_the_dialect_of_a_virtual_host_that_would_be_created(
    node: Node, given: dict[str, list[dict[str, Any]]], reason: str
) -> None:
    ends = {"source": "amq.topic", "destination": "q", "destination_type": "queue", "routing_key": "t"}
    queues = [{"name": "q"}, *given.get("queues", ())]
    definitions = {
        "vhosts": [{"name": "carbon"}],
        "queues": [{"vhost": "carbon", **each} for each in queues],
        "bindings": [{"vhost": "carbon", **ends, **each} for each in given.get("bindings", ())],
    }
    imported = Import(node.administration, definitions)
    node.do(imported.run(is_dry=True))
    [problem] = imported.problems
    assert reason in problem
    with pytest.raises(AdministrationError, match=reason):
        load_or_raise(node, definitions)


def test_permissions_need_user_and_virtual_host(node: Node) -> None:
    record = PermissionRecord("none", "/", "", "", "")
    topic = TopicPermissionRecord("none", "/", "amq.topic", "", "")
    for section, each in (("permissions", record), ("topic_permissions", topic)):
        given = {name: getattr(each, name) for name in type(each).__slots__}
        with pytest.raises(AdministrationError, match="there is no user 'none'"):
            load_or_raise(node, {section: [given]})


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"password_hash": ""}, "$none$"),
        ({"password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256"}, "$none$"),
        ({}, "$none$"),
        ({"password_hash": "", "hashing_algorithm": ""}, ""),
        ({"password_hash": HASH.rpartition("$")[2]}, HASH),
        ({"password_hash": "$public$x", "hashing_algorithm": ""}, "$public$x"),
        ({"password_hash": "", "cordillera_password_hash": "$public$x"}, "$public$x"),
        ({"password_hash": "", "cordillera_password_hash": ""}, ""),
    ],
)
def test_a_user_without_a_password_does_not_get_that_of_the_configuration(
    node: Node, given: dict[str, Any], stored: str
) -> None:
    load(node, {"users": [{"name": "admin", **given}]})
    user = node.administration.directory.user("admin")
    assert user is not None
    assert user.password_hash == stored
    assert load(node, exported(node.administration, "1.0")) == []


@pytest.mark.parametrize("stored", ["$public$x", ""])
def test_a_password_that_rabbitmq_cannot_read_is_exported_beside_an_empty_one(node: Node, stored: str) -> None:
    node.do(node.administration.put_user(UserRecord("ann", stored)))
    (ann, _) = exported(node.administration, "1.0")["users"]
    assert (ann["password_hash"], ann["hashing_algorithm"]) == ("", "rabbit_password_hashing_sha256")
    assert ann["cordillera_password_hash"] == stored


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"password": "secret"}, "a 'password' in plain text is not served: give its 'password_hash'"),
        ({"password_hash": "kI3G"}, "RabbitMQ's password_hash is not rabbit_password_hashing_sha256 behind a salt"),
        ({"password_hash": "kI3G", "hashing_algorithm": "bcrypt"}, "hashing_algorithm 'bcrypt' is unknown"),
        ({"password_hash": "plain", "hashing_algorithm": ""}, "a password hash of an unknown form"),
    ],
)
def test_a_hash_that_no_login_could_use_is_refused(node: Node, given: dict[str, Any], text: str) -> None:
    with pytest.raises(AdministrationError, match=rf"users\[0\]: {text}"):
        load(node, {"users": [{"name": "ann", **given}]})


def test_guest_of_elsewhere_still_comes_from_this_machine_only(node: Node) -> None:
    users = [{"name": name, "password_hash": HASH.rpartition("$")[2]} for name in ("guest", "ann")]
    load(node, {"users": users})
    directory = node.administration.directory
    assert {user.name: user.loopback_only for user in directory.users if user.name in ("guest", "ann")} == {
        "guest": True,
        "ann": False,
    }
    node.do(node.administration.change_user("guest", lambda user: replace(user, loopback_only=False)))
    assert load(node, {"users": users}) == []
