"""The pages that the listener of metrics serves."""

from __future__ import annotations

import pytest

from broker.codec.methods import QueueDeclare
from broker.management.figures.view import NodeView
from broker.management.http.call import HttpAnswer
from broker.management.metrics.exposition import CONTENT_TYPE
from broker.management.metrics.pages import MetricsPages
from tests.support.harness import Client, Harness
from tests.support.http_api import new_call
from tests.support.stage import drive


@pytest.fixture
def turns() -> list[int]:
    return []


@pytest.fixture
def pages(view: NodeView, turns: list[int]) -> MetricsPages:
    async def next_turn() -> None:
        view.broker.work.begin_turn()
        turns.append(1)

    return MetricsPages(view, lambda: ("broker_store_healthy 1\n",), next_turn)


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


def test_a_long_answer_takes_several_turns(
    harness: Harness, peer: Client, pages: MetricsPages, turns: list[int]
) -> None:
    get(pages, "/metrics/per-object")
    assert turns


def test_only_some_scrapes_are_answered_at_once(pages: MetricsPages) -> None:
    begun = [drive(pages.handle(new_call("GET", "/metrics"))) for _ in range(4)]
    streams = [answer.stream for answer in begun if answer.stream is not None]
    for stream in streams:
        drive(first_of(stream))
    assert get(pages, "/metrics")[0] == 503
    for stream in streams:
        drive(end_of(stream))
    assert get(pages, "/metrics")[0] == 200


async def first_of(stream: object) -> None:
    await anext(stream)  # type: ignore[call-overload]


async def end_of(stream: object) -> None:
    await stream.aclose()  # type: ignore[attr-defined]
