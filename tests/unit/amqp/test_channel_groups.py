"""Message groups as clients see them: order within a group, turns between groups (ADR 83)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicConsume,
    BasicGet,
    BasicGetEmpty,
    BasicNack,
    BasicQos,
    BasicReject,
    ChannelClose,
    ChannelOpen,
    QueueDeclare,
    QueueDeclareOk,
    QueuePurge,
    QueuePurgeOk,
)
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.support.peer import Content

SMALL = QueueLimits(memory=6000, transient_memory=6000, window_size=4, read_ahead=4, read_ahead_bytes=100_000)


def declare(peer: Client, **arguments: object) -> Client:
    table = {"x-message-groups": True} | {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    peer.send(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of(table)))
    assert isinstance(peer.received()[-1][1], QueueDeclareOk)
    return peer


def publish(peer: Client, *bodies: str, persistent: bool = True) -> None:
    """Publish bodies such as `a1`, of which the first letter names the group; `-` means no group."""
    for body in bodies:
        headers = None if body[0] == "-" else FieldTable.of({"x-group-id": body[0]})
        properties = BasicProperties(headers=headers, delivery_mode=2 if persistent else None)
        peer.publish("q", body.encode(), properties=properties)


def texts(contents: Iterable[Content]) -> list[str]:
    return [content.body.decode() for content in contents]


def consume(peer: Client, prefetch: int = 100, *, no_ack: bool = False, tag: str = "c") -> None:
    peer.send(1, BasicQos(0, prefetch))
    peer.send(1, BasicConsume(queue="q", no_ack=no_ack, consumer_tag=tag))
    peer.received()


def tag_of(content: Content) -> int:
    tag: int = content.method.delivery_tag  # type: ignore[attr-defined]
    return tag


def test_one_message_of_a_group_is_out_at_a_time(harness: Harness, peer: Client) -> None:
    declare(peer)
    consume(peer)
    publish(peer, "a1", "a2", "b1", "b2", "a3")
    first, second = peer.contents()
    assert texts((first, second)) == ["a1", "b1"]
    peer.send(1, BasicAck(tag_of(first)))
    assert texts(peer.contents()) == ["a2"]
    peer.send(1, BasicAck(tag_of(second)))
    assert texts(peer.contents()) == ["b2"]


@pytest.mark.parametrize("give_back", [BasicNack(1, requeue=True), BasicReject(1, requeue=True)])
def test_the_order_of_a_group_holds_when_a_message_comes_back(
    harness: Harness, peer: Client, give_back: BasicNack | BasicReject
) -> None:
    declare(peer)
    consume(peer)
    publish(peer, "a1", "a2", "a3")
    assert texts(peer.contents()) == ["a1"]
    peer.send(1, give_back)
    (again,) = peer.contents()
    assert texts((again,)) == ["a1"]
    peer.send(1, BasicAck(tag_of(again)))
    assert texts(peer.contents()) == ["a2"]


def test_the_order_holds_when_a_consumer_goes_with_what_it_had(harness: Harness, peer: Client) -> None:
    declare(peer)
    other = harness.peer()
    consume(other)
    publish(peer, "a1", "a2", "b1")
    assert texts(other.contents()) == ["a1", "b1"]
    consume(peer)
    other.lose()
    assert sorted(texts(peer.contents())) == ["a1", "b1"]


def test_a_cancelled_consumer_keeps_the_turn_of_its_groups(harness: Harness, peer: Client) -> None:
    declare(peer)
    other = harness.peer()
    consume(other)
    publish(peer, "a1", "a2")
    other.send(1, BasicCancel("c"))
    consume(peer)
    assert texts(peer.contents()) == []
    other.send(1, BasicAck(1))
    assert texts(peer.contents()) == ["a2"]


def test_a_message_that_dies_lets_the_next_one_go(harness: Harness, peer: Client) -> None:
    declare(peer)
    consume(peer)
    publish(peer, "a1", "a2")
    peer.contents()
    peer.send(1, BasicReject(1, requeue=False))
    assert texts(peer.contents()) == ["a2"]


def test_a_group_may_have_several_messages_out(harness: Harness, peer: Client) -> None:
    declare(peer, group_concurrency=2)
    consume(peer)
    publish(peer, "a1", "a2", "a3", "b1")
    assert texts(peer.contents()) == ["a1", "a2", "b1"]


def test_messages_without_a_group_wait_for_nobody(harness: Harness, peer: Client) -> None:
    declare(peer)
    consume(peer)
    publish(peer, "-1", "-2", "-3")
    assert texts(peer.contents()) == ["-1", "-2", "-3"]


def test_transient_messages_keep_the_order_of_their_group(harness: Harness, peer: Client) -> None:
    declare(peer)
    consume(peer)
    publish(peer, "a1", "a2", persistent=False)
    assert texts(peer.contents()) == ["a1"]
    harness.commit()
    peer.send(1, BasicAck(1))
    assert texts(peer.contents()) == ["a2"]


def test_consumers_that_acknowledge_nothing_get_everything_in_turn(harness: Harness, peer: Client) -> None:
    declare(peer)
    publish(peer, "a1", "a2", "a3", "b1", "c1")
    consume(peer, no_ack=True)
    assert texts(peer.contents()) == ["a1", "b1", "c1", "a2", "a3"]


def test_groups_take_turns_whatever_the_order_of_the_queue(harness: Harness, peer: Client) -> None:
    declare(peer)
    publish(peer, *(f"a{number}" for number in range(50)), "b0", "b1", "c0")
    consume(peer, prefetch=1)
    got = drain(peer, 6)
    assert got == ["a0", "b0", "c0", "a1", "b1", "a2"]


def drain(peer: Client, count: int) -> list[str]:
    """Take so many messages, each after the one before is acknowledged."""
    got: list[str] = []
    waiting: list[Content] = []
    while len(got) < count:
        waiting += peer.contents()
        if not waiting:
            break
        content = waiting.pop(0)
        got += texts((content,))
        peer.send(1, BasicAck(tag_of(content)))
    return got


def test_a_small_group_does_not_wait_behind_a_large_one_in_slots() -> None:
    harness = Harness(queue_limits=SMALL)
    peer = declare(harness.peer())
    publish(peer, *(f"a{number}" for number in range(300)), *(f"{group}0" for group in "bcdefghij"))
    harness.commit()
    assert harness.vhost.queues["q"].slots.count == 1
    consume(peer, prefetch=1)
    got = drain_with_commits(harness, peer, 60)
    assert set(got) >= {f"{group}0" for group in "bcdefghij"}
    assert [one for one in got if one[0] == "a"] == [f"a{number}" for number in range(51)]


def drain_with_commits(harness: Harness, peer: Client, count: int) -> list[str]:
    got: list[str] = []
    for _ in range(2 * count + 20):
        got += drain(peer, count - len(got))
        harness.commit()
        if len(got) >= count:
            break
    return got


def test_everything_in_slots_comes_once_and_in_order_of_its_group() -> None:
    harness = Harness(queue_limits=SMALL)
    peer = declare(harness.peer())
    bodies = [f"{'abcdefg'[number % 7 if number % 3 else 0]}{number:04}" for number in range(400)]
    publish(peer, *bodies[:300])
    consume(peer, prefetch=3)
    publish(peer, *bodies[300:])
    harness.commit()
    got = drain_with_commits(harness, peer, 400)
    assert Counter(got) == Counter(bodies)
    for group in "abcdefg":
        its_own = [one for one in got if one[0] == group]
        assert its_own == sorted(its_own)
    harness.commit()
    queue = harness.vhost.queues["q"]
    assert (queue.message_count, queue.unacked_count, queue.slots.count) == (0, 0, 0)
    assert harness.store.state.rows == {}


def test_groups_in_slots_have_their_turns_although_consumers_never_have_credit_left() -> None:
    harness = Harness(queue_limits=SMALL)
    peer = declare(harness.peer())
    publish(
        peer,
        *(f"a{number}" for number in range(300)),
        *(f"{group}{number}" for number in range(3) for group in "bcdef"),
    )
    consume(peer, prefetch=1)
    got: list[str] = []
    while len(got) < 20:
        (content,) = peer.contents()
        got += texts((content,))
        peer.send(1, BasicAck(tag_of(content)))
        harness.run()
    assert sum(one[0] == "a" for one in got) <= 5
    assert len([one for one in got if one[0] != "a"]) >= 15


def test_what_nobody_consumes_takes_no_more_memory_than_in_other_queues() -> None:
    harness = Harness(queue_limits=SMALL)
    peer = declare(harness.peer())
    publish(peer, *(f"a{number}" for number in range(300)))
    queue = harness.vhost.queues["q"]
    assert (queue.ready_count, queue.slots.count) == (300, 1)
    assert sum(message.weight for message in queue.in_memory) < 2 * SMALL.memory


def test_a_purge_spares_what_clients_hold_in_the_midst_of_slots() -> None:
    harness = Harness(queue_limits=SMALL)
    peer = declare(harness.peer())
    publish(peer, *(f"a{number}" for number in range(100)), "b0", "b1")
    harness.commit()
    consume(peer, prefetch=2)
    harness.commit()
    assert texts(peer.contents()) == ["a0", "b0"]
    answer = peer.call(1, QueuePurge(queue="q"))
    assert answer == QueuePurgeOk(100)
    harness.commit()
    assert len(harness.store.state.rows) == 2
    peer.send(1, BasicNack(0, multiple=True, requeue=True))
    assert sorted(texts(peer.contents())) == ["a0", "b0"]


def test_a_get_keeps_to_the_turns_too(harness: Harness, peer: Client) -> None:
    declare(peer)
    publish(peer, "a1", "a2", "b1")
    peer.received()
    for _ in range(2):
        peer.send(1, BasicGet(queue="q"))
    assert texts(peer.contents()) == ["a1", "b1"]
    peer.received()
    assert isinstance(peer.call(1, BasicGet(queue="q")), BasicGetEmpty)
    peer.send(1, BasicAck(1))
    peer.send(1, BasicGet(queue="q"))
    assert texts(peer.contents()) == ["a2"]


def test_a_get_finds_what_is_in_slots() -> None:
    harness = Harness(queue_limits=SMALL)
    peer = declare(harness.peer())
    publish(peer, *(f"a{number}" for number in range(60)))
    harness.commit()
    for _ in range(60):
        peer.send(1, BasicGet(queue="q", no_ack=True))
        harness.commit()
    assert texts(peer.contents()) == [f"a{number}" for number in range(60)]


def test_a_get_is_all_that_it_takes_after_a_restart() -> None:
    former = Harness()
    publish(declare(former.peer()), "a1", "a2", "b1")
    former.commit()
    former.store.state.holder = None  # its node was killed
    harness = Harness(state=former.store.state)
    peer = harness.peer()
    for _ in range(3):
        peer.send(1, BasicGet(queue="q", no_ack=True))
        harness.commit()
    assert sorted(texts(peer.contents())) == ["a1", "a2", "b1"]


@pytest.mark.parametrize(
    ("arguments", "durable", "text"),
    [
        ({"x-message-groups": 1}, True, "true or false is needed, not 1"),
        (
            {"x-message-groups": True, "x-max-priority": 5},
            True,
            "a queue has message groups or priorities (x-max-priority), not both",
        ),
        ({"x-message-groups": True}, False, "the queue must be durable and not exclusive"),
        ({"x-message-groups": True, "x-group-concurrency": 0}, True, "a whole number from 1 on is needed, not 0"),
    ],
)
def test_arguments_that_cannot_be_served_are_refused(
    harness: Harness, peer: Client, arguments: dict[str, object], durable: bool, text: str
) -> None:
    answer = peer.call(1, QueueDeclare(queue="q", durable=durable, arguments=FieldTable.of(arguments)))
    assert isinstance(answer, ChannelClose)
    assert answer.reply_code == 406
    assert text in answer.reply_text


def test_a_channel_that_ends_gives_its_groups_back(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.send(2, ChannelOpen())
    peer.send(2, BasicConsume(queue="q"))
    publish(peer, "a1", "a2")
    assert texts(peer.contents()) == ["a1"]
    peer.send(2, ChannelClose(200, "", 0, 0))
    consume(peer)
    assert texts(peer.contents()) == ["a1"]
