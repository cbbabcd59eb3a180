"""Definitions with everything in them: from RabbitMQ here, from here to RabbitMQ, and the same again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.auth.password_hash import new_argon2id
from broker.ports.records import UserRecord
from broker.topology.definitions import exported
from broker.topology.definitions_import import Import
from tests.differential import live
from tests.differential.definitions.everything import PLUGINS, fill
from tests.differential.definitions.recorded import SECTIONS, Definitions, comparable, export, load, without_secrets
from tests.unit.topology.test_administration import Node


@pytest.fixture
def node() -> Iterator[Node]:
    """A node that has nothing but a virtual host and guest."""
    with capture_logs():
        node = Node()
        node.do(node.administration.delete_vhost("carbon"))
        yield node


def take(node: Node, definitions: Definitions, *, is_dry: bool = False) -> Import:
    """Let a node import definitions."""
    done = Import(node.administration, json.loads(json.dumps(definitions)))
    node.do(done.run(is_dry=is_dry))
    return done


def told(node: Node) -> Definitions:
    """Return what a node exports, as it comes out of a file."""
    found: Definitions = json.loads(json.dumps(exported(node.administration, "1.0")))
    return found


def test_the_recorded_definitions_have_something_of_everything() -> None:
    recorded = load()
    assert [section for section in SECTIONS if not recorded[section]] == []
    assert {queue["type"] for queue in recorded["queues"]} == {"classic", "quorum"}
    assert {binding["destination_type"] for binding in recorded["bindings"]} == {"queue", "exchange"}
    assert {user["hashing_algorithm"].rpartition("_")[2] for user in recorded["users"]} == {"sha256", "sha512", "md5"}
    assert {each["component"] for each in recorded["parameters"]} == {"operator_policy", "vhost-limits"}
    assert len({exchange["type"] for exchange in recorded["exchanges"]}) == 8


def test_what_rabbitmq_has_exported_is_exported_again_as_it_was(node: Node) -> None:
    done = take(node, load())
    assert comparable(told(node)) == comparable(load())
    assert all(line.startswith("queue 'amq.gen-") and "its name is the broker's" in line for line in done.left_out)
    assert len(done.left_out) == 2


def test_a_dry_run_says_what_an_import_does(node: Node) -> None:
    before = told(node)
    rehearsed = take(node, load(), is_dry=True)
    assert told(node) == before
    done = take(node, load())
    assert (rehearsed.lines, rehearsed.left_out, rehearsed.problems) == (done.lines, done.left_out, [])


def test_a_dry_run_says_nothing_when_nothing_would_change(node: Node) -> None:
    take(node, load())
    assert take(node, load(), is_dry=True).lines == []
    again = take(node, told(node), is_dry=True)
    assert (again.lines, again.left_out, again.problems) == ([], [], [])


def _first(definitions: Any, section: str, **wanted: Any) -> Any:
    return next(each for each in definitions[section] if all(each[name] == value for name, value in wanted.items()))


CHANGES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda given: given["vhosts"].append({"name": "n"}), "virtual host 'n'"),
    (lambda given: _first(given, "vhosts", name="grün")["metadata"].update(tags=["x"]), "virtual host 'grün'"),
    (lambda given: _first(given, "users", name="md5").update(tags=[]), "user 'md5'"),
    (lambda given: _first(given, "users", name="sha512").update(limits={}), "user 'sha512'"),
    (
        lambda given: _first(given, "permissions", user="md5").update(read="^a"),
        "permissions of 'md5' in virtual host 'quorum'",
    ),
    (
        lambda given: _first(given, "topic_permissions", user="sha256").update(write="^a"),
        "topic permissions of 'sha256' at 'amq.topic' in virtual host '/'",
    ),
    (
        lambda given: _first(given, "parameters", vhost="limited").update(value={"max-queues": 3}),
        "limits of virtual host 'limited'",
    ),
    (
        lambda given: _first(given, "parameters", component="operator_policy")["value"].update(priority=9),
        "operator policy 'most' in virtual host '/'",
    ),
    (lambda given: _first(given, "global_parameters", name="ours").update(value=1), "global parameter 'ours'"),
    (
        lambda given: _first(given, "policies", name="lengths").update(priority=9),
        "policy 'lengths' in virtual host '/'",
    ),
    (
        lambda given: given["exchanges"].append({**_first(given, "exchanges", name="ae", vhost="/"), "name": "n"}),
        "exchange 'n' in virtual host '/'",
    ),
    (
        lambda given: given["queues"].append({**_first(given, "queues", name="quorum", vhost="/"), "name": "n"}),
        "queue 'n' in virtual host '/'",
    ),
    (
        lambda given: given["bindings"].append(
            {**_first(given, "bindings", source="hash", vhost="/"), "routing_key": "8"}
        ),
        "binding of queue 'plain' to 'hash' by '8' in virtual host '/'",
    ),
]


@pytest.fixture(scope="module")
def filled() -> Node:
    """A node with the recorded definitions, in which nothing is changed."""
    with capture_logs():
        filled = Node()
        take(filled, load())
    return filled


@pytest.mark.parametrize(("change", "line"), CHANGES, ids=[line for _, line in CHANGES])
def test_a_dry_run_says_the_one_thing_that_would_change(filled: Node, change: Callable[[Any], Any], line: str) -> None:
    wanted = copy.deepcopy(load())
    change(wanted)
    rehearsed = take(filled, wanted, is_dry=True)
    assert (rehearsed.lines, rehearsed.problems) == ([line], [])


PROBLEMS: list[tuple[Callable[[Any], Any], str]] = [
    (
        lambda given: _first(given, "queues", name="times", vhost="/")["arguments"].update({"x-expires": 1}),
        "inequivalent arg 'x-expires' for queue 'times' in vhost '/': received '1' but current is '3600000'",
    ),
    (
        lambda given: _first(given, "exchanges", name="ae", vhost="/").update(type="direct"),
        "inequivalent arg 'type' for exchange 'ae' in vhost '/': received 'direct' but current is 'fanout'",
    ),
    (lambda given: _first(given, "permissions", user="md5").update(user="nobody"), "there is no user 'nobody'"),
    (lambda given: _first(given, "permissions", user="md5").update(read="("), "the expression '(' is not served"),
    (lambda given: _first(given, "permissions", user="md5").update(vhost="none"), "there is no virtual host 'none'"),
    (
        lambda given: given["queues"].append({"name": "n", "vhost": "/", "arguments": {"x-max-length": -1}}),
        "invalid arg 'x-max-length' for queue 'n' in vhost '/'",
    ),
    (
        lambda given: given["queues"].append({"name": "n", "vhost": "/", "type": "none", "arguments": {}}),
        "unsupported queue type 'none'",
    ),
    (
        lambda given: given["exchanges"].append({"name": "n", "vhost": "/", "type": "unknown"}),
        "unknown exchange type 'unknown'",
    ),
    (
        lambda given: _first(given, "bindings", source="hash", vhost="/").update(routing_key="no weight"),
        "The binding key must be an integer",
    ),
    (lambda given: _first(given, "policies", name="lengths").update(pattern="("), "the expression '(' is not served"),
    (lambda given: given["users"].append({"name": ""}), "the name of a user is empty"),
]


@pytest.mark.parametrize(("change", "reason"), PROBLEMS, ids=[reason for _, reason in PROBLEMS])
def test_a_dry_run_says_what_could_not_be_made(filled: Node, change: Callable[[Any], Any], reason: str) -> None:
    wanted = copy.deepcopy(load())
    change(wanted)
    rehearsed = take(filled, wanted, is_dry=True)
    assert rehearsed.lines == []
    (problem,) = rehearsed.problems
    assert reason in problem


def test_what_is_set_of_a_virtual_host_and_not_served_is_named(node: Node) -> None:
    given = {"name": "v", "tracing": False, "metadata": {"description": "d", "owner": "nobody"}}
    done = take(node, {"vhosts": [given]})
    assert (done.lines, done.problems) == (["virtual host 'v'"], [])
    assert done.left_out == ["'owner' of virtual host 'v': it is not served"]


def test_bindings_of_what_is_not_exported_are_left_out(node: Node) -> None:
    given = {"source": "amq.direct", "vhost": "/", "destination": "gone", "destination_type": "queue"}
    bindings = [given, {**given, "source": "none"}, {**given, "destination": "none", "destination_type": "exchange"}]
    for is_dry in (True, False):
        done = take(node, {"bindings": bindings}, is_dry=is_dry)
        assert (done.lines, done.problems) == ([], [])
        assert [line.rpartition(": ")[2] for line in done.left_out] == [
            "there is no queue 'gone'",
            "there is no exchange 'none'",
            "there is no exchange 'none'",
        ]


@pytest.mark.slow
def test_definitions_go_from_rabbitmq_here_and_there_again(node: Node, tmp_path: Path) -> None:
    if not live.is_installed():
        pytest.skip("RabbitMQ is not installed")
    with live.rabbitmq_node(tmp_path / "first", PLUGINS) as server:
        fill(server, tmp_path)
        first = export(server, tmp_path)
    assert without_secrets(first) == without_secrets(load()), "what is recorded is what is exported"
    take(node, first)
    node.do(node.administration.put_user(UserRecord("own", new_argon2id("secret", b"salt" * 4).text)))
    ours = tmp_path / "ours.json"
    ours.write_text(json.dumps(told(node)), encoding="utf-8")
    with live.rabbitmq_node(tmp_path / "second", PLUGINS) as server:
        server.control("import_definitions", str(ours))
        second = export(server, tmp_path)
    (own,) = [user for user in second["users"] if user["name"] == "own"]
    assert own["password_hash"] == "", "RabbitMQ has no such hashes: the user has to get another password there"
    second = {**second, "users": [user for user in second["users"] if user != own]}
    assert comparable(second) == comparable(first)
