"""The pages that the listener of metrics serves."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.codec.methods import QueueDeclare
from broker.management.figures import totals
from broker.management.figures.view import NodeView
from broker.management.http.call import HttpAnswer
from broker.management.metrics.exposition import CONTENT_TYPE
from broker.management.metrics.pages import MetricsPages
from tests.support.clock import FakeClock
from tests.support.harness import Client, Harness
from tests.support.http_api import new_call
from tests.support.stage import drive


@dataclass
class Turns:
    """Turns of the loop: how many there were, and how many seconds each takes."""

    count: int = 0
    seconds: float = 0.01


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pages(view: NodeView, turns: Turns, clock: FakeClock) -> MetricsPages:
    async def next_turn() -> None:
        view.broker.work.begin_turn()
        turns.count += 1
        clock.advance(turns.seconds)

    return MetricsPages(view, lambda: ("broker_store_healthy 1\n",), next_turn, clock.monotonic)


async def body(answer: HttpAnswer) -> bytes:
    return answer.body if answer.stream is None else b"".join([piece async for piece in answer.stream])


def get(pages: MetricsPages, path: str, method: str = "GET") -> tuple[int, str]:
    """Return the status and the body of an answer."""
    answer = drive(pages.handle(new_call(method, path)))
    return answer.status, drive(body(answer)).decode()


def test_the_pages_are_those_of_rabbitmq(pages: MetricsPages, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="a"))
    assert get(pages, "/metrics")[0] == 200
    assert "broker_store_healthy 1" in get(pages, "/metrics")[1]
    assert 'queue="a"' not in get(pages, "/metrics")[1]
    assert 'rabbitmq_queue_messages{vhost="/",queue="a"} 0' in get(pages, "/metrics/per-object")[1]
    details = get(pages, "/metrics/detailed?family=queue_coarse_metrics&vhost=%2F")[1]
    assert 'rabbitmq_detailed_queue_messages{vhost="/",queue="a"} 0' in details
    assert get(pages, "/metrics/detailed")[1].count("# TYPE") == 1


def test_the_answer_says_which_format_it_has(pages: MetricsPages) -> None:
    answer = drive(pages.handle(new_call("HEAD", "/metrics")))
    assert (answer.content_type, answer.stream, answer.body) == (CONTENT_TYPE, None, b"")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/api/queues", 404), ("POST", "/metrics", 405)]
)
def test_everything_else_is_refused(pages: MetricsPages, method: str, path: str, status: int) -> None:
    assert get(pages, path, method)[0] == status


def test_a_long_answer_takes_several_turns(harness: Harness, peer: Client, pages: MetricsPages, turns: Turns) -> None:
    get(pages, "/metrics/per-object")
    assert turns.count > 0


def test_only_some_scrapes_are_answered_at_once(pages: MetricsPages) -> None:
    begun = [drive(pages.handle(new_call("GET", "/metrics"))) for _ in range(4)]
    streams = [answer.stream for answer in begun if answer.stream is not None]
    for stream in streams:
        drive(first_of(stream))
    assert get(pages, "/metrics")[0] == 503
    for stream in streams:
        drive(end_of(stream))
    assert get(pages, "/metrics")[0] == 200


@pytest.mark.parametrize(
    ("turn", "kept"),
    [pytest.param(0.001, None, id="forty times as long as they took"), pytest.param(1.0, 10.0, id="ten seconds")],
)
def test_sums_of_a_large_node_are_told_again_for_a_while(
    peer: Client,
    pages: MetricsPages,
    turns: Turns,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    turn: float,
    kept: float | None,
) -> None:
    monkeypatch.setattr(totals, "is_large", lambda view: True)
    turns.seconds = turn
    assert "rabbitmq_queues 0\n" in get(pages, "/metrics")[1]
    kept = kept or 40 * turns.count * turn
    peer.send(1, QueueDeclare(queue="a"))
    clock.advance(kept - 0.001)
    assert "rabbitmq_queues 0\n" in get(pages, "/metrics")[1]
    clock.advance(0.002)
    assert "rabbitmq_queues 1\n" in get(pages, "/metrics")[1]


def test_sums_of_a_small_node_are_those_of_now(peer: Client, pages: MetricsPages, turns: Turns) -> None:
    get(pages, "/metrics")
    assert turns.count > 0
    peer.send(1, QueueDeclare(queue="a"))
    assert "rabbitmq_queues 1\n" in get(pages, "/metrics")[1]


async def first_of(stream: object) -> None:
    await anext(stream)  # type: ignore[call-overload]


async def end_of(stream: object) -> None:
    await stream.aclose()  # type: ignore[attr-defined]
