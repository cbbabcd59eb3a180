"""What a policy would do, before it is set: which queues and exchanges it would match, and what would be in force."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from broker.errors import AdministrationError
from broker.management.http.access import Needs, vhost_of
from broker.management.http.call import BadRequest, Call, NotAuthorised
from broker.management.http.forms import flag, required, whole_number
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.ports.records import PolicyKey
from broker.topology.missing_exchanges import policy_warnings
from broker.topology.policies import Effective, Policies
from broker.topology.policy_forms import policy_of

_MOST_SHOWN: Final = 100
"""Queues and exchanges that one answer shows; the others are counted."""
_STEPS: Final = 4


class _Compared:
    """What is in force for some things, and what would be."""

    def __init__(self, policy: str, *, is_operator: bool) -> None:
        self._policy = policy
        self._is_operator = is_operator
        self.matched = 0
        self.changed = 0
        self.rows: list[Mapping[str, Any]] = []

    def add(self, name: str, now: Effective, then: Effective) -> None:
        """Compare one queue or exchange. Those on which the policy has no effect, now or then, are not told."""
        is_matched = (then.operator_policy if self._is_operator else then.policy) == self._policy
        is_changed = dict(now.definition) != dict(then.definition)
        self.matched += is_matched
        self.changed += is_changed
        if (is_matched or is_changed) and len(self.rows) < _MOST_SHOWN:
            self.rows.append(
                {
                    "name": name,
                    "matched": is_matched,
                    "policy": then.policy,
                    "operator_policy": then.operator_policy,
                    "now": dict(now.definition),
                    "then": dict(then.definition),
                }
            )

    @property
    def told(self) -> Mapping[str, Any]:
        return {"matched": self.matched, "changed": self.changed, "items": self.rows}


async def preview(node: ManagedNode, call: Call) -> Any:
    """Say what a policy would do, or what without it would be if the body says `delete`. Nothing is changed."""
    vhost, given = vhost_of(node, call), await call.json_object()
    name, is_operator = str(required(given, "name")), flag(given, "is_operator")
    if is_operator and not call.caller.is_administrator:
        raise NotAuthorised("Not administrator user")
    planned, warnings = Policies(), list[str]()
    for record in vhost.policies.records:
        planned.put(record)
    if flag(given, "delete"):
        planned.drop(PolicyKey(vhost.name, name, is_operator))
    else:
        required(given, "pattern")
        required(given, "definition")
        if "priority" in given:
            given["priority"] = whole_number(given["priority"], "priority")
        record = policy_of(vhost.name, name, given, is_operator=is_operator)
        try:
            await node.administration.rehearsal().put_policy(record)
        except AdministrationError as error:
            raise BadRequest(f"Validation failed\n\n{error}\n") from error
        planned.put(record)
        warnings = policy_warnings(vhost, json.loads(record.definition))
    queues = _Compared(name, is_operator=is_operator)
    for _, queue in sorted(vhost.queues.items()):
        await node.in_turn(_STEPS)
        kind = queue.settings.type
        queues.add(queue.name, vhost.policies.of_queue(queue.name, kind), planned.of_queue(queue.name, kind))
    exchanges = _Compared(name, is_operator=is_operator)
    for _, exchange in sorted(vhost.exchanges.items()):
        await node.in_turn(_STEPS)
        exchanges.add(exchange.name, vhost.policies.of_exchange(exchange.name), planned.of_exchange(exchange.name))
    return {"queues": queues.told, "exchanges": exchanges.told, "warnings": warnings}


ROUTES = (
    ApiRoute(
        "POST",
        "/broker/policies/{vhost}/preview",
        Needs.POLICIES,
        preview,
        "Show what a policy would do, were it set",
        keys=("name", "is_operator", "delete", "pattern", "definition", "priority", "apply-to", "apply_to"),
    ),
)
