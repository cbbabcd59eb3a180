"""Policies, and what they make of queues, as values of JSON in RabbitMQ's form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from broker.errors import AdministrationError
from broker.ports.records import PolicyRecord
from broker.queue.queue import Queue
from broker.topology.administration import to_json
from broker.topology.vhost import VirtualHost

OPERATOR_POLICY: Final = "operator_policy"
"""The component as whose parameters definitions hold operator policies."""


def policy_of(vhost: str, name: str, given: Mapping[str, Any], *, is_operator: bool) -> PolicyRecord:
    """Return the policy that `given` describes. Raises `AdministrationError`."""
    pattern, priority = given.get("pattern"), given.get("priority", 0)
    apply_to = given.get("apply-to", given.get("apply_to", "all"))
    if not isinstance(pattern, str):
        raise AdministrationError("a policy has a 'pattern', which is a text")
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise AdministrationError("the 'priority' of a policy is a whole number")
    if not isinstance(apply_to, str):
        raise AdministrationError("'apply-to' of a policy is a text")
    definition = given.get("definition")
    if not isinstance(definition, Mapping):
        raise AdministrationError("a policy has a 'definition', which is a JSON object")
    return PolicyRecord(vhost, name, is_operator, pattern, apply_to, priority, to_json(dict(definition)))


def told_policy(record: PolicyRecord) -> dict[str, Any]:
    """Return what a policy says."""
    return {
        "vhost": record.vhost,
        "name": record.name,
        "pattern": record.pattern,
        "apply-to": record.apply_to,
        "definition": json.loads(record.definition),
        "priority": record.priority,
    }


def told_operator_policy(record: PolicyRecord) -> dict[str, Any]:
    """Return an operator policy as the parameter as which definitions hold it."""
    told = told_policy(record)
    vhost, name = told.pop("vhost"), told.pop("name")
    return {"vhost": vhost, "component": OPERATOR_POLICY, "name": name, "value": told}


def told_queue(vhost: VirtualHost, queue: Queue) -> dict[str, Any]:
    """Return a queue with the policies that apply to it, and what these say together."""
    effective = vhost.policies.of_queue(queue.name, queue.settings.type)
    return {
        "vhost": vhost.name,
        "name": queue.name,
        "type": queue.settings.type.value,
        "durable": queue.durable,
        "messages_ready": queue.message_count,
        "consumers": queue.consumer_count,
        "policy": effective.policy,
        "operator_policy": effective.operator_policy,
        "effective_policy_definition": dict(effective.definition),
    }
