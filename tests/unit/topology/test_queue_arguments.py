"""What the arguments of queue.declare may hold: contract Q16, F12. The texts are RabbitMQ's."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable, Int64
from broker.errors import PreconditionFailed
from broker.queue.settings import QueueType
from broker.topology.queue_arguments import ARGUMENTS, check, compared, without_effect

CLASSIC, QUORUM = QueueType.CLASSIC, QueueType.QUORUM
WHAT = "queue 'q' in vhost '/'"
TIMES = ("x-message-ttl", "x-expires", "x-delayed-retry-min", "x-delayed-retry-max")
NUMBERS = (
    *TIMES,
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-queue-version",
    "x-consumer-timeout",
    "x-consumer-disconnected-timeout",
)


def refusal(arguments: dict[str, Any], queue_type: QueueType = CLASSIC, *, as_rabbitmq: bool = False) -> str:
    """Return the text that refuses these arguments, without what all have in common; "" if they are fine."""
    try:
        check(FieldTable.of(arguments), queue_type, WHAT, as_rabbitmq=as_rabbitmq)
    except PreconditionFailed as error:
        return str(error).removeprefix("invalid arg ").replace(f" for {WHAT}", "")
    return ""


def test_good_arguments_are_accepted() -> None:
    arguments = {
        "x-expires": Int64(1),
        "x-message-ttl": 315_360_000_000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
        "x-dead-letter-strategy": "at-most-once",
        "x-max-length": 0,
        "x-max-length-bytes": 5_000_000_000,
        "x-max-priority": 255,
        "x-overflow": "reject-publish-dlx",
        "x-queue-mode": "lazy",
        "x-queue-version": 2,
        "x-single-active-consumer": False,
        "x-consumer-timeout": 0,
        "x-queue-type": "classic",
        "x-queue-master-locator": "min-masters",
        "x-queue-leader-locator": "balanced",
        "x-delivery-limit": -1,
        "x-delayed-retry-type": "all",
        "x-delayed-retry-min": 1000,
        "x-delayed-retry-max": 1000,
        "x-mine": [{"a": 1}],
    }
    assert refusal(arguments) == ""


def test_a_quorum_queue_has_arguments_of_its_own() -> None:
    arguments = {
        "x-queue-type": "quorum",
        "x-quorum-initial-group-size": 3,
        "x-max-in-memory-length": 0,
        "x-max-in-memory-bytes": 0,
        "x-delivery-limit": 5,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    assert refusal(arguments, QUORUM) == ""


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_below_zero_is_refused(name: str) -> None:
    assert refusal({name: -1}) == f"'{name}': {{value_negative,-1}}"


@pytest.mark.parametrize("name", [*NUMBERS, "x-delivery-limit"])
@pytest.mark.parametrize(("value", "kind"), [("10", "longstr"), (True, "bool"), (1.0, "double"), (None, "void")])
def test_a_number_is_an_integer(name: str, value: object, kind: str) -> None:
    assert refusal({name: value}) == f"'{name}': \"expected integer, got {kind}\""


@pytest.mark.parametrize("name", TIMES)
def test_a_time_is_at_most_ten_years(name: str) -> None:
    assert refusal({name: 315_360_000_001}) == f"'{name}': {{value_too_large,315360000001}}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-expires": 0}, "'x-expires': {value_zero,0}"),
        ({"x-max-priority": 256}, "'x-max-priority': {max_value_exceeded,256}"),
        ({"x-overflow": "drop-tail"}, "'x-overflow': invalid_overflow"),
        ({"x-overflow": 1}, "'x-overflow': {unacceptable_type,signedint}"),
        ({"x-dead-letter-routing-key": "k"}, "'x-dead-letter-routing-key': routing_key_but_no_dlx_defined"),
        (
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": 1},
            "'x-dead-letter-routing-key': {unacceptable_type,signedint}",
        ),
        ({"x-dead-letter-strategy": "exactly-once"}, "'x-dead-letter-strategy': invalid_dlx_strategy"),
        ({"x-single-active-consumer": 1}, "'x-single-active-consumer': {unacceptable_type,signedint}"),
        ({"x-queue-mode": "eager"}, "'x-queue-mode': \"unsupported queue mode 'eager'\""),
        ({"x-queue-version": 3}, "'x-queue-version': \"unsupported queue version '3'\""),
        ({"x-queue-leader-locator": "mine"}, "'x-queue-leader-locator': invalid_queue_locator_arg"),
        ({"x-queue-type": "mirrored"}, "'x-queue-type': \"unsupported queue type 'mirrored'\""),
        ({"x-queue-type": 1}, "'x-queue-type': {unacceptable_type,signedint}"),
        ({"x-delayed-retry-type": "some"}, "'x-delayed-retry-type': invalid_delayed_retry_type"),
        ({"x-delayed-retry-type": "all"}, "'x-delayed-retry-type': delayed_retry_type_but_no_min_defined"),
        (
            {"x-delayed-retry-min": 2, "x-delayed-retry-max": 1},
            "'x-delayed-retry-max': {less_than_delayed_retry_min,1}",
        ),
        ({"x-expires": 0, "x-queue-type": "nil"}, "'x-queue-type': \"unsupported queue type 'nil'\""),
    ],
)
def test_a_bad_argument_is_told_in_the_words_of_rabbitmq(arguments: dict[str, Any], text: str) -> None:
    assert refusal(arguments) == text


@pytest.mark.parametrize("name", ["x-dead-letter-exchange", "x-dead-letter-routing-key"])
@pytest.mark.parametrize(
    ("value", "term"), [(b"\xff", "{unacceptable_type,binary}"), ("ä" * 128, "{value_too_long,256}")]
)
def test_where_dead_letters_go_is_a_name_in_utf_8_that_fits_into_a_frame(name: str, value: object, term: str) -> None:
    assert refusal({"x-dead-letter-exchange": "", name: value}) == f"'{name}': {term}"


def test_the_dead_letter_exchange_is_a_name() -> None:
    with pytest.raises(PreconditionFailed) as caught:
        check(FieldTable.of({"x-dead-letter-exchange": 1}), CLASSIC, WHAT)
    assert str(caught.value) == f"invalid type 'signedint' for arg 'x-dead-letter-exchange' in {WHAT}"


@pytest.mark.parametrize(
    ("queue_type", "name"),
    [
        (CLASSIC, "x-quorum-initial-group-size"),
        (CLASSIC, "x-max-in-memory-length"),
        (CLASSIC, "x-max-age"),
        (CLASSIC, "x-stream-max-segment-size-bytes"),
        (QUORUM, "x-max-priority"),
        (QUORUM, "x-queue-mode"),
        (QUORUM, "x-queue-version"),
        (QUORUM, "x-queue-master-locator"),
        (QUORUM, "x-initial-cluster-size"),
    ],
)
def test_an_argument_of_another_type_is_refused(queue_type: QueueType, name: str) -> None:
    assert refusal({name: 1}, queue_type) == f"'{name}' of queue type rabbit_{queue_type.value}_queue"


def test_a_wrong_value_is_told_before_an_argument_of_another_type() -> None:
    assert refusal({"x-max-age": "1D", "x-overflow": ""}) == "'x-overflow': invalid_overflow"


def test_of_several_arguments_of_other_types_the_first_is_told() -> None:
    assert refusal({"x-max-in-memory-length": 1, "x-max-age": "1D"}).startswith("'x-max-in-memory-length'")
    assert refusal({"x-max-age": "1D", "x-max-in-memory-length": 1}).startswith("'x-max-age'")


SERVED = [name for name, argument in ARGUMENTS.items() if argument.is_served_everywhere]


@pytest.mark.parametrize("name", SERVED)
def test_what_works_for_every_queue_here_may_be_refused_as_rabbitmq_does(name: str) -> None:
    text = f"'{name}' of queue type rabbit_classic_queue"
    assert refusal({name: 1}, CLASSIC, as_rabbitmq=True) == text
    assert refusal({name: 1}, CLASSIC) != text


def test_declarations_agree_in_the_arguments_of_their_type() -> None:
    assert {"x-max-priority", "x-queue-mode", "x-delivery-limit"} <= set(compared(CLASSIC))
    assert {"x-max-priority", "x-queue-mode"}.isdisjoint(compared(QUORUM))


def test_what_is_wrong_with_recorded_arguments_is_all_told() -> None:
    arguments = FieldTable.of({"x-expires": 0, "x-max-length": "1", "x-max-age": "1D", "x-mine": 1})
    assert without_effect(arguments, CLASSIC) == [
        "'x-expires': {value_zero,0}",
        "'x-max-length': \"expected integer, got longstr\"",
        "'x-max-age' of queue type rabbit_classic_queue",
    ]
