"""The policies of a virtual host: which one applies to a queue or an exchange, and what it says (contract A1, A2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.auth.pattern import Matches, PatternError, matcher
from broker.ports.records import PolicyKey, PolicyRecord
from broker.queue.policy_keys import KEYS, merged
from broker.queue.settings import QueueType

QUEUES: Final = "queues"
EXCHANGES: Final = "exchanges"
_OF_TYPE: Final[Mapping[str, QueueType]] = {
    "classic_queues": QueueType.CLASSIC,
    "quorum_queues": QueueType.QUORUM,
    "streams": QueueType.STREAM,
}
APPLY_TO: Final = ("all", QUEUES, EXCHANGES, *_OF_TYPE)
"""What a policy may apply to."""


@dataclass(frozen=True, slots=True)
class Effective:
    """What policies say about one queue or exchange: names of the policy and of the operator policy, if there are any,
    and the definitions of both together.
    """

    policy: str | None = None
    operator_policy: str | None = None
    definition: Mapping[str, Any] = field(default_factory=dict)


NO_POLICY: Final = Effective()


class Policy:
    """A policy as it is recorded, ready to be applied."""

    __slots__ = ("_matches", "_types", "definition", "record")

    def __init__(self, record: PolicyRecord) -> None:
        """Raises `ValueError` for what cannot be applied."""
        self.record = record
        definition = json.loads(record.definition)
        if not isinstance(definition, dict):
            raise ValueError("its definition is no JSON object")
        self.definition: Mapping[str, Any] = definition
        self._matches: Matches = matcher(record.pattern)
        self._types = frozenset(each for each in QueueType if self._is_for(each))

    def _is_for(self, queue_type: QueueType) -> bool:
        """Does the policy apply to queues of this type?

        It does not if it has a key that is not for them, as in RabbitMQ; unless it says that it is for just them.
        """
        apply_to = self.record.apply_to
        if apply_to in _OF_TYPE:
            return _OF_TYPE[apply_to] is queue_type
        known = (KEYS[name] for name in self.definition if name in KEYS)
        return apply_to != EXCHANGES and all(queue_type in key.types for key in known)

    def applies_to_queue(self, name: str, queue_type: QueueType) -> bool:
        return queue_type in self._types and self._matches(name)

    def applies_to_exchange(self, name: str) -> bool:
        return self.record.apply_to in ("all", EXCHANGES) and self._matches(name)


class Policies:
    """Of those that apply, the policy of the highest priority holds, and of several the first one by name."""

    def __init__(self) -> None:
        self._by_key: dict[PolicyKey, PolicyRecord] = {}
        self._of_users: list[Policy] = []
        self._of_operators: list[Policy] = []
        self._together: dict[tuple[Policy | None, Policy | None], Effective] = {}

    def __bool__(self) -> bool:
        return bool(self._by_key)

    @property
    def records(self) -> Iterable[PolicyRecord]:
        """Every policy and operator policy."""
        return self._by_key.values()

    def put(self, record: PolicyRecord) -> str:
        """Add a policy, or replace it; return why it cannot be applied, or an empty text."""
        self._by_key[PolicyKey(record.vhost, record.name, record.is_operator)] = record
        return self._sort(record)

    def drop(self, key: PolicyKey) -> None:
        """Remove a policy, if it is there."""
        self._by_key.pop(key, None)
        self._sort(None)

    def _sort(self, changed: PolicyRecord | None) -> str:
        wrong = ""
        found: dict[bool, list[Policy]] = {False: [], True: []}
        for record in sorted(self._by_key.values(), key=lambda each: (-each.priority, each.name)):
            try:
                found[record.is_operator].append(Policy(record))
            except (PatternError, ValueError) as error:
                wrong = str(error) if record is changed else wrong
        self._of_users, self._of_operators = found[False], found[True]
        self._together.clear()
        return wrong

    def of_queue(self, name: str, queue_type: QueueType) -> Effective:
        """Return what applies to a queue."""
        if not self._by_key:
            return NO_POLICY
        of_user = next((each for each in self._of_users if each.applies_to_queue(name, queue_type)), None)
        of_operator = next((each for each in self._of_operators if each.applies_to_queue(name, queue_type)), None)
        return self._both(of_user, of_operator)

    def of_exchange(self, name: str) -> Effective:
        """Return what applies to an exchange."""
        if not self._by_key:
            return NO_POLICY
        of_user = next((each for each in self._of_users if each.applies_to_exchange(name)), None)
        of_operator = next((each for each in self._of_operators if each.applies_to_exchange(name)), None)
        return self._both(of_user, of_operator)

    def _both(self, of_user: Policy | None, of_operator: Policy | None) -> Effective:
        pair = (of_user, of_operator)
        effective = self._together.get(pair)
        if effective is None:
            effective = self._together[pair] = Effective(
                None if of_user is None else of_user.record.name,
                None if of_operator is None else of_operator.record.name,
                merged(
                    {} if of_user is None else of_user.definition,
                    {} if of_operator is None else of_operator.definition,
                ),
            )
        return effective
