"""What an administrator does with delayed messages. How they come there: unit/amqp/test_channel_delayed.py."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicGet, BasicGetOk, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.errors import AdministrationError
from broker.queue.settings import QueueLimits
from broker.topology import schedules
from broker.topology.schedules import BUSY, CANCELLED, FIRED, GONE, MOVED, ScheduleChange, WantedDelayed
from tests.support.harness import Harness

T = TypeVar("T")
NOW = 1_800_000_000_000
ANY = WantedDelayed()


class Desk:
    """A node with delayed messages, and its administrator."""

    def __init__(self, **options: Any) -> None:
        self.harness = Harness(**options)
        self.peer = self.harness.peer()
        self.peer.call(1, QueueDeclare(queue="q", durable=True))
        self.schedules = self.harness.parts.schedules

    def delay(self, *delays: int, key: str = "q", message_id: str | None = None) -> None:
        for delay in delays:
            table = FieldTable.of({"x-delay": delay})
            properties = BasicProperties(headers=table, delivery_mode=2, message_id=message_id or f"m-{delay}")
            self.peer.publish(key, str(delay).encode(), properties=properties)
        self.harness.commit()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the work be done, with all that it waits for."""
        done: list[T] = []

        async def run() -> None:
            done.append(await work)

        self.harness.stage.spawn(run())
        self.harness.run()
        self.harness.commit()
        return done[0]

    def ids(self, **wanted: Any) -> list[int]:
        return [row["id"] for row in self.do(self.schedules.listed("/", WantedDelayed(**wanted))).rows]

    def got(self) -> list[bytes]:
        bodies = []
        while isinstance(self.peer.call(1, BasicGet(queue="q", no_ack=True)), BasicGetOk):
            bodies += self.peer.bodies()
        return bodies

    @property
    def waiting(self) -> int:
        (row,) = [row for row in self.schedules.waiting() if row["vhost"] == "/"]
        return int(row["messages"])


@pytest.fixture(params=["in memory", "in slots"])
def desk(request: pytest.FixtureRequest) -> Desk:
    if request.param == "in memory":
        return Desk()
    return Desk(queue_limits=QueueLimits(memory=1000, window_size=2, read_ahead=2))


def test_what_waits_is_listed_by_its_time(desk: Desk) -> None:
    assert desk.do(desk.schedules.listed("/", ANY)).rows == []
    desk.delay(3000, 1000, 2000)
    page = desk.do(desk.schedules.listed("/", ANY))
    assert page.following is None
    assert [row["due_ms"] for row in page.rows] == [NOW + 1001, NOW + 2001, NOW + 3001]
    assert {name: page.rows[0][name] for name in ("exchange", "routing_key", "queue", "message_id")} == {
        "exchange": "",
        "routing_key": "q",
        "queue": None,
        "message_id": "m-1000",
    }
    assert (page.rows[0]["payload_bytes"], page.rows[0]["published_ms"], page.rows[0]["persistent"]) == (4, NOW, True)


def test_a_list_goes_on_where_a_page_has_ended(desk: Desk) -> None:
    desk.delay(*range(1000, 1010))
    seen: list[int] = []
    after: tuple[int, int] | None = (0, 0)
    while after is not None:
        page = desk.do(desk.schedules.listed("/", ANY, after=after, limit=4))
        seen += [row["due_ms"] - NOW - 1 for row in page.rows]
        after = page.following
    assert seen == list(range(1000, 1010))


def test_a_list_is_of_those_that_are_wanted(desk: Desk) -> None:
    desk.delay(1000, 2000)
    desk.delay(3000, key="other", message_id="mine")
    assert len(desk.ids(routing_key="q")) == 2
    assert len(desk.ids(exchange="nope")) == 0
    assert len(desk.ids(message_id="mine")) == 1
    assert len(desk.ids(message_id="min")) == 0
    assert len(desk.ids(until=NOW + 2000)) == 1


def test_a_search_ends_after_so_many_messages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MOST_SEARCHED", 3)
    monkeypatch.setattr(schedules, "_AT_ONCE", 2)
    desk.delay(*range(1000, 1008))
    page = desk.do(desk.schedules.listed("/", WantedDelayed(message_id="m-1007")))
    assert page.rows == []
    assert page.following is not None
    assert len(desk.do(desk.schedules.find("/", "m-1007"))) == 1


def test_what_is_cancelled_does_not_come_and_its_row_goes(desk: Desk) -> None:
    desk.delay(1000, 2000, 3000, 4000, 5000)
    ids = desk.ids()
    assert desk.do(desk.schedules.cancel("/", [ids[1], ids[3]])) == {
        ids[1]: ScheduleChange(CANCELLED),
        ids[3]: ScheduleChange(CANCELLED),
    }
    assert desk.waiting == 3
    assert desk.ids() == [ids[0], ids[2], ids[4]]
    for _ in range(5):
        desk.harness.pass_time(1.001)
        desk.harness.commit()
    assert desk.got() == [b"1000", b"3000", b"5000"]
    assert desk.waiting == 0


def test_what_is_moved_comes_at_its_new_time_and_as_it_was_sent(desk: Desk) -> None:
    desk.delay(1000, 2000, 3000)
    ids = desk.ids()
    changes = desk.do(desk.schedules.move("/", [ids[0]], NOW + 2500))
    assert changes[ids[0]].outcome == MOVED
    assert desk.ids() == [ids[1], changes[ids[0]].new_id, ids[2]]
    desk.harness.pass_time(2.2)
    desk.harness.commit()
    assert desk.got() == [b"2000"]
    desk.harness.pass_time(0.3)
    desk.harness.commit()
    assert desk.got() == [b"1000"]


def test_what_is_moved_to_a_time_that_is_over_comes_at_once(desk: Desk) -> None:
    desk.delay(1000, 2000, 3000)
    desk.do(desk.schedules.move("/", desk.ids()[1:2], 1))
    desk.harness.run()
    desk.harness.commit()
    assert desk.got() == [b"2000"]


def test_what_has_gone_on_is_not_cancelled(desk: Desk) -> None:
    desk.delay(1000)
    ids = desk.ids()
    desk.harness.pass_time(2)
    desk.harness.commit()
    assert desk.do(desk.schedules.cancel("/", ids)) == {ids[0]: ScheduleChange(GONE)}
    assert desk.got() == [b"1000"]


def test_what_is_on_its_way_is_not_cancelled(desk: Desk) -> None:
    desk.delay(1000)
    ids = desk.ids()
    desk.harness.gate.is_open = False  # the transaction that lets it go on waits for the store
    desk.harness.pass_time(2)
    assert desk.do(desk.schedules.cancel("/", ids)) == {ids[0]: ScheduleChange(FIRED)}
    desk.harness.gate.is_open = True
    desk.harness.run()
    desk.harness.commit()
    assert desk.got() == [b"1000"]


def test_what_is_being_cancelled_does_not_come(desk: Desk) -> None:
    desk.delay(1000, 9000)
    first = desk.ids()[0]
    desk.harness.gate.is_open = False
    done: list[Mapping[int, ScheduleChange]] = []

    async def cancel() -> None:
        done.append(await desk.schedules.cancel("/", [first]))

    desk.harness.stage.spawn(cancel())
    desk.harness.run()
    desk.harness.pass_time(2)
    assert desk.got() == []
    desk.harness.gate.is_open = True
    desk.harness.run()
    desk.harness.commit()
    assert done == [{first: ScheduleChange(CANCELLED)}]
    assert desk.got() == []


def test_another_node_is_asked_for_what_is_not_here(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Sequence[int], int]] = []

    async def elsewhere(vhost: str, ids: Sequence[int], due: int) -> Mapping[int, ScheduleChange]:
        asked.append((vhost, ids, due))
        return {7: ScheduleChange(CANCELLED)}

    monkeypatch.setattr(desk.schedules, "_elsewhere", elsewhere)
    desk.delay(1000)
    assert desk.do(desk.schedules.cancel("/", [7, 8])) == {7: ScheduleChange(CANCELLED), 8: ScheduleChange(GONE)}
    assert asked == [("/", [7, 8], 0)]


def test_what_is_stored_and_nobody_has_is_busy(desk: Desk) -> None:
    desk.delay(1000)
    ids = desk.ids()
    schedule = desk.harness.vhost.schedule
    assert schedule is not None
    schedule.withdraw(schedule.in_memory)  # as if it were on its way to another node
    schedule.dying.clear()
    assert desk.do(desk.schedules.cancel("/", ids)) == {ids[0]: ScheduleChange(BUSY)}


def test_what_cannot_be_asked_is_refused(desk: Desk) -> None:
    for work in (
        desk.schedules.listed("nope", ANY),
        desk.schedules.listed("/", ANY, limit=0),
        desk.schedules.cancel("/", range(2000)),
        desk.schedules.move("/", [1], 0),
    ):
        with pytest.raises(AdministrationError):
            work.send(None)


def test_what_is_overdue_because_its_queue_is_full_is_listed_with_what_is_due_now() -> None:
    desk = Desk()
    table = FieldTable.of({"x-max-length": 1, "x-overflow": "reject-publish"})
    desk.peer.call(1, QueueDeclare(queue="full", durable=True, arguments=table))
    desk.delay(1000, 1001, 600_000, key="full")
    desk.harness.pass_time(1.5)
    desk.harness.commit()
    now = desk.harness.clock.wall_ms()
    for until in (now, now - 900, now + 5000):
        rows = desk.do(desk.schedules.listed("/", WantedDelayed(until=until))).rows
        assert [(row["message_id"], row["queue"], row["overdue"]) for row in rows] == [("m-1001", "full", True)]
    assert desk.ids(until=now - 60_000) == []
    rows = desk.do(desk.schedules.listed("/", ANY)).rows
    assert [(row["message_id"], row["overdue"]) for row in rows] == [("m-1001", True), ("m-600000", False)]
    desk.peer.call(1, BasicGet(queue="full", no_ack=True))
    assert desk.ids(until=now) == []
