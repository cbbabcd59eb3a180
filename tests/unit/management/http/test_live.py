"""Streams: one computation for all who watch, and only what has changed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from broker.codec.methods import QueueDeclare, QueueDelete
from broker.management.http.live import MAX_VIEWERS, MAX_VIEWS, LiveViews, QueueTable, new_view
from tests.support.http_api import HttpNode


class Viewer:
    """One who watches a view."""

    def __init__(self, node: HttpNode, view: str, seen: int | None = None) -> None:
        self.node = node
        self.may_watch = True
        self.stream: AsyncGenerator[bytes, None] = node.live.watch(
            node.node, view, lambda: new_view(view), lambda: self.may_watch, seen
        )
        assert self.next() == b"retry: 2000\n\n"

    def next(self) -> bytes:
        async def following() -> bytes:
            return await anext(self.stream, b"the end")

        return self.node.run(following())

    def event(self) -> tuple[int, str, Any]:
        """Return id, kind and value of the next event."""
        lines = dict(line.split(": ", 1) for line in self.next().decode().strip().split("\n"))
        return int(lines["id"]), lines["event"], json.loads(lines["data"])

    def close(self) -> None:
        self.node.run(self.stream.aclose())


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


def declare(node: HttpNode, *names: str) -> None:
    client = node.harness.peer()
    for name in names:
        client.send(1, QueueDeclare(queue=name))


def test_a_stream_begins_with_everything_and_goes_on_with_what_has_changed(node: HttpNode) -> None:
    declare(node, "a", "b")
    viewer = Viewer(node, "queues")
    tick, kind, value = viewer.event()
    first = tick
    assert kind == "snapshot"
    assert [row[1] for row in value["rows"]] == ["a", "b"]
    node.harness.clock.advance(1.0)
    node.harness.peer().publish("b", b"x")
    tick, kind, value = viewer.event()
    assert (tick, kind) == (first + 1, "delta")
    assert value["rows"] == [["/", "b", 1, 0, 0, 1, 0]]
    node.harness.clock.advance(1.0)
    node.harness.peer().send(1, QueueDelete(queue="a"))
    assert viewer.event()[2]["gone"] == [["/", "a"]]


def test_many_viewers_cost_one_computation(node: HttpNode, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    step = QueueTable.step

    async def counted(self: QueueTable, given: Any) -> tuple[bytes, bytes]:
        steps.append(1)
        return await step(self, given)

    monkeypatch.setattr(QueueTable, "step", counted)
    viewers = [Viewer(node, "queues") for _ in range(50)]
    for viewer in viewers:
        assert viewer.event()[1] == "snapshot"
    assert len(steps) == 1
    assert node.live.viewers == 50
    node.harness.clock.advance(1.0)
    events = {viewer.next() for viewer in viewers}
    assert (len(steps), len(events)) == (2, 1)
    for viewer in viewers:
        viewer.close()
    assert node.live.viewers == 0


def test_who_comes_back_goes_on_where_it_was_and_who_was_away_for_long_gets_everything(node: HttpNode) -> None:
    first = Viewer(node, "queues")
    tick, _, _ = first.event()
    again = Viewer(node, "queues", tick)
    node.harness.clock.advance(1.0)
    declare(node, "q")
    assert again.event()[:2] == (tick + 1, "delta")
    for seen in (-100, tick + 1000):
        assert Viewer(node, "queues", seen).event()[1] == "snapshot"


@pytest.mark.parametrize("view", ["overview", "nodes"])
def test_other_views_are_told_as_a_whole(node: HttpNode, view: str) -> None:
    viewer = Viewer(node, view)
    _, _, value = viewer.event()
    node.harness.clock.advance(1.0)
    assert viewer.event()[2].keys() == value.keys()
    assert ("object_totals" in value) is (view == "overview")
    assert ("message_store" in value) is (view == "nodes")


def test_a_stream_ends_when_the_user_may_not_see_it_any_more(node: HttpNode) -> None:
    viewer = Viewer(node, "overview")
    viewer.event()
    viewer.may_watch = False
    assert viewer.next() == b"the end"
    assert node.live.viewers == 0


def test_a_request_for_a_stream_is_answered_with_one(node: HttpNode) -> None:
    answer = node.ask("GET", "/api/broker/stream?view=nodes", user="watcher", headers={"last-event-id": "7"})
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert answer.stream is not None
    node.run(answer.stream.aclose())
    assert node.status("GET", "/broker/stream?view=nope") == 400
    assert node.status("GET", "/broker/stream", user="user") == 401


def test_a_user_whose_tag_is_taken_away_sees_no_more(node: HttpNode) -> None:
    answer = node.ask("GET", "/api/broker/stream", user="watcher")
    stream = answer.stream
    assert stream is not None

    async def following() -> bytes:
        return await anext(stream, b"the end")

    node.run(following())
    assert b"event: snapshot" in node.run(following())
    node.status("PUT", "/users/watcher", {"password": "watcher", "tags": "management"})
    assert node.run(following()) == b"the end"


def test_a_view_that_nobody_watches_is_forgotten() -> None:
    node = HttpNode()
    viewer = Viewer(node, "queues")
    viewer.event()
    viewer.close()
    assert LiveViews().viewers == node.live.viewers == 0


def test_nobody_goes_on_in_a_view_that_was_begun_anew(node: HttpNode) -> None:
    """Its events are other changes than those that the viewer has not seen."""
    viewer = Viewer(node, "queues")
    tick, _, _ = viewer.event()
    viewer.close()
    node.harness.clock.advance(1.0)
    other = Viewer(node, "queues")
    other.event()
    again = Viewer(node, "queues", tick)
    assert again.event()[1] == "snapshot"


class Slow:
    """A view that takes its time, and in which nothing changes."""

    def __init__(self, node: HttpNode, seconds: float) -> None:
        self.node = node
        self.seconds = seconds
        self.steps = 0

    async def step(self, node: Any) -> tuple[bytes, bytes]:
        self.steps += 1
        self.node.harness.clock.advance(self.seconds)
        return (b"{}", b"{}") if self.steps == 1 else (b"", b"")


def test_what_takes_long_is_computed_less_often_and_nothing_is_sent_when_nothing_changes(node: HttpNode) -> None:
    slow = Slow(node, 0.1)

    async def pause(seconds: float) -> None:
        node.harness.clock.advance(seconds)

    watched = replace(node.node, shared=replace(node.harness.shared, pause=pause))
    stream = node.live.watch(watched, "slow", lambda: slow, lambda: True)

    async def following() -> bytes:
        return await anext(stream)

    assert node.run(following()).startswith(b"retry")
    assert b"snapshot" in node.run(following())
    assert slow.steps == 1
    assert node.run(following()) == b": nothing new\n\n", "so that a peer that is gone is noticed"
    assert slow.steps <= 5, "a fortieth of fifteen seconds"


def test_there_is_room_for_so_many_viewers_and_views(node: HttpNode) -> None:
    viewers = [Viewer(node, "queues")]
    assert node.status("GET", "/broker/stream?view=queues") == 200
    node.live._watched["queues"].viewers = MAX_VIEWERS
    assert node.status("GET", "/broker/stream?view=queues") == 503
    node.live._watched["queues"].viewers = 1
    for number in range(MAX_VIEWS - 1):
        node.live._watched[number] = node.live._watched["queues"]
    assert node.status("GET", "/broker/stream?view=overview") == 503
    assert len(viewers) == 1
