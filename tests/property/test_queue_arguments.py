"""Whatever a client puts into the arguments of a queue: refused in words, or in effect as it says (contract Q16)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.codec.field_table import ByteArray, FieldTable, Int64, Timestamp
from broker.errors import PreconditionFailed
from broker.queue.settings import MAX_TIME, QueueSettings, QueueType
from broker.topology.queue_arguments import ARGUMENTS, check, without_effect

WORDS = ("classic", "quorum", "stream", "lazy", "drop-head", "reject-publish-dlx", "at-least-once", "all", "balanced")
EDGES = (-1, 0, 1, 2, 255, 256, MAX_TIME, MAX_TIME + 1)
VALUES = st.one_of(
    st.sampled_from(EDGES),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(-(1 << 63), (1 << 63) - 1).map(Int64),
    st.sampled_from(WORDS),
    st.text(max_size=300),
    st.binary(max_size=5),
    st.binary(max_size=5).map(ByteArray),
    st.booleans(),
    st.floats(),
    st.none(),
    st.just(Decimal("1.5")),
    st.just(Timestamp(5)),
    st.lists(st.booleans(), max_size=1),
    st.dictionaries(st.just("a"), st.booleans(), max_size=1),
)
TABLES = st.dictionaries(st.sampled_from([*ARGUMENTS, "x-mine"]), VALUES, max_size=6)


@given(TABLES, st.booleans())
def test_arguments_are_refused_or_do_what_they_say(values: dict[str, Any], as_rabbitmq: bool) -> None:
    arguments = FieldTable.of(values)
    settings = QueueSettings.of(arguments)
    try:
        check(arguments, QueueType.of(arguments), "queue 'q' in vhost '/'", as_rabbitmq=as_rabbitmq)
    except PreconditionFailed:
        return
    assert without_effect(arguments, QueueType.of(arguments)) == []
    in_effect = {
        "x-message-ttl": settings.message_ttl,
        "x-expires": settings.expires,
        "x-max-length": settings.max_length,
        "x-max-length-bytes": settings.max_length_bytes,
        "x-max-priority": settings.max_priority,
        "x-dead-letter-exchange": settings.dead_letter_exchange,
        "x-dead-letter-routing-key": settings.dead_letter_routing_key,
        "x-single-active-consumer": settings.single_active_consumer,
        "x-delivery-limit": settings.delivery_limit if settings.delivery_limit is not None else -1,
        "x-overflow": settings.overflow.value,
        "x-queue-type": settings.type.value,
    }
    for name in in_effect.keys() & values.keys():
        asked = max(values[name], -1) if name == "x-delivery-limit" else values[name]
        assert in_effect[name] == asked or (name == "x-queue-type" and asked in ("", "undefined"))


@given(TABLES)
def test_recorded_arguments_that_are_refused_today_have_no_effect(values: dict[str, Any]) -> None:
    arguments = FieldTable.of(values)
    wrong = {line.split("'")[1] for line in without_effect(arguments, QueueType.of(arguments))}
    rest = FieldTable.of({name: value for name, value in values.items() if name not in wrong})
    assert QueueSettings.of(arguments) == QueueSettings.of(rest)
