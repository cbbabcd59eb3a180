"""Consumers that select messages by their headers, through a channel (docs/selectors.md)."""

from __future__ import annotations

from random import Random

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicConsume,
    BasicDeliver,
    BasicGet,
    BasicGetOk,
    BasicNack,
    BasicQos,
    ChannelClose,
    ChannelOpen,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.codec.properties import BasicProperties
from broker.queue.ready_messages import ReadyMessages
from broker.queue.settings import QueueLimits
from broker.selector.message_view import MessageView
from broker.selector.selector import Selector
from tests.support.harness import Client, Harness

SMALL = QueueLimits(memory=6000, transient_memory=6000, window_size=6, read_ahead=5, read_ahead_bytes=4000)


@pytest.fixture
def peer(harness: Harness) -> Client:
    return declared(harness)


def declared(harness: Harness, **arguments: object) -> Client:
    peer = harness.peer(capabilities=(), vhost="carbon")
    peer.call(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of(arguments)))
    return peer


def publish(peer: Client, *colours: str, **properties: object) -> None:
    for colour in colours:
        kind = BasicProperties(headers=FieldTable.of({"colour": colour}), delivery_mode=2, **properties)
        peer.publish("q", colour.encode(), properties=kind)


def consume(peer: Client, selector: str = "", tag: str = "", channel: int = 1, *, no_ack: bool = False) -> None:
    arguments = FieldTable.of({"x-filter-jms-selector": selector})
    peer.send(channel, BasicConsume(queue="q", consumer_tag=tag, no_ack=no_ack, arguments=arguments))


def got(peer: Client) -> list[tuple[str, bytes]]:
    """Return consumer tags and bodies of what was delivered since the last call."""
    tags = [method.consumer_tag for _, method in peer.received() if isinstance(method, BasicDeliver)]
    return list(zip(tags, peer.bodies(), strict=True))


def test_a_consumer_gets_what_it_selects_and_the_rest_stays(harness: Harness, peer: Client) -> None:
    publish(peer, "red", "blue", "red", "green")
    consume(peer, "colour = 'red'", "red")
    assert got(peer) == [("red", b"red"), ("red", b"red")]
    publish(peer, "blue", "red")
    assert got(peer) == [("red", b"red")]
    assert harness.broker.vhosts["carbon"].queues["q"].ready_count == 3
    consume(peer, "colour IN ('blue', 'green')", "others")
    assert [body for _, body in got(peer)] == [b"blue", b"green", b"blue"]
    answer = peer.call(1, QueueDeclare(queue="q", passive=True))
    assert answer == QueueDeclareOk("q", 0, 2)


def test_a_consumer_without_a_selector_gets_what_others_leave(peer: Client) -> None:
    consume(peer, "colour = 'red'", "red")
    consume(peer, "", "all")
    publish(peer, "red", "blue", "red", "blue")
    assert sorted(got(peer)) == [("all", b"blue"), ("all", b"blue"), ("red", b"red"), ("red", b"red")]


def test_consumers_of_one_selector_take_turns_and_the_prefetch_holds(peer: Client) -> None:
    peer.call(1, BasicQos(0, 1))
    for tag in ("1", "2"):
        consume(peer, "colour = 'red'", tag)
    publish(peer, "red", "red", "red")
    assert [tag for tag, _ in got(peer)] == ["1", "2"]
    peer.send(1, BasicAck(1))
    assert [tag for tag, _ in got(peer)] == ["1"]


def test_a_message_that_two_select_goes_to_one_of_them(harness: Harness, peer: Client) -> None:
    consume(peer, "colour LIKE 'r%'", "r")
    consume(peer, "colour LIKE '%d'", "d")
    publish(peer, *["red"] * 5)
    assert len(got(peer)) == 5
    assert harness.broker.vhosts["carbon"].queues["q"].unacked_count == 5


@pytest.mark.parametrize("requeue", [True, False])
def test_what_is_given_back_comes_again_to_who_selects_it(peer: Client, requeue: bool) -> None:
    publish(peer, "blue", "red", "blue", "red")
    consume(peer, "colour = 'red'", "red")
    assert len(got(peer)) == 2
    peer.send(1, BasicNack(2, True, requeue))
    assert len(got(peer)) == 2 * requeue
    assert [peer.call(1, BasicGet(queue="q", no_ack=True)) for _ in range(2)] == [
        BasicGetOk(5 if requeue else 3, False, "amq.direct", "q", 1),
        BasicGetOk(6 if requeue else 4, False, "amq.direct", "q", 0),
    ]


def test_what_nobody_selects_goes_to_basic_get_in_order(peer: Client) -> None:
    consume(peer, "colour = 'red'", "red", no_ack=True)
    publish(peer, "1", "red", "2", "red", "3")
    assert len(got(peer)) == 2
    bodies = []
    while isinstance(peer.call(1, BasicGet(queue="q", no_ack=True)), BasicGetOk):
        bodies += peer.bodies()
    assert bodies == [b"1", b"2", b"3"]


def test_what_comes_back_may_be_selected_otherwise(peer: Client) -> None:
    publish(peer, "red")
    consume(peer, "JMSRedelivered = FALSE", "first")
    assert got(peer) == [("first", b"red")]
    peer.send(1, BasicNack(1, False, True))
    assert got(peer) == []
    consume(peer, "JMSRedelivered = TRUE", "again")
    assert got(peer) == [("again", b"red")]


def test_what_somebody_else_has_given_back_may_be_selected_otherwise(peer: Client) -> None:
    consume(peer, "JMSRedelivered = TRUE", "again")
    publish(peer, "red")
    assert got(peer) == []
    answer = peer.call(1, BasicGet(queue="q"))
    assert isinstance(answer, BasicGetOk)
    peer.bodies()
    peer.send(1, BasicNack(answer.delivery_tag, False, True))
    assert got(peer) == [("again", b"red")]


def test_a_message_expires_for_all(harness: Harness, peer: Client) -> None:
    consume(peer, "colour = 'red'", "red")
    peer.send(1, BasicCancel(consumer_tag="red"))
    publish(peer, "red", expiration="1000")
    publish(peer, "red")
    harness.pass_time(2)
    consume(peer, "colour = 'red'", "red")
    assert len(got(peer)) == 1


def test_many_messages_are_looked_at_in_several_turns(harness: Harness, peer: Client) -> None:
    for _ in range(30):
        publish(peer, *["blue"] * 100)
    publish(peer, "red")
    consume(peer, "colour = 'red'", "red")
    for _ in range(5):
        harness.pass_time(0.001)
    assert got(peer) == [("red", b"red")]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Selector]:
    """The selectors that were asked, once for each message."""
    asked: list[Selector] = []
    matches = Selector.matches

    def counted(selector: Selector, view: MessageView) -> bool:
        asked.append(selector)
        return matches(selector, view)

    monkeypatch.setattr(Selector, "matches", counted)
    return asked


COSTLY = "colour LIKE '%a_b%a_b%a_b%a_b%' OR colour LIKE '%{}'"


def test_a_costly_selector_is_asked_about_few_messages_in_a_turn(
    harness: Harness, peer: Client, looks: list[Selector]
) -> None:
    publish(peer, *["a" * 9000] * 5)
    consume(peer, COSTLY.format("a"), "costly")
    for number in range(1, 6):
        assert len(looks) == number
        harness.broker.vhosts["carbon"].queues["q"].dispatch()
    harness.pass_time(0.011)
    assert len(got(peer)) == 5


def test_costly_selectors_are_asked_about_one_message_in_several_turns(
    harness: Harness, peer: Client, looks: list[Selector]
) -> None:
    for end in "bcdea":
        consume(peer, COSTLY.format(end), end)
    publish(peer, "a" * 9000)
    for number in range(1, 6):
        assert len(looks) == number
        publish(peer, "a")
    harness.pass_time(0.011)
    assert got(peer) == [("a", b"a" * 9000), *[("a", b"a")] * 5]


def test_who_leaves_or_comes_meanwhile_is_considered(harness: Harness, peer: Client) -> None:
    for end in "bca":
        consume(peer, COSTLY.format(end), end)
    publish(peer, "a" * 9000)
    peer.send(1, BasicCancel(consumer_tag="a"))
    consume(peer, "colour LIKE 'a%'", "other")
    harness.pass_time(0.011)
    assert got(peer) == [("other", b"a" * 9000)]


def test_what_is_selected_costs_no_look_at_all_that_is_not(peer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(peer, *["blue"] * 100)
    consume(peer, "colour = 'red'", "red", no_ack=True)
    sorted_ = []
    put_in_order = ReadyMessages.put_in_order
    monkeypatch.setattr(ReadyMessages, "put_in_order", lambda window: (sorted_.append(1), put_in_order(window)))
    for _ in range(20):
        publish(peer, "red")
    assert len(got(peer)) == 20
    assert not sorted_


def test_what_is_in_the_store_is_read_for_who_selects_it() -> None:
    harness = Harness(queue_limits=SMALL)
    peer = declared(harness)
    for number in range(30):
        publish(peer, "red" if number % 10 == 9 else "blue")
        harness.commit()
    consume(peer, "colour = 'red'", "red")
    for _ in range(40):
        harness.commit()
    assert [body for _, body in got(peer)] == [b"red"] * 3
    assert harness.broker.vhosts["carbon"].queues["q"].ready_count == 27


@pytest.mark.parametrize("arguments", [{"x-max-priority": 3}, {"x-single-active-consumer": True}])
def test_queues_that_cannot_refuse_it(harness: Harness, arguments: dict[str, object]) -> None:
    peer = declared(harness, **arguments)
    consume(peer, "a = 1")
    [close] = [method for _, method in peer.received() if hasattr(method, "reply_code")]
    assert close.reply_code == 540


def test_one_that_does_not_parse_closes_the_channel_with_409(peer: Client) -> None:
    consume(peer, "a = = 1")
    [close] = [method for _, method in peer.received() if isinstance(method, ChannelClose)]
    text = "INVALID_SELECTOR - expected a value, found '=' at character 5"
    assert (close.reply_code, close.reply_text) == (409, text)
    peer.send(2, ChannelOpen())
    peer.received()
    arguments = FieldTable.of({"x-filter-jms-selector": "a = = 1"})
    peer.send(2, QueueBind(queue="q", exchange="amq.direct", routing_key="q", arguments=arguments))
    [close] = [method for _, method in peer.received() if isinstance(method, ChannelClose)]
    assert close.reply_code == 409


@pytest.mark.parametrize("seed", range(25))
def test_each_message_goes_once_to_who_selects_it_whatever_happens(seed: int) -> None:
    """Publishes, consumers that come and go, answers and paging at random; then everything is taken."""
    chance = Random(seed)
    harness = Harness(queue_limits=SMALL if seed % 2 else None)
    peer = declared(harness)
    colours = ("red", "blue", "green")
    tags: dict[str, str] = {}
    outstanding: dict[int, str] = {}
    published = settled = number = 0

    def note() -> None:
        nonlocal number
        for _, method in peer.received():
            if isinstance(method, BasicDeliver):
                colour = bodies_of[method.consumer_tag]
                body = peer_bodies.pop(0).decode()
                assert colour in ("", body), f"{colour} got {body}"
                outstanding[method.delivery_tag] = body

    bodies_of: dict[str, str] = {}
    for step in range(150):
        what = chance.randrange(10)
        if what < 4:
            published += 1
            publish(peer, chance.choice(colours))
        elif what == 4 and len(tags) < 4:
            number += 1
            tag, colour = f"c{number}", chance.choice((*colours, ""))
            tags[tag] = bodies_of[tag] = colour
            consume(peer, f"colour = '{colour}'" if colour else "", tag)
        elif what == 5 and tags:
            tag = chance.choice(list(tags))
            del tags[tag]
            peer.send(1, BasicCancel(consumer_tag=tag))
        elif what in (6, 7) and outstanding:
            tag_number = chance.choice(list(outstanding))
            del outstanding[tag_number]
            settled += 1
            peer.send(1, BasicAck(tag_number))
        elif what == 8 and outstanding:
            tag_number = chance.choice(list(outstanding))
            del outstanding[tag_number]
            peer.send(1, BasicNack(tag_number, False, True))
        else:
            harness.commit()
        peer_bodies = peer.bodies()
        note()
        queue = harness.broker.vhosts["carbon"].queues["q"]
        assert queue.unacked_count == len(outstanding), f"step {step}"
        assert queue.ready_count == published - settled - len(outstanding), f"step {step}"
    for tag in tags:
        peer.send(1, BasicCancel(consumer_tag=tag))
    bodies_of["last"] = ""
    consume(peer, "", "last")
    for _ in range(100):
        harness.commit()
    peer_bodies = peer.bodies()
    note()
    assert len(outstanding) == published - settled
    for tag_number in list(outstanding):
        peer.send(1, BasicAck(tag_number))
    harness.commit()
    assert queue.ready_count == queue.unacked_count == 0


def test_giving_back_costs_no_look_at_what_nobody_selects(harness: Harness, peer: Client) -> None:
    publish(peer, "blue", "red", *["blue"] * 200, "red")
    peer.call(1, BasicQos(0, 1))
    consume(peer, "colour = 'red'", "red")
    window = harness.broker.vhosts["carbon"].queues["q"]._window
    before = window.changes
    for tag in range(1, 6):
        assert got(peer) == [("red", b"red")]
        peer.send(1, BasicNack(tag, False, True))
    assert window.changes == before
    assert got(peer) == [("red", b"red")]
    peer.send(1, BasicAck(6))
    assert got(peer) == [("red", b"red")]
    peer.send(1, BasicAck(7))
    assert got(peer) == []
    assert harness.broker.vhosts["carbon"].queues["q"].ready_count == 201
