"""What keys of policies may hold, and whose value holds (contract A2 to A4)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.queue.policy_keys import KEYS, merged, with_policy, wrong_in
from broker.queue.settings import Overflow, QueueSettings, QueueType

CLASSIC, QUORUM = QueueType.CLASSIC, QueueType.QUORUM


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("message-ttl", -1, "-1 is not a valid message TTL"),
        ("message-ttl", True, "True is not a valid message TTL"),
        ("message-ttl", 1.5, "1.5 is not a valid message TTL"),
        ("expires", 0, "0 is not a valid queue expiry"),
        ("max-length", "x", "'x' is not a valid maximum length"),
        ("max-length-bytes", -1, "-1 is not a valid maximum length in bytes"),
        ("overflow", "x", "'x' is not a valid overflow value"),
        ("overflow", [], "[] is not a valid overflow value"),
        ("dead-letter-exchange", 1, "1 is not a valid dead letter exchange name"),
        ("alternate-exchange", "x" * 256, f"'{'x' * 256}' is not a valid alternate exchange name"),
        ("delivery-limit", -2, "-2 is not a valid delivery limit"),
        ("foo", 1, "'foo' is not a recognised policy setting"),
        (
            "federation-upstream",
            "all",
            "'federation-upstream' is not a recognised policy setting: there is no federation",
        ),
        ("deliver-at-header", "", "'' is not a valid header of delivery times: the name of a header, 1 to 255 octets"),
        ("dedup-window", "1d", "'1d' is not a valid deduplication window: a time in milliseconds, 1 to 315360000000"),
        ("max-rate", 0, "0 is not a valid maximum rate of deliveries: a number of messages per second, 0.000001"),
    ],
)
def test_what_a_key_may_not_hold_is_said(key: str, value: Any, reason: str) -> None:
    [wrong] = wrong_in({key: value}, of_operator=False)
    assert wrong.startswith(reason)


def test_a_policy_that_says_nothing_is_refused() -> None:
    assert list(wrong_in({}, of_operator=False)) == ["no policy provided"]


def test_an_operator_policy_may_hold_limits_only() -> None:
    allowed = dict.fromkeys(("message-ttl", "expires", "max-length", "max-length-bytes", "delivery-limit"), 20)
    assert list(wrong_in(allowed, of_operator=True)) == []
    [wrong] = wrong_in({"dead-letter-exchange": "x"}, of_operator=True)
    assert wrong == "'dead-letter-exchange' is not a recognised operator policy setting"


@pytest.mark.parametrize(
    ("key", "of_user", "of_operator", "result"),
    [
        ("max-length", 10, 5, 5),
        ("max-length", 5, 10, 5),
        ("message-ttl", None, 10, 10),
        ("message-ttl", 10, None, 10),
        ("delivery-limit", -1, 5, 5),
        ("delivery-limit", 5, -1, 5),
        ("overflow", "drop-head", "reject-publish", "reject-publish"),
    ],
)
def test_an_operator_policy_only_tightens(key: str, of_user: Any, of_operator: Any, result: Any) -> None:
    definition = {} if of_user is None else {key: of_user}
    operator = {} if of_operator is None else {key: of_operator}
    assert merged(definition, operator)[key] == result


@pytest.mark.parametrize(
    ("queue_type", "key", "policy", "argument", "result"),
    [
        (CLASSIC, "max-length", 5, 10, 5),
        (CLASSIC, "max-length", 10, 5, 5),
        (CLASSIC, "max-length", 5, "x", 5),
        (CLASSIC, "message-ttl", 0, 10, 0),
        (CLASSIC, "expires", 10, 5, 5),
        (QUORUM, "delivery-limit", 5, 10, 5),
        (QUORUM, "delivery-limit", -1, 10, 10),
        (QUORUM, "delivery-limit", 10, -1, 10),
        (CLASSIC, "dead-letter-exchange", "policy", "argument", "argument"),
        (CLASSIC, "dead-letter-routing-key", "policy", "argument", "argument"),
        (QUORUM, "dead-letter-strategy", "at-least-once", "at-most-once", "at-most-once"),
        (CLASSIC, "overflow", "reject-publish", "drop-head", "drop-head"),
        (QUORUM, "overflow", "reject-publish", "drop-head", "reject-publish"),
        (QUORUM, "delayed-retry-type", "all", "failed", "all"),
        (QUORUM, "delayed-retry-min", 20, 10, 10),
        (CLASSIC, "consumer-timeout", 20, 10, 10),
    ],
)
def test_policy_and_argument_are_told_apart(
    queue_type: QueueType, key: str, policy: Any, argument: Any, result: Any
) -> None:
    assert with_policy({f"x-{key}": argument}, {key: policy}, queue_type) == {f"x-{key}": result}
    assert with_policy({}, {key: policy}, queue_type) == {f"x-{key}": policy}


def test_a_key_without_effect_changes_nothing() -> None:
    definition = {"ha-mode": "all", "queue-mode": "lazy", "initial-cluster-size": 1, "unknown": 1}
    assert with_policy({"x-max-length": 1}, definition, CLASSIC) == {"x-max-length": 1}


def test_settings_come_from_arguments_and_policy_together() -> None:
    values = with_policy(
        {"x-dead-letter-exchange": "dead", "x-max-length": 9},
        {"dead-letter-routing-key": "key", "max-length": 3, "overflow": "reject-publish", "consumer-timeout": 7},
        CLASSIC,
    )
    assert QueueSettings.of_values(values, CLASSIC) == QueueSettings(
        dead_letter_exchange="dead",
        dead_letter_routing_key="key",
        max_length=3,
        overflow=Overflow.REJECT_PUBLISH,
        consumer_timeout=7,
    )


def test_a_policy_without_a_limit_takes_away_that_of_quorum_queues() -> None:
    values = with_policy({}, {"delivery-limit": -1}, QUORUM)
    assert QueueSettings.of_values(values, QUORUM).delivery_limit is None


def test_every_key_with_an_effect_is_a_setting() -> None:
    settings = QueueSettings.of_values({}, QUORUM)
    examples: dict[str, Any] = {
        "overflow": "reject-publish",
        "dead-letter-exchange": "x",
        "dead-letter-strategy": "at-least-once",
        "message-deduplication": True,
        "x-message-deduplication": True,
        "deduplication-header": "order",
        "deliver-at-header": "eta",
        "deduplication-property": "message_id",
        "max-age": "1D",
    }
    on = {"x-message-deduplication": True}
    companions = {
        "dead-letter-routing-key": {"x-dead-letter-exchange": "x"},
        "delayed-retry-type": {"x-delayed-retry-min": 1},
        "group-concurrency": {"x-message-groups": True},
        "delayed-retry-min": {"x-delayed-retry-type": "all"},
        **dict.fromkeys(("cache-size", "cache-ttl", "x-cache-size", "x-cache-ttl", "deduplication-header"), on),
        **dict.fromkeys(("deduplication-property",), on),
        "delayed-retry-max": {"x-delayed-retry-type": "all", "x-delayed-retry-min": 1},
    }
    for name, key in KEYS.items():
        if key.or_argument is None or name == "alternate-exchange":
            continue
        value = examples.get(name, {"delayed-retry-type": "all", "dead-letter-routing-key": "k"}.get(name, 3))
        queue_type = QUORUM if QUORUM in key.types or QueueType.CLASSIC in key.types else QueueType.STREAM
        before = QueueSettings.of_values(companions.get(name, {}), queue_type)
        after = QueueSettings.of_values(with_policy(companions.get(name, {}), {name: value}, queue_type), queue_type)
        assert after != before, name
        assert settings == QueueSettings.of_values({}, QUORUM)
