"""Policies as values of JSON, in RabbitMQ's form."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import AdministrationError
from broker.ports.records import PolicyRecord
from broker.topology.policy_forms import policy_of, told_operator_policy, told_policy

GIVEN: dict[str, Any] = {"pattern": "^q", "definition": {"max-length": 1}, "priority": 3, "apply-to": "queues"}
RECORD = PolicyRecord("/", "p", False, "^q", "queues", 3, b'{"max-length":1}')


def test_a_policy_is_read_and_told_alike() -> None:
    assert policy_of("/", "p", GIVEN, is_operator=False) == RECORD
    assert told_policy(RECORD) == {"vhost": "/", "name": "p", **GIVEN}


def test_an_operator_policy_is_told_as_a_parameter() -> None:
    assert told_operator_policy(RECORD) == {"vhost": "/", "component": "operator_policy", "name": "p", "value": GIVEN}


def test_what_is_not_given_has_rabbitmqs_default() -> None:
    found = policy_of("/", "p", {"pattern": "", "definition": {}}, is_operator=True)
    assert found == PolicyRecord("/", "p", True, "", "all", 0, b"{}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pattern": None}, "a policy has a 'pattern', which is a text"),
        ({"priority": "1"}, "the 'priority' of a policy is a whole number"),
        ({"priority": True}, "the 'priority' of a policy is a whole number"),
        ({"apply-to": 1}, "'apply-to' of a policy is a text"),
        ({"definition": []}, "a policy has a 'definition', which is a JSON object"),
    ],
)
def test_what_cannot_be_read_is_said(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(AdministrationError, match=f"^{reason}$"):
        policy_of("/", "p", {**GIVEN, **change}, is_operator=False)
