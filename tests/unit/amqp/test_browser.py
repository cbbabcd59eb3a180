"""Looking through queues without taking anything: browsers of JMS (docs/jms.md)."""

from __future__ import annotations

import pytest

from broker.amqp.browser import Browser, _Part
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicCancelOk,
    BasicConsume,
    BasicConsumeOk,
    BasicDeliver,
    BasicGet,
    BasicGetOk,
    ChannelClose,
    ChannelFlow,
    ChannelOpen,
    QueueDeclare,
    QueueDelete,
    QueueDeleteOk,
)
from broker.codec.properties import BasicProperties
from broker.message import Message
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness

BROWSER = FieldTable.of({"x-filter-no-consume": True, "x-filter-auto-close": True})
PERSISTENT = BasicProperties(delivery_mode=2)
SMALL = QueueLimits(memory=3000, transient_memory=3000, window_size=4, read_ahead=4)


def peer_of(harness: Harness, **arguments: object) -> Client:
    peer = harness.peer(capabilities=(), vhost="carbon")
    peer.call(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of(arguments)))
    return peer


def look(peer: Client, tag: str = "1", selector: str = "") -> tuple[list[bytes], list[Method]]:
    """Look through q; return the bodies that are shown and the other methods."""
    arguments = FieldTable.of({**BROWSER.values, "x-filter-jms-selector": selector})
    peer.send(1, BasicConsume(queue="q", consumer_tag=tag, no_ack=True, arguments=arguments))
    return seen(peer)


def seen(peer: Client) -> tuple[list[bytes], list[Method]]:
    methods = [method for _, method in peer.received() if not isinstance(method, BasicDeliver)]
    return peer.bodies(), methods


def test_everything_is_shown_in_order_and_stays(harness: Harness) -> None:
    peer = peer_of(harness)
    peer.publish("q", b"1", b"2", b"3", properties=PERSISTENT)
    assert look(peer) == ([b"1", b"2", b"3"], [BasicConsumeOk("1"), BasicCancelOk("1")])
    assert look(peer)[0] == [b"1", b"2", b"3"]
    queue = harness.broker.vhosts["carbon"].queues["q"]
    assert (queue.ready_count, queue.unacked_count, queue.consumer_count, queue.turns.was_used) == (3, 0, 0, False)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(7, False, "amq.direct", "q", 2)


def test_nothing_is_shown_of_an_empty_queue(harness: Harness) -> None:
    peer = peer_of(harness)
    assert look(peer) == ([], [BasicConsumeOk("1"), BasicCancelOk("1")])


@pytest.mark.parametrize("properties", [PERSISTENT, BasicProperties()])
def test_what_is_only_in_the_store_is_shown_too(properties: BasicProperties) -> None:
    harness = Harness(queue_limits=SMALL)
    peer = peer_of(harness)
    bodies = [b"%02d" % number * 50 for number in range(30)]
    for body in bodies:
        peer.publish("q", body, properties=properties)
        harness.commit()
    assert len(harness.broker.vhosts["carbon"].queues["q"].in_memory) < 30
    assert look(peer)[0] == bodies
    assert look(peer)[0] == bodies


def test_much_in_memory_is_shown_in_parts(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = peer_of(harness)
    bodies = [b"%d" % number for number in range(1200)]
    peer.publish("q", *bodies)
    taken: list[int] = []
    take = _Part.take_from_memory

    def counted(part: _Part, end: int) -> tuple[dict[int, Message], int]:
        found = take(part, end)
        taken.append(len(found[0]))
        return found

    monkeypatch.setattr(_Part, "take_from_memory", counted)
    assert look(peer)[0] == bodies
    assert taken == [500, 500, 200]


def test_what_a_client_holds_or_has_expired_is_not_shown(harness: Harness) -> None:
    peer = peer_of(harness)
    peer.publish("q", b"held", properties=PERSISTENT)
    peer.publish("q", b"old", properties=BasicProperties(delivery_mode=2, expiration="1000"))
    peer.publish("q", b"there", properties=PERSISTENT)
    harness.commit()
    peer.call(1, BasicGet(queue="q"))
    peer.bodies()
    harness.clock.advance(2)
    assert look(peer)[0] == [b"there"]
    peer.send(1, BasicAck(1))
    harness.commit()
    assert look(peer)[0] == [b"there"]


def test_the_highest_priority_is_shown_first(harness: Harness) -> None:
    peer = peer_of(harness, **{"x-max-priority": 2})
    for priority in (0, 2, 1):
        peer.publish("q", b"%d" % priority, properties=BasicProperties(priority=priority))
    assert look(peer)[0] == [b"2", b"1", b"0"]


def test_nothing_is_shown_while_the_client_has_stopped_the_flow(harness: Harness) -> None:
    peer = peer_of(harness)
    peer.publish("q", b"1", b"2")
    peer.send(1, ChannelFlow(False))
    peer.received()
    assert look(peer) == ([], [BasicConsumeOk("1")])
    peer.send(1, ChannelFlow(True))
    bodies, methods = seen(peer)
    assert bodies == [b"1", b"2"]
    assert methods[-1] == BasicCancelOk("1")


def test_more_is_shown_when_the_socket_takes_more(harness: Harness) -> None:
    peer = peer_of(harness)
    bodies = [bytes([number]) * 100_000 for number in range(30)]
    peer.publish("q", *bodies)
    shown, methods = look(peer)
    assert 10 <= len(shown) < 20
    assert methods == [BasicConsumeOk("1")]
    while methods[-1] != BasicCancelOk("1"):
        peer.connection.unblock_output()
        harness.run()
        more, others = seen(peer)
        assert more
        shown += more
        methods += others
    assert shown == bodies


def test_who_has_seen_enough_sees_no_more(harness: Harness) -> None:
    peer = peer_of(harness)
    peer.publish("q", b"1")
    peer.send(1, ChannelFlow(False))
    look(peer)
    peer.received()
    assert peer.call(1, BasicCancel(consumer_tag="1")) == BasicCancelOk("1")
    peer.send(1, ChannelFlow(True))
    assert seen(peer)[0] == []
    peer.call(1, BasicCancel(consumer_tag="1"))


def test_a_browser_is_no_consumer(harness: Harness) -> None:
    peer = peer_of(harness)
    peer.publish("q", b"1")
    peer.send(1, ChannelFlow(False))
    look(peer)
    peer.send(1, BasicConsume(queue="q", consumer_tag="1"))
    closes = [method.reply_text for _, method in peer.received() if hasattr(method, "reply_text")]
    assert closes == ["NOT_ALLOWED - attempt to reuse consumer tag '1'"]
    other = harness.peer(capabilities=(), vhost="carbon")
    other.send(1, ChannelFlow(False))
    look(other)
    assert other.call(1, BasicConsume(queue="q", exclusive=True, consumer_tag="2")) == BasicConsumeOk("2")
    other.call(1, BasicCancel(consumer_tag="2"))
    assert other.call(1, QueueDelete(queue="q", if_unused=True)) == QueueDeleteOk(1)


def test_a_browser_ends_with_its_channel(harness: Harness) -> None:
    peer = peer_of(harness)
    peer.publish("q", b"1")
    peer.send(1, ChannelFlow(False))
    look(peer)
    peer.send(1, ChannelClose(200, "", 0, 0))
    assert seen(peer)[0] == []


def test_a_selector_says_what_is_shown() -> None:
    harness = Harness(queue_limits=SMALL)
    peer = peer_of(harness)
    for number in range(30):
        properties = BasicProperties(delivery_mode=2, headers=FieldTable.of({"n": number}))
        peer.publish("q", b"%d" % number, properties=properties)
        harness.commit()
    assert len(harness.broker.vhosts["carbon"].queues["q"].in_memory) < 30
    assert look(peer, selector="n IN ('a') OR n BETWEEN 2 AND 3 OR n > 27")[0] == [b"2", b"3", b"28", b"29"]
    assert look(peer, selector="n < 0") == ([], [BasicConsumeOk("1"), BasicCancelOk("1")])
    assert harness.broker.vhosts["carbon"].queues["q"].ready_count == 30


def test_what_a_selector_looks_at_is_looked_at_in_turns() -> None:
    harness = Harness(turn=200)
    peer = peer_of(harness)
    for number in range(20):
        properties = BasicProperties(headers=FieldTable.of({"s": "a" * 2000, "n": number}))
        peer.publish("q", b"%d" % number, properties=properties)
    before = len(harness.turns.taken)
    assert look(peer, selector="s NOT LIKE '%a_b%' AND n > 17")[0] == [b"18", b"19"]
    assert len(harness.turns.taken) - before > 10


def test_browsers_of_a_connection_take_turns_so_that_one_holds_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(queue_limits=SMALL)
    peer = peer_of(harness)
    for number in range(30):
        peer.publish("q", b"%02d" % number * 50, properties=PERSISTENT)
        harness.commit()
    [connection] = harness.broker.open_connections
    channel = connection.channels[1]  # type: ignore[attr-defined]
    holding: list[int] = []
    fill = Browser._fill

    async def counted(browser: Browser, part: _Part) -> None:
        await fill(browser, part)
        holding.append(sum(bool(each._buffer) for each in channel.browsers.values()))

    monkeypatch.setattr(Browser, "_fill", counted)
    for tag in range(20):
        peer.send(1, BasicConsume(queue="q", consumer_tag=str(tag), no_ack=True, arguments=BROWSER))
    assert len(seen(peer)[0]) == 20 * 30
    assert (max(holding), channel.browsers) == (1, {})


def test_a_browser_whose_channel_is_stopped_holds_up_no_other(harness: Harness) -> None:
    peer = peer_of(harness)
    peer.publish("q", b"1", b"2")
    peer.call(2, ChannelOpen())
    peer.call(1, ChannelFlow(active=False))
    peer.send(1, BasicConsume(queue="q", consumer_tag="stopped", no_ack=True, arguments=BROWSER))
    peer.send(2, BasicConsume(queue="q", consumer_tag="other", no_ack=True, arguments=BROWSER))
    assert seen(peer) == ([b"1", b"2"], [BasicConsumeOk("stopped"), BasicConsumeOk("other"), BasicCancelOk("other")])
    peer.send(1, ChannelFlow(active=True))
    assert seen(peer)[0] == [b"1", b"2"]


def test_a_browser_that_is_cancelled_lets_the_next_one_show(harness: Harness) -> None:
    peer = peer_of(harness)
    peer.publish("q", b"1")
    [connection] = harness.broker.open_connections
    channel = connection.channels[1]  # type: ignore[attr-defined]
    channel.deliveries.is_flowing = False
    for tag in ("a", "b"):
        peer.send(1, BasicConsume(queue="q", consumer_tag=tag, no_ack=True, arguments=BROWSER))
    channel.deliveries.is_flowing = True
    first, second = channel.browsers.values()
    assert first._has_turn()
    assert not second._has_turn()
    peer.send(1, BasicCancel("a"))
    assert seen(peer)[0] == [b"1"]
