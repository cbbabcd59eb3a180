"""What the arguments of a queue ask for."""

from __future__ import annotations

import pytest

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.queue.settings import Overflow, QueueSettings, QueueType


def test_a_queue_without_arguments_has_no_single_active_consumer() -> None:
    assert not QueueSettings.of(EMPTY_TABLE).single_active_consumer


@pytest.mark.parametrize(("value", "is_single"), [(True, True), (False, False), (1, False)])
def test_only_true_asks_for_a_single_active_consumer(value: object, is_single: bool) -> None:
    arguments = FieldTable.of({"x-single-active-consumer": value})
    assert QueueSettings.of(arguments).single_active_consumer is is_single


def test_every_argument_becomes_a_setting() -> None:
    arguments = FieldTable.of(
        {
            "x-message-ttl": 0,
            "x-expires": 60_000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead",
            "x-dead-letter-strategy": "at-least-once",
            "x-max-length": 0,
            "x-max-length-bytes": 5_000_000_000,
            "x-overflow": "reject-publish-dlx",
            "x-max-priority": 10,
            "x-delivery-limit": 3,
        }
    )
    assert QueueSettings.of(arguments) == QueueSettings(
        message_ttl=0,
        expires=60_000,
        dead_letter_exchange="",
        dead_letter_routing_key="dead",
        is_dead_lettered_at_least_once=True,
        max_length=0,
        max_length_bytes=5_000_000_000,
        overflow=Overflow.REJECT_PUBLISH_DLX,
        max_priority=10,
        delivery_limit=3,
    )


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [
        ({}, False),
        ({"x-queue-type": "classic"}, False),
        ({"x-queue-type": "quorum"}, True),
        ({"x-queue-type": "quorum", "x-delivery-limit": -1}, True),
        ({"x-delivery-limit": 0}, True),
        ({"x-delivery-limit": -1}, False),
    ],
)
def test_queues_with_a_limit_and_quorum_queues_count_deliveries(arguments: dict[str, object], counts: bool) -> None:
    assert QueueSettings.of(FieldTable.of(arguments)).counts_deliveries is counts


@pytest.mark.parametrize("value", [-1, "10", True, 1.5, None])
def test_what_is_no_number_sets_no_limit(value: object) -> None:
    names = ("x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-delivery-limit", "x-max-priority")
    assert QueueSettings.of(FieldTable.of(dict.fromkeys(names, value))) == QueueSettings()


def test_a_lease_of_no_time_is_none() -> None:
    assert QueueSettings.of(FieldTable.of({"x-expires": 0})) == QueueSettings()


@pytest.mark.parametrize("value", ["drop-tail", 1, None])
def test_an_unknown_overflow_drops_the_head(value: object) -> None:
    assert QueueSettings.of(FieldTable.of({"x-overflow": value})).overflow is Overflow.DROP_HEAD


@pytest.mark.parametrize(
    ("name", "too_large"),
    [("x-message-ttl", 315_360_000_001), ("x-expires", 315_360_000_001), ("x-max-priority", 256)],
)
def test_what_is_too_large_has_no_effect(name: str, too_large: int) -> None:
    assert QueueSettings.of(FieldTable.of({name: too_large})) == QueueSettings()


@pytest.mark.parametrize("value", ["classic", "", 1, None])
def test_every_queue_of_no_other_type_is_a_classic_one(value: object) -> None:
    assert QueueSettings.of(FieldTable.of({"x-queue-type": value})) == QueueSettings(type=QueueType.CLASSIC)


@pytest.mark.parametrize(("limit", "times"), [(None, 20), ("5", 20), (0, 0), (5, 5), (-1, None)])
def test_a_quorum_queue_has_a_delivery_limit_unless_it_is_below_zero(limit: object, times: int | None) -> None:
    settings = QueueSettings.of(FieldTable.of({"x-queue-type": "quorum", "x-delivery-limit": limit}))
    assert settings == QueueSettings(delivery_limit=times, type=QueueType.QUORUM)


def test_the_priorities_of_a_quorum_queue_are_not_those_of_the_argument() -> None:
    assert QueueSettings.of(FieldTable.of({"x-queue-type": "quorum", "x-max-priority": 9})).max_priority == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-dead-letter-routing-key": "k"},
        {"x-dead-letter-exchange": b"\xff", "x-dead-letter-routing-key": "k"},
        {"x-dead-letter-exchange": "ä" * 128},
    ],
)
def test_without_a_dead_letter_exchange_that_can_be_there_is_none(arguments: dict[str, object]) -> None:
    assert QueueSettings.of(FieldTable.of(arguments)) == QueueSettings()


@pytest.mark.parametrize(
    ("settings", "refuses"),
    [
        (QueueSettings(max_length=1), False),
        (QueueSettings(overflow=Overflow.REJECT_PUBLISH), False),
        (QueueSettings(max_length=1, overflow=Overflow.REJECT_PUBLISH), True),
        (QueueSettings(max_length_bytes=1, overflow=Overflow.REJECT_PUBLISH_DLX), True),
    ],
)
def test_only_a_queue_with_a_length_refuses(settings: QueueSettings, refuses: bool) -> None:
    assert settings.refuses_publishers is refuses
