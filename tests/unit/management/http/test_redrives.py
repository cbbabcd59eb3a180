"""Redrives over HTTP: begun, watched and taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_api import HttpNode


@pytest.fixture
def node() -> HttpNode:
    node = HttpNode()
    for name in ("dead", "work"):
        assert node.status("PUT", f"/queues/%2F/{name}", {"durable": True}) == 201
    client = node.harness.peer()
    client.publish("dead", b"1", b"2")
    return node


def sent(node: HttpNode, path: str, **given: Any) -> Any:
    answer = node.ask("POST", f"/api{path}", given)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def counts(node: HttpNode) -> list[int]:
    node.harness.commit()
    return [node.harness.vhost.queues[name].ready_count for name in ("dead", "work")]


def test_messages_move_are_watched_and_come_back(node: HttpNode) -> None:
    assert sent(node, "/broker/queues/%2F/dead/redrive", target="work", dry_run=True) == {"would_move": 2}
    started = sent(node, "/broker/queues/%2F/dead/redrive", target="work")
    path = f"/broker/redrives/%2F/{started['id']}"
    assert counts(node) == [0, 2]
    assert (node.get(path)["state"], node.get(path)["moved"]) == ("done", 2)
    sent(node, f"{path}/undo")
    assert counts(node) == [2, 0]
    assert node.get(path)["restored"] == 2


def test_a_dry_run_says_what_would_stay_and_what_would_be_refused(node: HttpNode) -> None:
    path = "/broker/queues/%2F/dead/redrive"
    told = sent(node, path, dry_run=True)
    assert (told["would_move"], told["would_stay"], len(told["reasons"])) == (0, 2, 2)
    assert told["reasons"][0]["reason"] == "it does not say in which queue it died"
    for given in ({"target": "nope"}, {"target": "dead"}, {"where": "a >"}, {"limit": 0}):
        refusal = node.refusal("POST", path, given | {"dry_run": True})
        assert refusal[0] == 400
        assert refusal == node.refusal("POST", path, given)
    assert node.refusal("POST", path, {"target": "dead"})[2] == (
        "the messages are in queue 'dead' already: say another 'target'"
    )


def test_what_makes_no_sense_is_refused(node: HttpNode) -> None:
    path = "/broker/queues/%2F/dead/redrive"
    assert node.refusal("POST", path, {"target": "nope"})[2] == "no queue 'nope' in vhost '/'"
    assert node.refusal("POST", path, {"where": "a >"})[0] == 400
    assert node.refusal("POST", path, {"rate": -1})[2] == "the argument 'rate' is a number of messages per second"
    assert node.refusal("POST", path, {"limit": 0})[0] == 400
    assert node.refusal("GET", "/broker/redrives/%2F/77")[0] == 404
    assert node.refusal("POST", "/broker/queues/%2F/none/redrive", {})[0] == 404
