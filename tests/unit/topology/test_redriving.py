"""Redrives: messages move back to where they died, by selector, with a limit and a rate, and can be taken back."""

from __future__ import annotations

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicConsume, BasicGet, BasicReject, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.errors import AdministrationError
from broker.topology.redriving import Redrive, RedriveWish
from tests.support.harness import Client, Harness
from tests.support.stage import drive


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def peer(harness: Harness) -> Client:
    """A client whose queue `work` sends its dead letters to `dead`."""
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="dead", durable=True))
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    peer.send(1, QueueDeclare(queue="work", durable=True, arguments=FieldTable.of(arguments)))
    peer.received()
    return peer


def die(harness: Harness, peer: Client, count: int, **headers: object) -> None:
    """Let so many messages die in `work`."""
    peer.send(1, BasicConsume(queue="work", consumer_tag="c"))
    for number in range(count):
        table = FieldTable.of({"number": number, **headers})
        peer.publish("work", b"%d" % number, properties=BasicProperties(delivery_mode=2, headers=table))
    for content in peer.contents():
        peer.send(1, BasicReject(content.method.delivery_tag, requeue=False))  # type: ignore[attr-defined]
    harness.commit()
    peer.lose()
    harness.commit()


def ready(harness: Harness) -> tuple[int, int]:
    return harness.vhost.queues["dead"].ready_count, harness.vhost.queues["work"].ready_count


def wish(**what: object) -> RedriveWish:
    return RedriveWish("/", **{"queue": "dead", **what})  # type: ignore[arg-type]


def redrive(harness: Harness, **what: object) -> Redrive:
    operation = harness.parts.redrives.start(wish(**what))
    harness.run()
    harness.commit()
    return operation


def test_dead_letters_go_back_to_where_they_died(harness: Harness, peer: Client) -> None:
    die(harness, peer, 5)
    assert ready(harness) == (5, 0)
    operation = redrive(harness)
    assert (operation.state, operation.moved.count, operation.moved.stay) == ("done", 5, 0)
    assert ready(harness) == (0, 5)
    reader = harness.peer()
    reader.send(1, BasicGet(queue="work", no_ack=True))
    assert reader.bodies() == [b"0"]


def test_a_selector_and_a_limit_say_which(harness: Harness, peer: Client) -> None:
    die(harness, peer, 10)
    assert drive(harness.parts.redrives.forecast(wish(where="number > 3"))).count == 6
    operation = redrive(harness, where="number > 3", limit=4)
    assert operation.moved.count == 4
    assert ready(harness) == (6, 4)


def test_a_dry_run_moves_nothing(harness: Harness, peer: Client) -> None:
    die(harness, peer, 3)
    assert drive(harness.parts.redrives.forecast(wish(limit=2))).count == 2
    assert ready(harness) == (3, 0)


def test_a_rate_moves_a_tenth_of_it_at_once(harness: Harness, peer: Client) -> None:
    die(harness, peer, 5)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    harness.parts.redrives._pause = pause
    operation = redrive(harness, rate=20.0)
    assert (operation.state, operation.moved.count) == ("done", 5)
    assert pauses == [0.1, 0.1, 0.05]


def test_an_operation_is_taken_back_as_far_as_messages_are_still_ready(harness: Harness, peer: Client) -> None:
    die(harness, peer, 3)
    operation = redrive(harness)
    reader = harness.peer()
    reader.send(1, BasicGet(queue="work", no_ack=True))
    harness.commit()
    harness.parts.redrives.undo(operation.number)
    harness.run()
    harness.commit()
    assert operation.state == "undone"
    assert operation.restored is not None
    assert (operation.restored.count, operation.restored.stay) == (2, 1)
    assert ready(harness) == (2, 0)
    with pytest.raises(AdministrationError, match=f"operation {operation.number} is undone"):
        harness.parts.redrives.undo(operation.number)


def test_messages_of_any_queue_move_to_another(harness: Harness, peer: Client) -> None:
    peer.publish("work", b"1", b"2")
    operation = redrive(harness, queue="work", target="dead")
    assert operation.moved.count == 2
    assert ready(harness) == (2, 0)


def test_what_has_not_died_stays_without_a_target(harness: Harness, peer: Client) -> None:
    peer.publish("work", b"1")
    operation = redrive(harness, queue="work")
    assert (operation.moved.count, operation.moved.stay) == (0, 1)
    assert list(operation.moved.reasons.values()) == ["it does not say in which queue it died"]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"queue": "nope"}, "no queue 'nope' in vhost '/'"),
        ({"target": "nope"}, "no queue 'nope' in vhost '/'"),
        ({"where": "number >"}, "'where' is no selector"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(
    harness: Harness, peer: Client, what: dict[str, object], text: str
) -> None:
    with pytest.raises(AdministrationError, match=text):
        harness.parts.redrives.start(wish(**what))


def test_old_operations_are_forgotten(harness: Harness, peer: Client) -> None:
    for _ in range(21):
        redrive(harness)
    with pytest.raises(AdministrationError, match="remembers no operation 1"):
        harness.parts.redrives.operation(1)


def test_what_is_moved_is_stored_whatever_its_delivery_mode(harness: Harness, peer: Client) -> None:
    peer.publish("dead", b"transient", properties=BasicProperties(delivery_mode=1))
    harness.commit()
    assert harness.store.state.rows == {}
    operation = redrive(harness, target="work")
    assert (operation.moved.count, len(harness.store.state.rows)) == (1, 1)
    harness.parts.redrives.undo(operation.number)
    harness.run()
    harness.commit()
    assert (ready(harness), len(harness.store.state.rows)) == ((1, 0), 1)
    peer.send(1, BasicGet(queue="dead", no_ack=True))
    assert [content.properties.delivery_mode for content in peer.contents()] == [1]
    harness.commit()
    assert harness.store.state.rows == {}
