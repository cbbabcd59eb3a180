"""What an administrator does with dead letters. How they come there: unit/amqp/test_channel_dead_letter_channel.py."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from broker.codec.field_table import FieldTable, Timestamp
from broker.codec.methods import BasicConsume, BasicGet, BasicReject, ChannelOpen, QueueDeclare, QueueDelete
from broker.codec.properties import BasicProperties
from broker.errors import AdministrationError
from broker.ports.cluster import NoOtherNodes
from broker.ports.slot import ALL_LANES, Slot
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits
from broker.topology import dead_letter_channels
from broker.topology.dead_letter_channels import Chosen, DeadLetterChannels, Moved
from tests.support.harness import Harness
from tests.support.stage import drive

CHANNEL = "deadletterchannel"
PERSISTENT = BasicProperties(delivery_mode=2)
ALL = Chosen()
T = TypeVar("T")


class Desk:
    """A node with dead letters, and its administrator."""

    def __init__(self, **options: Any) -> None:
        self.harness = Harness(**options)
        self.peer = self.harness.peer(capabilities=(), vhost="carbon")
        for name in ("q", "r"):
            self.declare(name)

    def declare(self, name: str, **arguments: Any) -> None:
        table = FieldTable.of({f"x-{key.replace('_', '-')}": value for key, value in arguments.items()})
        self.peer.call(1, QueueDeclare(queue=name, durable=True, arguments=table))

    @property
    def channels(self) -> DeadLetterChannels:
        return self.harness.parts.dead_letter_channels

    def queue(self, name: str) -> Queue:
        return self.harness.broker.vhosts["carbon"].queues[name]

    def depths(self, *names: str) -> list[int]:
        return [self.queue(name).ready_count for name in names]

    def let_die(self, queue: str, *bodies: bytes, properties: BasicProperties = PERSISTENT) -> None:
        """Let messages be rejected."""
        self.peer.publish(queue, *bodies, exchange="amq.direct", properties=properties)
        for _ in bodies:
            answer: Any = self.peer.call(1, BasicGet(queue=queue))
            self.peer.send(1, BasicReject(answer.delivery_tag, requeue=False))
        self.harness.commit()
        self.peer.contents()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the administrator's work go on until it is done."""
        results: list[T] = []

        async def done() -> None:
            results.append(await work)

        self.harness.stage.spawn(done())
        self.harness.run()
        [result] = results
        return result

    def listed(self, **options: Any) -> list[dict[str, Any]]:
        return self.do(self.channels.listed("carbon", **options))

    def stored(self, name: str) -> list[bytes]:
        queue = self.queue(name)
        self.harness.commit()
        slot = Slot(queue.queue_id, ALL_LANES, 0, (1 << 63) - 1, 1)
        return [message.payload for message in drive(self.harness.store.read(queue, slot, 10_000, 1 << 30))]

    def taken(self, name: str) -> list[Any]:
        while self.queue(name).ready_count:
            self.peer.send(1, BasicGet(queue=name, no_ack=True))
        return self.peer.contents()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(params=["in memory", "in slots"])
def somewhere(request: pytest.FixtureRequest) -> Desk:
    """A node whose queues are in memory, or mostly in slots."""
    if request.param == "in memory":
        return Desk()
    return Desk(queue_limits=QueueLimits(memory=1, window_size=2, read_ahead=2))


def test_a_list_says_what_has_happened(desk: Desk) -> None:
    desk.let_die("q", b"first")
    desk.let_die("r", b"other")
    rows = desk.listed()
    assert [row["queue"] for row in rows] == ["q", "r"]
    row = rows[0]
    now = desk.harness.clock.wall_ms()
    assert row.pop("id") == next(message.id for message in desk.queue(CHANNEL).ready)
    assert now - 1000 < row.pop("arrived_ms") <= now
    assert row.pop("died_at") == row.pop("first_died_at") == now // 1000
    assert row == {
        "queue": "q",
        "reason": "rejected",
        "exchange": "amq.direct",
        "routing_key": "q",
        "deaths": 1,
        "first_queue": "q",
        "first_reason": "rejected",
        "size": 5,
        "persistent": True,
    }


@pytest.mark.parametrize("odd", [{"x-last-death-time": "5"}, {"x-last-death-time": Timestamp(1 << 60)}])
def test_what_a_client_has_made_up_is_not_told(odd: dict[str, Any], desk: Desk) -> None:
    desk.let_die("q", b"")
    headers = FieldTable.of({"x-last-death-queue": 7, "x-last-death-reason": True, "x-death-count": "many"} | odd)
    desk.peer.publish(CHANNEL, b"", properties=BasicProperties(delivery_mode=2, headers=headers))
    desk.harness.commit()
    row = desk.listed()[-1]
    assert [row[name] for name in ("queue", "reason", "deaths", "died_at")] == [None] * 4


def test_a_list_goes_on_where_the_last_one_ended(somewhere: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_channels, "AT_ONCE", 2)
    for number in range(7):
        somewhere.let_die(
            "qr"[number % 2], b"%d" % number, properties=BasicProperties(delivery_mode=1 + number // 3 % 2)
        )
    ids = [row["id"] for row in somewhere.listed()]
    assert (len(ids), ids) == (7, sorted(ids))
    assert bool(somewhere.queue(CHANNEL)._window.has_slots) is (somewhere.queue(CHANNEL).limits.memory == 1)
    first = somewhere.listed(limit=3)
    assert [row["id"] for row in first + somewhere.listed(after=first[-1]["id"])] == ids
    assert [row["id"] for row in somewhere.listed(queue="r")] == ids[1::2]
    assert somewhere.depths(CHANNEL) == [7]


def test_what_a_client_holds_is_not_listed_and_stays(desk: Desk) -> None:
    desk.let_die("q", b"a", b"b")
    [held, _] = [row["id"] for row in desk.listed()]
    desk.peer.call(1, BasicGet(queue=CHANNEL))
    assert len(desk.listed()) == 1
    moved = desk.do(desk.channels.restore("carbon", Chosen((held,))))
    assert moved == Moved(0, 1, {held: "a client has it"})


def test_all_go_back_to_the_queues_that_they_came_from(somewhere: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_channels, "AT_ONCE", 3)
    desk = somewhere
    for number in range(10):
        desk.let_die("qr"[number % 2], b"%d" % number)
    before = desk.harness.journal.transactions
    moved = desk.do(desk.channels.restore("carbon", ALL))
    assert (moved.count, moved.stay) == (10, 0)
    assert desk.harness.journal.transactions - before == 4
    assert desk.depths("q", "r", CHANNEL) == [5, 5, 0]
    assert (len(desk.stored("q")), len(desk.stored("r")), desk.stored(CHANNEL)) == (5, 5, [])
    back = desk.taken("q")
    assert [content.body for content in back] == [b"0", b"2", b"4", b"6", b"8"]
    assert [(content.method.exchange, content.method.routing_key) for content in back] == [("amq.direct", "q")] * 5
    assert back[0].properties.headers.values["JMSXDeliveryCount"] == 1
    assert not desk.queue(CHANNEL).dying
    assert desk.harness.journal.held == 0


def test_some_go_back_by_their_ids(somewhere: Desk) -> None:
    desk = somewhere
    desk.let_die("q", *[b"%d" % number for number in range(9)])
    ids = [row["id"] for row in desk.listed()]
    moved = desk.do(desk.channels.restore("carbon", Chosen((ids[4], ids[7], 5))))
    assert moved == Moved(2, 1, {5: "it is not there"})
    assert sorted(desk.stored("q")) == [b"4", b"7"]
    assert [row["id"] for row in desk.listed()] == [*ids[:4], *ids[5:7], ids[8]]
    assert desk.depths(CHANNEL) == [7]
    assert [content.body for content in desk.taken(CHANNEL)] == [b"0", b"1", b"2", b"3", b"5", b"6", b"8"]


def test_what_is_not_stored_goes_back_too(somewhere: Desk) -> None:
    desk = somewhere
    desk.let_die("q", b"a", b"b", b"c", b"d", properties=BasicProperties(delivery_mode=1))
    moved = desk.do(desk.channels.restore("carbon", ALL))
    assert (moved.count, moved.stay) == (4, 0)
    assert [content.body for content in desk.taken("q")] == [b"a", b"b", b"c", b"d"]
    assert desk.depths(CHANNEL) == [0]


def test_only_those_go_back_that_died_in_one_queue(desk: Desk) -> None:
    desk.let_die("q", b"a")
    desk.let_die("r", b"b")
    assert desk.do(desk.channels.restore("carbon", Chosen(queue="r"))).count == 1
    assert desk.depths("q", "r", CHANNEL) == [0, 1, 1]


def test_what_has_nowhere_to_go_stays(desk: Desk) -> None:
    desk.declare("full", max_length=1, overflow="reject-publish")
    desk.let_die("full", b"a")
    desk.let_die("full", b"b")
    desk.let_die("r", b"c")
    desk.peer.publish(CHANNEL, b"d", properties=PERSISTENT)
    desk.peer.call(1, QueueDelete(queue="r"))
    moved = desk.do(desk.channels.restore("carbon", ALL))
    assert (moved.count, moved.stay) == (1, 3)
    assert sorted(moved.reasons.values()) == [
        "it does not say in which queue it died",
        "queue 'full' is full",
        "there is no queue 'r'",
    ]
    assert desk.depths("full", CHANNEL) == [1, 3]
    assert len(desk.stored(CHANNEL)) == 3


def test_they_go_to_another_queue_as_if_sent_there(somewhere: Desk) -> None:
    desk = somewhere
    desk.let_die("q", b"a", b"b", b"c", b"d", b"e")
    desk.declare("other")
    assert desk.do(desk.channels.reroute("carbon", ALL, "other")).count == 5
    back = desk.taken("other")
    assert [content.body for content in back] == [b"a", b"b", b"c", b"d", b"e"]
    assert (back[0].method.exchange, back[0].method.routing_key) == ("amq.direct", "other")


def test_what_is_deleted_is_gone_when_the_answer_comes(somewhere: Desk) -> None:
    desk = somewhere
    desk.let_die("q", b"a", b"b", b"c", b"d", b"e")
    [first, *_, last] = [row["id"] for row in desk.listed()]
    assert desk.do(desk.channels.delete("carbon", Chosen((first, last)))) == Moved(2)
    assert desk.stored(CHANNEL) == [b"b", b"c", b"d"]
    assert desk.do(desk.channels.delete("carbon", ALL)) == Moved(3)
    assert (desk.stored(CHANNEL), desk.depths(CHANNEL, "q")) == ([], [0, 0])


def test_a_message_is_in_one_place_until_the_move_is_committed(desk: Desk) -> None:
    desk.let_die("q", b"a")
    desk.harness.gate.is_open = False
    results: list[Moved] = []

    async def restore() -> None:
        results.append(await desk.channels.restore("carbon", ALL))

    desk.harness.stage.spawn(restore())
    desk.harness.run()
    assert (desk.depths("q", CHANNEL), desk.stored(CHANNEL), results) == ([0, 0], [b"a"], [])
    assert list(desk.queue(CHANNEL).dying), "no read of a slot brings it back"
    desk.harness.gate.is_open = True
    desk.harness.run()
    assert (desk.depths("q", CHANNEL), desk.stored("q"), desk.stored(CHANNEL)) == ([1, 0], [b"a"], [])
    assert results == [Moved(1)]


def test_what_is_deleted_counts_as_dying_until_its_row_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that is read meanwhile has the row: the message must not come back with it."""
    desk.let_die("q", b"a")
    [row] = desk.listed()
    journal, dying = desk.harness.journal, list[list[int]]()

    async def flushed() -> None:
        dying.append(list(desk.queue(CHANNEL).dying))
        journal.commit()

    monkeypatch.setattr(journal, "flushed", flushed)
    assert desk.do(desk.channels.delete("carbon", ALL)) == Moved(1)
    assert (dying, list(desk.queue(CHANNEL).dying), desk.stored(CHANNEL)) == ([[row["id"]]], [], [])


def test_consumers_get_what_comes_back_and_what_is_left(somewhere: Desk) -> None:
    desk = somewhere
    desk.let_die("q", b"a", b"b", b"c", b"d", b"e", b"f")
    ids = [row["id"] for row in desk.listed()]
    desk.peer.call(2, ChannelOpen())
    desk.peer.send(1, BasicConsume(queue="q", no_ack=True))
    desk.do(desk.channels.restore("carbon", Chosen(tuple(ids[1:5]))))
    assert desk.peer.bodies() == [b"b", b"c", b"d", b"e"]
    desk.peer.send(2, BasicConsume(queue=CHANNEL, no_ack=True))
    assert desk.peer.bodies() == [b"a", b"f"]


def test_a_message_may_die_and_come_back_again(desk: Desk) -> None:
    desk.let_die("q", b"a")
    desk.do(desk.channels.reroute("carbon", ALL, "r"))
    answer: Any = desk.peer.call(1, BasicGet(queue="r"))
    desk.peer.send(1, BasicReject(answer.delivery_tag, requeue=False))
    desk.harness.commit()
    [row] = desk.listed()
    assert (row["queue"], row["first_queue"], row["deaths"]) == ("r", "q", 2)


Ask = Callable[[DeadLetterChannels], Coroutine[Any, Any, Any]]


@pytest.mark.parametrize(
    "ask",
    [
        lambda channels: channels.listed("none"),
        lambda channels: channels.listed("/"),
        lambda channels: channels.listed("carbon", limit=0),
        lambda channels: channels.listed("carbon", limit=1001),
        lambda channels: channels.reroute("carbon", ALL, "none"),
        lambda channels: channels.reroute("carbon", ALL, CHANNEL),
        lambda channels: channels.delete("carbon", Chosen(tuple(range(1001)))),
    ],
)
def test_what_makes_no_sense_is_refused(desk: Desk, ask: Ask) -> None:
    with pytest.raises(AdministrationError):
        drive(ask(desk.channels))


def test_nothing_is_listed_before_there_is_a_channel(desk: Desk) -> None:
    assert desk.listed() == []
    assert desk.do(desk.channels.restore("carbon", ALL)) == Moved()


class Elsewhere(NoOtherNodes):
    """Other nodes with dead letters of their own, which come one by one when they are asked for."""

    def __init__(self, desk: Desk, *bodies: bytes) -> None:
        super().__init__(desk.harness.store.record, lambda message: None)
        self._desk = desk
        self.bodies = list(bodies)
        self.fetches = 0
        desk.harness.broker.vhosts["carbon"].cluster = self  # type: ignore[assignment]

    async def fetch(self, queue: object) -> bool:
        self.fetches += 1
        if not self.bodies:
            return False
        headers = FieldTable.of({"x-last-death-queue": "q"})
        self._desk.peer.publish(CHANNEL, self.bodies.pop(0), properties=BasicProperties(headers=headers))
        return True


def test_what_other_nodes_have_is_brought_here_and_moves_too(desk: Desk) -> None:
    desk.let_die("q", b"a")
    Elsewhere(desk, *[b"%d" % number for number in range(20)])
    moved = desk.do(desk.channels.restore("carbon", ALL))
    assert (moved.count, moved.stay, desk.depths("q", CHANNEL)) == (21, 0, [21, 0])


def test_ids_that_are_here_cost_other_nodes_nothing_and_others_are_looked_for(desk: Desk) -> None:
    desk.let_die("q", b"a")
    elsewhere = Elsewhere(desk, b"0", b"1")
    [here] = [row["id"] for row in desk.listed()]
    assert desk.do(desk.channels.restore("carbon", Chosen((here,)))).count == 1
    assert elsewhere.fetches == 0
    moved = desk.do(desk.channels.restore("carbon", Chosen((5,))))
    assert moved == Moved(0, 1, {5: "it is not there"})
    assert (elsewhere.fetches, desk.depths(CHANNEL)) == (4, [2])


def test_messages_for_which_others_always_have_more_end_the_looking(desk: Desk) -> None:
    desk.let_die("q", b"a")
    elsewhere = Elsewhere(desk, *[b"%d" % number for number in range(500)])
    moved = desk.do(desk.channels.restore("carbon", Chosen((5,))))
    assert (moved.count, moved.stay, elsewhere.fetches) == (0, 1, 2 * 16)
