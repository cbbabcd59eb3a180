"""Queues are altered over HTTP, and virtual hosts told what to do with declarations that differ."""

from __future__ import annotations

import pytest

from tests.support.http_api import HttpNode


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


def test_arguments_are_changed_and_taken_away(node: HttpNode) -> None:
    given = {"durable": True, "arguments": {"x-message-ttl": 1000, "x-max-length": 5}}
    assert node.status("PUT", "/queues/%2F/q", given) == 201
    changes = {"arguments": {"x-max-length": 7, "x-message-ttl": None, "x-dead-letter-exchange": "amq.fanout"}}
    assert node.status("POST", "/broker/queues/%2F/q/alter", changes) == 200
    assert node.get("/queues/%2F/q")["arguments"] == {"x-max-length": 7, "x-dead-letter-exchange": "amq.fanout"}


def test_what_cannot_be_is_refused_with_the_reason(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    status, _, reason = node.refusal("POST", "/broker/queues/%2F/q/alter", {"arguments": {"x-max-priority": 5}})
    assert (status, reason) == (
        400,
        "cannot alter arg 'x-max-priority' of queue 'q' in vhost '/': it says how messages are kept;"
        " declare another queue",
    )
    assert node.refusal("POST", "/broker/queues/%2F/nope/alter", {"arguments": {}})[0] == 404


def test_a_virtual_host_says_what_becomes_of_other_declarations(node: HttpNode) -> None:
    assert node.status("PUT", "/vhosts/%2F", {"redeclaration": "adopt"}) == 204
    assert node.get("/vhosts/%2F")["redeclaration"] == "adopt"
    assert node.status("PUT", "/queues/%2F/q", {"arguments": {"x-max-length": 5}}) == 201
    assert node.status("PUT", "/queues/%2F/q", {"arguments": {"x-max-length": 6}}) == 204
    assert node.status("PUT", "/vhosts/%2F", {"redeclaration": "strict"}) == 204
    assert node.get("/vhosts/%2F")["redeclaration"] == "strict"
    assert node.refusal("PUT", "/vhosts/%2F", {"redeclaration": "nope"})[0] == 400
