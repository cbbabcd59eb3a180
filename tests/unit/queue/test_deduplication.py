"""What arguments and policies say of de-duplication; tests/unit/amqp/test_channel_deduplication.py has its effect."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties
from broker.ports.keys import FOREVER
from broker.queue.deduplication import HEADERS, Deduplication, KeyRule, with_definition
from broker.queue.values import MAX_TIME

ON = {"x-message-deduplication": True}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"x-cache-size": 5, "x-cache-ttl": 5}, None),
        ({"x-message-deduplication": False, "x-dedup-window": 5}, None),
        (ON, Deduplication(None)),
        ({"x-dedup-window": 5}, Deduplication(5)),
        ({"x-dedup-window": 0}, None),
        ({"x-dedup-window": MAX_TIME + 1}, None),
        (ON | {"x-dedup-window": 5, "x-cache-ttl": 7}, Deduplication(5)),
        (ON | {"x-cache-ttl": 7, "x-cache-size": "9"}, Deduplication(7, 9)),
        ({"x-message-deduplication": 1}, None),
        ({"x-message-deduplication": -1, "x-dedup-window": 5}, Deduplication(5)),
        (ON | {"x-deduplication-header": "n" * 256}, Deduplication(None)),
        (ON | {"x-cache-size": 9}, Deduplication(FOREVER, 9)),
        (ON | {"x-cache-size": "many", "x-cache-ttl": True}, Deduplication(None)),
        (ON | {"x-deduplication-header": "id"}, Deduplication(None, names=("id",))),
        (ON | {"x-deduplication-property": "message_id"}, Deduplication(None, property="message_id")),
        (ON | {"x-deduplication-property": "priority"}, Deduplication(None)),
        (ON | {"x-deduplication-header": ""}, Deduplication(None, names=HEADERS)),
    ],
)
def test_what_a_queue_is_asked_for(values: dict[str, Any], expected: Deduplication | None) -> None:
    assert Deduplication.of(values) == expected


@pytest.mark.parametrize(
    ("exchange_type", "values", "expected"),
    [
        ("fanout", ON, None),
        ("fanout", ON | {"x-cache-size": 3}, Deduplication(FOREVER, 3, may_be_overridden=True)),
        ("x-message-deduplication", {"x-cache-size": 3}, Deduplication(FOREVER, 3, may_be_overridden=True)),
        ("x-message-deduplication", {"x-dedup-window": 9}, Deduplication(9, may_be_overridden=True)),
        ("x-message-deduplication", {}, None),
    ],
)
def test_what_an_exchange_is_asked_for(exchange_type: str, values: dict[str, Any], expected: Deduplication) -> None:
    assert Deduplication.of_exchange(exchange_type, values) == expected


def test_policies_win_under_both_names() -> None:
    found = with_definition({"x-cache-ttl": 1, "other": 2}, {"cache-ttl": 3, "x-cache-size": 4})
    assert found == {"x-cache-ttl": 3, "other": 2, "x-cache-size": 4}


def props(**headers: Any) -> BasicProperties:
    return BasicProperties(headers=FieldTable.of({name.replace("_", "-"): value for name, value in headers.items()}))


def test_the_first_header_that_is_there_has_the_key() -> None:
    both, one = props(x_deduplication_header="b", x_dedup_id="a"), props(x_dedup_id="a")
    found = [Deduplication(5).rule_for(7, each, is_strict=True) for each in (both, one)]
    assert found[0] == found[1]
    assert found[0] is not None
    assert Deduplication(5).rule_for(8, one, is_strict=True) != found[0]
    assert Deduplication(5).rule_for(7, props(x=1), is_strict=True) is None


def test_a_property_has_the_key_of_a_message_without_such_a_header() -> None:
    asked = Deduplication(5, property="message_id")
    assert asked.may_have_key(b"")
    named = BasicProperties(message_id="a", correlation_id="c")
    assert asked.rule_for(7, named, is_strict=True) == asked.rule_for(7, props(x_dedup_id="a"), is_strict=True)
    assert asked.rule_for(7, BasicProperties(message_id=""), is_strict=True) is None
    assert asked.rule_for(7, BasicProperties(), is_strict=True) is None
    of_call = Deduplication(5, property="correlation_id").rule_for(7, named, is_strict=True)
    assert of_call == asked.rule_for(7, props(x_dedup_id="c"), is_strict=True)


def test_a_table_is_no_key_where_nobody_can_be_told() -> None:
    rule = Deduplication(5).rule_for(
        7, props(x_dedup_id=FieldTable.of({}), x_deduplication_header="b"), is_strict=False
    )
    assert rule == Deduplication(5).rule_for(7, props(x_deduplication_header="b"), is_strict=True)


def test_a_window_begins_with_the_publish_and_ends_never_beyond_all_times() -> None:
    assert KeyRule(7, "d", 10).claim(1, 100).until == 110
    assert KeyRule(7, "d", None).claim(1, 100).until == 0
    assert KeyRule(7, "d", FOREVER).claim(1, 100).until == FOREVER


def test_only_headers_with_the_name_are_decoded() -> None:
    assert Deduplication(5).may_have_key(b"..x-dedup-id..")
    assert not Deduplication(5, names=("order",)).may_have_key(b"..x-dedup-id..")
