"""Which policy applies to which queue or exchange (contract A1, A2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.ports.records import PolicyKey, PolicyRecord
from broker.queue.settings import QueueType
from broker.topology.administration import to_json
from broker.topology.policies import NO_POLICY, Effective, Policies

CLASSIC, QUORUM = QueueType.CLASSIC, QueueType.QUORUM


def policy(name: str, definition: dict[str, Any], **fields: Any) -> PolicyRecord:
    return PolicyRecord("/", name, definition=to_json(definition), **fields)


def policies(*records: PolicyRecord) -> Policies:
    found = Policies()
    for record in records:
        assert found.put(record) == ""
    return found


SHORT = policy("short", {"max-length": 1}, pattern="^q", priority=2)
LONG = policy("long", {"max-length": 9}, priority=1)
OF_OPERATOR = policy("op", {"max-length": 5}, is_operator=True)


def test_without_policies_nothing_applies() -> None:
    assert Policies().of_queue("q", CLASSIC) is NO_POLICY
    assert Policies().of_exchange("x") is NO_POLICY
    assert not Policies()


def test_the_highest_priority_that_matches_holds_alone() -> None:
    both = policies(LONG, SHORT)
    assert both.of_queue("q", CLASSIC) == Effective("short", None, {"max-length": 1})
    assert both.of_queue("other", CLASSIC) == Effective("long", None, {"max-length": 9})


def test_of_equal_priorities_the_first_name_holds() -> None:
    same = policies(replace(SHORT, name="b"), replace(SHORT, name="a"))
    assert same.of_queue("q", CLASSIC).policy == "a"


def test_an_operator_policy_is_found_by_itself() -> None:
    found = policies(SHORT, LONG, OF_OPERATOR)
    assert found.of_queue("other", CLASSIC) == Effective("long", "op", {"max-length": 5})
    assert found.of_queue("q", CLASSIC) == Effective("short", "op", {"max-length": 1})


@pytest.mark.parametrize(
    ("apply_to", "classic", "quorum", "exchange"),
    [
        ("all", True, True, True),
        ("queues", True, True, False),
        ("classic_queues", True, False, False),
        ("quorum_queues", False, True, False),
        ("streams", False, False, False),
        ("exchanges", False, False, True),
    ],
)
def test_a_policy_applies_to_what_it_says(apply_to: str, classic: bool, quorum: bool, exchange: bool) -> None:
    found = policies(replace(LONG, apply_to=apply_to))
    assert (found.of_queue("q", CLASSIC).policy == "long") is classic
    assert (found.of_queue("q", QUORUM).policy == "long") is quorum
    assert (found.of_exchange("q").policy == "long") is exchange


def test_a_policy_with_a_key_of_other_queues_gives_way_to_the_next() -> None:
    """As RabbitMQ 3.10.8 does: p1 with a delivery limit is the quorum queue's, p2 the classic one's."""
    found = policies(
        policy("p1", {"delivery-limit": 5, "max-length": 10}, apply_to="queues"),
        policy("p2", {"max-length": 7}, apply_to="queues", priority=-1),
        policy("p3", {"queue-mode": "lazy", "alternate-exchange": "x"}, pattern=r"^(?!amq)", priority=-2),
    )
    assert found.of_queue("q", QUORUM).policy == "p1"
    assert found.of_queue("q", CLASSIC).policy == "p2"
    assert found.of_exchange("x").policy == found.of_exchange("").policy == "p3"
    assert found.of_exchange("amq.topic").policy is None
    for name in ("p1", "p2"):
        found.drop(PolicyKey("/", name))
    assert found.of_queue("q", QUORUM).policy is None
    assert found.of_queue("q", CLASSIC).policy == "p3"


def test_who_names_classic_queues_may_limit_their_deliveries() -> None:
    found = policies(policy("p", {"delivery-limit": 5}, apply_to="classic_queues"))
    assert found.of_queue("q", CLASSIC).definition == {"delivery-limit": 5}


def test_a_policy_is_replaced_and_dropped() -> None:
    found = policies(SHORT)
    found.put(replace(SHORT, pattern="^other"))
    assert found.of_queue("q", CLASSIC).policy is None
    found.drop(PolicyKey("/", "short", True))
    assert found.of_queue("other", CLASSIC).policy == "short"
    found.drop(PolicyKey("/", "short"))
    assert list(found.records) == []


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (replace(LONG, pattern="("), "missing ): ("),
        (replace(LONG, definition=b"[1]"), "its definition is no JSON object"),
        (replace(LONG, definition=b"{"), "Expecting property name enclosed in double quotes"),
    ],
)
def test_a_recorded_policy_that_makes_no_sense_has_no_effect(record: PolicyRecord, reason: str) -> None:
    found = policies(replace(SHORT, priority=0))
    assert found.put(record).startswith(reason)
    assert found.of_queue("q", CLASSIC).policy == "short"
    assert len(list(found.records)) == 2
