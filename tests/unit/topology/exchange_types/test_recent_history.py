"""Contract E8; what a new binding gets: tests/unit/amqp/test_channel_exchange_types.py."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import Decimal, FieldTable, Int64
from broker.errors import PreconditionFailed
from broker.message import body_tails
from broker.topology.exchange import Exchange
from broker.topology.exchange_types.recent_history import MOST_OCTETS
from broker.turn_budget import TurnBudget
from tests.support.bindings import EXCHANGE_TYPES, OTHER, Q, binding, exchange, matched, message
from tests.support.topology_node import Company

ROUTING = b"\x01x\x03key"


def publish(subject: Exchange, body: bytes, headers: dict[str, Any] | None = None) -> None:
    sent = message(headers, body=body)
    list(subject.match("key", sent, TurnBudget()))
    for keeper in sent.keepers:
        keeper.keep(ROUTING, sent)


def bodies(subject: Exchange) -> list[bytes]:
    return [kept.body[4:-1] for kept in subject.history]


def test_every_destination_gets_a_message_whatever_its_key() -> None:
    subject = exchange("x-recent-history")
    for destination in (Q, OTHER):
        subject.bind(binding(destination, "k"))
    assert matched(subject, "other", {}) == [Q, OTHER]


def test_the_last_twenty_messages_are_kept_oldest_first() -> None:
    subject = exchange("x-recent-history")
    for number in range(25):
        publish(subject, b"%d" % number)
    assert bodies(subject) == [b"%d" % number for number in range(5, 25)]
    assert {kept.routing_key for kept in subject.history} == {"key"}


def test_the_exchange_may_keep_another_number() -> None:
    subject = exchange("x-recent-history", **{"x-recent-history-length": 2})
    for number in range(3):
        publish(subject, b"%d" % number)
    assert bodies(subject) == [b"1", b"2"]


@pytest.mark.parametrize(("value", "is_kept"), [(True, False), (False, True), (1, True), (None, True)])
def test_a_message_that_says_so_is_not_kept(value: Any, is_kept: bool) -> None:
    subject = exchange("x-recent-history")
    publish(subject, b"m", {"x-recent-history-no-store": value})
    assert bodies(subject) == [b"m"] * is_kept


def test_a_message_that_was_not_published_in_the_end_is_not_kept() -> None:
    subject = exchange("x-recent-history")
    list(subject.match("key", message(), TurnBudget()))
    assert bodies(subject) == []


def test_what_is_kept_is_bounded_by_octets() -> None:
    subject = exchange("x-recent-history")
    half = bytes(MOST_OCTETS // 2)
    for body in (b"first", half, half, b"last"):
        publish(subject, body)
    assert [len(body) for body in bodies(subject)] == [len(half), 4]
    publish(subject, half + half)
    assert [len(body) for body in bodies(subject)] == [len(half), 4]


def test_a_body_of_many_frames_is_kept() -> None:
    subject = exchange("x-recent-history")
    sent = message()
    _, sent.chunks = body_tails(b"a long body", 12)
    subject._router.keep(ROUTING, sent)  # type: ignore[attr-defined]
    assert subject.history[0].chunks == sent.chunks
    assert subject.history[0].on_its_way().chunks == sent.chunks


@pytest.mark.parametrize(
    ("length", "shown"),
    [(0, "0"), (-1, "-1"), ("20", '<<"20">>'), (None, "undefined"), (1.5, "1.5"), (True, "true"), (Decimal(20), "20")],
)
def test_a_length_that_is_no_positive_integer_is_refused(length: Any, shown: str) -> None:
    arguments = FieldTable.of({"x-recent-history-length": length})
    text = f"^Invalid argument {shown}, 'x-recent-history-length' must be a positive integer$"
    with pytest.raises(PreconditionFailed, match=text):
        Exchange("x", "x-recent-history", arguments, EXCHANGE_TYPES)


def test_a_length_that_would_cost_too_much_at_a_binding_is_refused() -> None:
    assert exchange("x-recent-history", **{"x-recent-history-length": Int64(10_000)})
    with pytest.raises(PreconditionFailed, match="'x-recent-history-length' must be 10000 or less"):
        exchange("x-recent-history", **{"x-recent-history-length": 10_001})


async def test_in_a_cluster_each_node_gives_a_new_binding_what_was_published_to_it() -> None:
    company = Company()
    nodes = [await company.node(name) for name in "ab"]
    a, b = nodes
    await a.exchange("x", type="x-recent-history")
    await a.declare("q")
    for node in nodes:
        publish(node.vhost.exchanges["x"], node.incarnation.node_id.encode())
    await b.bind("x", "q")
    assert [[(name, kept.body[4:-1]) for name, kept in node.copies] for node in nodes] == [[("q", b"a")], [("q", b"b")]]
    c = await company.node("c")
    assert c.copies == []
