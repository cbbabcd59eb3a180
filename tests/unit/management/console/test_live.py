"""What changes on a page is made once for all who see the same, and sent row by row."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from broker.codec.methods import QueueDeclare
from broker.management.console.live import PageView, difference
from broker.management.http.call import HttpAnswer
from broker.ports.records import Drop, UserKey
from tests.support.browser import Browser, new_console
from tests.support.http_api import HttpNode


@pytest.fixture
def node() -> HttpNode:
    made = HttpNode()
    peer = made.harness.peer()
    for name in ("a", "b", "c", "d", "e", "f"):
        peer.call(1, QueueDeclare(queue=name))
    return made


class Watcher:
    """A browser that is told of changes of a page."""

    def __init__(self, node: HttpNode, page: str, browser: Browser | None = None) -> None:
        self.node = node
        self.browser = browser or Browser(node)
        if browser is None:
            self.browser.log_in()
        answer: HttpAnswer = self.browser.ask("GET", f"/live?page={page}")
        assert answer.status == 200, answer.body
        assert answer.content_type == "text/event-stream"
        assert answer.stream is not None
        self.stream: AsyncGenerator[bytes, None] = answer.stream
        assert self.next().startswith(b"retry")

    def next(self) -> bytes:
        async def following() -> bytes:
            return await anext(self.stream, b"the end")

        return self.node.run(following())

    def told(self) -> dict[str, Any]:
        """Return what the next event says."""
        (line,) = [line for line in self.next().decode().split("\n") if line.startswith("data: ")]
        found: dict[str, Any] = json.loads(line.removeprefix("data: "))
        return found

    def after_a_second(self) -> dict[str, Any]:
        self.node.harness.clock.advance(1.0)
        return self.told()


def test_a_page_comes_whole_first_and_then_only_the_rows_that_are_different(node: HttpNode) -> None:
    watcher = Watcher(node, "/queues?sort=name%26sort_reverse=false".replace("%26", "%26"))
    html = watcher.told()["parts"]["queues"]["html"]
    assert html.count("<tr") == 7
    assert html.startswith("<div")
    node.harness.peer().publish("c", b"x")
    parts = watcher.after_a_second()["parts"]
    assert list(parts) == ["queues"]
    (row,) = parts["queues"]["rows"].values()
    assert row.startswith("<tr")
    assert ">c</a>" in row


def test_a_part_whose_rows_are_others_is_sent_whole(node: HttpNode) -> None:
    watcher = Watcher(node, "/queues")
    watcher.told()
    node.harness.peer().call(1, QueueDeclare(queue="g"))
    assert "html" in watcher.after_a_second()["parts"]["queues"]


def test_who_sees_the_same_shares_one_computation(node: HttpNode, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    step = PageView.step

    async def counted(self: PageView, given: Any) -> tuple[bytes, bytes]:
        steps.append(1)
        return await step(self, given)

    monkeypatch.setattr(PageView, "step", counted)
    console = new_console(node)
    watchers = []
    for _ in range(10):
        browser = Browser(node, console)
        browser.log_in()
        watchers.append(Watcher(node, "/queues", browser))
    assert len({watcher.next() for watcher in watchers}) == 1
    assert len(steps) == 1
    assert node.live.viewers == 10


def test_who_sees_less_shares_with_nobody(node: HttpNode) -> None:
    console = new_console(node)
    user = Browser(node, console)
    user.log_in("user")
    administrator = Browser(node, console)
    administrator.log_in()
    theirs = Watcher(node, "/vhosts", user).told()["parts"]["vhosts"]["html"]
    everything = Watcher(node, "/vhosts", administrator).told()["parts"]["vhosts"]["html"]
    assert "carbon" in everything
    assert "carbon" not in theirs


def test_no_mark_of_a_session_is_sent_to_others(node: HttpNode) -> None:
    watcher = Watcher(node, "/vhosts")
    session = watcher.browser.console.sessions.find(watcher.browser.cookies["cordillera-console"])
    assert session is not None
    html = watcher.told()["parts"]["vhosts"]["html"]
    assert 'name="mark" value=""' in html
    assert session.mark not in html


def test_a_stream_ends_with_its_session(node: HttpNode) -> None:
    watcher = Watcher(node, "/queues")
    watcher.told()
    node.harness.live.apply(Drop(UserKey("guest")))
    node.harness.pass_time(11)
    assert watcher.next() == b"the end"


def test_a_page_that_is_refused_says_so_and_comes_back_whole(node: HttpNode) -> None:
    watcher = Watcher(node, "/queues/%252F/a")
    assert "numbers" in watcher.told()["parts"]
    node.status("DELETE", "/queues/%2F/a")
    assert watcher.after_a_second() == {"status": 404}
    node.status("PUT", "/queues/%2F/a", {})
    assert set(watcher.after_a_second()["parts"]) == {"numbers", "charts", "consumers"}


@pytest.mark.parametrize(
    "page", ["/nosuch", "/users", "/queues/%252F/a/messages", "/queues?" + "a" * 3000, "https://evil.example/"]
)
def test_only_pages_on_which_something_changes_are_streamed(node: HttpNode, page: str) -> None:
    browser = Browser(node)
    browser.log_in()
    assert browser.ask("GET", f"/live?page={page}").status == 404


def test_nobody_watches_without_a_session(node: HttpNode) -> None:
    assert Browser(node).ask("GET", "/live?page=/queues").status == 401


def test_differences_are_rows_as_long_as_these_are_few() -> None:
    was = ["<table>", "<tr>1</tr>", "<tr>2</tr>", "<tr>3</tr>", "<tr>4</tr></table>"]
    assert difference(was, [*was[:2], "<tr>x</tr>", *was[3:]]) == {"rows": {"2": "<tr>x</tr>"}}
    assert difference(was, [*was[:4], "<tr>y</tr></table>"]) == {"rows": {"4": "<tr>y</tr></table>"}}
    for now in (
        ["<table>", "<tr>a</tr>", "<tr>b</tr>", "<tr>c</tr>", "<tr>4</tr></table>"],
        ["<table x>", *was[1:]],
        was[:3],
        [*was[:4], "<tr>4</tr></table><p>next</p>"],
    ):
        assert difference(was, now) == {"html": "".join(now)}
