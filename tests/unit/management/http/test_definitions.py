"""Definitions over HTTP: what is exported can be imported, and large ones are read in turns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.management.http import definitions as subject
from broker.management.http.call import BadRequest
from broker.management.http.definitions import parsed_in_turns
from broker.turn_budget import TURN
from tests.support.http_api import HttpNode
from tests.support.stage import drive


def filled() -> HttpNode:
    node = HttpNode()
    node.status("PUT", "/vhosts/v1", {"description": "d", "tags": "a,b"})
    node.status("PUT", "/permissions/v1/guest", {"configure": ".*", "write": ".*", "read": ".*"})
    node.status("PUT", "/queues/v1/q", {"durable": True, "arguments": {"x-max-length": 3}})
    node.status("PUT", "/exchanges/v1/x", {"durable": True, "type": "topic"})
    node.status("POST", "/bindings/v1/e/x/q/q", {"routing_key": "a.#", "arguments": {"n": 1}})
    node.status("PUT", "/policies/v1/p", {"pattern": "^q", "definition": {"max-length": 5}})
    node.status("PUT", "/vhost-limits/v1/max-queues", {"value": 7})
    return node


def test_what_one_node_exports_another_imports_and_exports_alike() -> None:
    exported = filled().get("/definitions")
    assert exported["rabbit_version"] == "3.13.7"
    other = HttpNode()
    assert other.status("POST", "/definitions", exported) == 204
    assert other.get("/definitions") == exported


def test_definitions_of_a_virtual_host_say_nothing_of_it_and_fit_into_others() -> None:
    node = filled()
    exported = node.get("/definitions/v1")
    assert set(exported) >= {"queues", "exchanges", "bindings", "policies", "parameters"}
    assert "users" not in exported
    assert "vhost" not in exported["queues"][0]
    assert node.status("PUT", "/vhosts/v2", {}) == 201
    assert node.status("POST", "/definitions/v2", exported) == 204
    assert node.get("/definitions/v2") == {**exported, "original_vhost_name": "v2"}


def test_a_dry_run_says_what_would_be_made_and_makes_nothing() -> None:
    node = HttpNode()
    told = node.ask("POST", "/api/definitions?dry_run=true", filled().get("/definitions"))
    assert told.status == 200
    assert "virtual host 'v1'" in json.loads(told.body)["changes"]
    assert node.status("GET", "/vhosts/v1") == 404


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/definitions", b"nope", (400, "bad_request", "failed_to_parse_json")),
        ("/definitions", b"[]", (400, "bad_request", "failed_to_parse_json")),
        ("/definitions/nov", b"{}", (404, "not_found", "vhost_not_found")),
        (
            "/definitions/%2F",
            {"users": [{"name": "x"}]},
            (400, "bad_request", "'users' are not of one virtual host: import them at /api/definitions"),
        ),
        (
            "/definitions",
            {"queues": [{"name": "d1"}]},
            (400, "bad_request", "queues[0]: KeyError('vhost') is missing or wrong"),
        ),
        ("/definitions", {"queues": [5]}, (400, "bad_request", "'queues' is no list of objects")),
    ],
)
def test_what_cannot_be_imported_is_refused(path: str, body: Any, expected: tuple[int, str, str]) -> None:
    node = HttpNode()
    assert node.refusal("POST", path, body) == expected
    assert node.get("/queues") == []


def test_nobody_but_an_administrator_sees_the_hashes_of_passwords() -> None:
    node = HttpNode()
    for user in ("watcher", "maker", "user"):
        assert node.status("GET", "/definitions", user=user) == 401


def test_many_definitions_take_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_SMALL", 100)
    node = HttpNode(max_queues=1000)
    queues = [{"name": f"q{number}", "vhost": "/", "durable": False} for number in range(300)]
    node.harness.turns.taken.clear()
    assert node.status("POST", "/definitions", {"queues": queues}) == 204
    assert len(node.harness.turns.taken) > 3
    node.harness.turns.taken.clear()
    assert len(node.get("/definitions")["queues"]) == 300
    assert node.harness.turns.taken
    assert max(node.harness.turns.taken) < 2 * TURN


async def no_pause() -> None:
    """Nobody else is there."""


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [], "b": [1, {"c": "]}"}, [2]], "d": {"e": []}, "f": null}',
        " { } ",
        '{"a":[{"b":1},{"c":2}]}\n',
        "[1]",
        '{"a": 1} x',
        '{"a": 1,}',
        '{"a": [1,]}',
        '{"a": [1 2]}',
        '{"a" 1}',
        "{1: 2}",
        '{"a": NaN}',
        '{"a": [',
        '{"a',
        "",
        '{"a": ' + "[" * 5000,
    ],
)
def test_reading_piece_by_piece_finds_what_reading_at_once_finds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_SMALL", -1)
    try:
        expected = json.loads(text, parse_constant=lambda constant: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        expected = None
    if isinstance(expected, dict):
        assert drive(parsed_in_turns(text.encode(), no_pause)) == expected
    else:
        with pytest.raises(BadRequest, match="failed_to_parse_json"):
            drive(parsed_in_turns(text.encode(), no_pause))
