"""Which keys of de-duplicating exchanges a message needs on its way to each of its queues (ADR 66).

A message that reaches a queue around such an exchange, too, needs no key of it there.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from broker.codec.properties import BasicProperties
from broker.ports.keys import exchange_scope
from broker.queue.deduplication import KeyRule
from broker.queue.queue import Queue
from broker.topology.exchange import Exchange

Rules: TypeAlias = tuple[KeyRule, ...]

NO_RULES: Final[Rules] = ()


class Guards:
    """The keys of one message, as far as the search for its queues has come."""

    __slots__ = ("_is_strict", "_on_the_way", "_properties", "_vhost", "rules")

    def __init__(self, vhost: str, properties: BasicProperties, *, is_strict: bool) -> None:
        """If it `is_strict`, `at` raises `PreconditionFailed` for a key that is none."""
        self._is_strict = is_strict
        self._vhost = vhost
        self._properties = properties
        self._on_the_way: dict[str, Rules] = {}
        """What it takes to come to an exchange that is still to be asked."""
        self.rules: dict[Queue, Rules] = {}
        """What it takes to come into a queue; queues that take nothing are left out."""

    def at(self, exchange: Exchange) -> Rules:
        """Return what it takes to come through an exchange."""
        rules = self._on_the_way.get(exchange.name, ())
        if exchange.deduplication is not None:
            scope = exchange_scope(self._vhost, exchange.name)
            rule = exchange.deduplication.rule_for(scope, self._properties, is_strict=self._is_strict)
            if rule is not None:
                return (*rules, rule)
        return rules

    def on_queue(self, queue: Queue, rules: Rules, *, is_new: bool) -> None:
        """A way to a queue takes these keys."""
        if not rules:
            self.rules.pop(queue, None)
        elif is_new:
            self.rules[queue] = rules

    def on_exchange(self, name: str, rules: Rules, *, is_new: bool) -> bool:
        """A way to an exchange takes these keys; return whether it is to be asked after all those that take none."""
        if not rules:
            self._on_the_way.pop(name, None)
        elif is_new:
            self._on_the_way[name] = rules
        return bool(rules)
