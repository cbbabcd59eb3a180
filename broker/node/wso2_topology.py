"""What of the queues, exchanges and bindings of WSO2's broker this broker has to make, and under which ids."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from broker.codec.field_table import FieldTable
from broker.errors import ConfigError
from broker.ports.names import DEAD_LETTER_CHANNEL
from broker.ports.records import (
    BindingRecord,
    Change,
    ExchangeRecord,
    Put,
    QueueRecord,
    Record,
    Topology,
    VirtualHostRecord,
)
from broker.queue.settings import QueueSettings
from broker.store.wso2.encoding import StoredExchange
from broker.store.wso2.survey import Definitions, is_subscription
from broker.topology.dialect import TOPICS, UNKNOWN_SELECTOR
from broker.topology.exchange import BUILT_IN
from broker.topology.first_start import DEFAULT_VHOSTS
from broker.topology.namespace import PREDECLARED
from broker.topology.queue_arguments import SUBSCRIPTION

VHOST: Final = "carbon"
"""The virtual host of WSO2's clients: its broker has no other."""
_ALWAYS: Final = frozenset(name for name, _, _ in PREDECLARED)
_UNKNOWN_SELECTOR: Final = FieldTable.of({UNKNOWN_SELECTOR: True}).raw
_IS_SUBSCRIPTION: Final = FieldTable.of({SUBSCRIPTION: True}).raw


@dataclass(slots=True)
class Plan:
    """What is to be recorded. `queue_ids` are those of the queues that messages move into, by name."""

    changes: list[Change] = field(default_factory=list)
    queue_ids: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """What cannot be made, and why."""

    def count(self, kind: type[Record]) -> int:
        """Return how many records of a kind are new."""
        return sum(isinstance(change, Put) and isinstance(change.record, kind) for change in self.changes)

    @property
    def subscriptions(self) -> int:
        """Return how many of the new queues are durable subscriptions."""
        records = [change.record for change in self.changes if isinstance(change, Put)]
        return sum(isinstance(each, QueueRecord) and each.arguments == _IS_SUBSCRIPTION for each in records)


def queue_names(known: Definitions, others: Collection[str], *, has_dead: bool) -> list[str]:
    """Return the names of the queues that have to be there. `others` have messages, and no definition."""
    names = [queue.name for queue in known.lasting]
    names += [name for name in others if name not in names]
    return names + [DEAD_LETTER_CHANNEL] * has_dead


def plan(there: Topology, known: Definitions, names: Collection[str], new_ids: Iterator[int]) -> Plan:
    """Return what has to be recorded so that all of `known` and queues with these names are there.

    What is there already stays as it is. Raises `ConfigError` for a queue that cannot take the messages.
    """
    made = Plan(left=list(known.unread))
    _virtual_hosts(made, there)
    _queues(made, there, known, names, new_ids)
    exchanges = _exchanges(made, there, known.own_routers)
    is_bound = {replace(each, arguments=b"") for each in there.of(BindingRecord)}
    subscriptions = known.subscriptions
    for each in known.bindings:
        binding = BindingRecord(VHOST, each.router, "queue", each.queue, each.key)
        if each.router in exchanges and each.router and each.queue in made.queue_ids and binding not in is_bound:
            is_topic = each.router == TOPICS and each.queue in subscriptions
            made.changes.append(Put(replace(binding, arguments=_UNKNOWN_SELECTOR if is_topic else b"")))
    return made


def _virtual_hosts(made: Plan, there: Topology) -> None:
    hosts = {each.name for each in there.of(VirtualHostRecord)}
    # A first start makes these, unless there is one.
    wanted = (VHOST,) if hosts else DEFAULT_VHOSTS
    made.changes += [Put(VirtualHostRecord(name)) for name in wanted if name not in hosts]


def _queues(made: Plan, there: Topology, known: Definitions, names: Collection[str], new_ids: Iterator[int]) -> None:
    current: Mapping[str, QueueRecord] = {each.name: each for each in there.of(QueueRecord) if each.vhost == VHOST}
    subscriptions = known.subscriptions
    for name in names:
        record = current.get(name)
        if record is None:
            is_one = name in subscriptions or is_subscription(name)
            record = QueueRecord(VHOST, name, next(new_ids), arguments=_IS_SUBSCRIPTION if is_one else b"")
            made.changes.append(Put(record))
        elif record.exclusive or not record.durable or QueueSettings.of(FieldTable(record.arguments)).max_priority:
            raise ConfigError(
                f"the queue '{name}' of virtual host '{VHOST}' is here already, and is exclusive, transient or one with"
                " priorities: delete or rename it"
            )
        made.queue_ids[name] = record.queue_id


def _exchanges(made: Plan, there: Topology, routers: Collection[StoredExchange]) -> set[str]:
    """Return the names of the exchanges that there will be."""
    current = {each.name for each in there.of(ExchangeRecord) if each.vhost == VHOST} | _ALWAYS
    for router in routers:
        if router.name in current:
            continue
        if router.type not in BUILT_IN:
            made.left.append(f"the exchange '{router.name}' of the type '{router.type}'")
            continue
        made.changes.append(Put(ExchangeRecord(VHOST, router.name, router.type, router.is_auto_delete)))
        current.add(router.name)
    return current
