"""What is recorded, in memory, and what each change does to it.

Knows kinds of records and what they have in common; knows no message but which queues lose theirs.
"""

from __future__ import annotations

from typing import Any

from broker.ports.keys import exchange_scope
from broker.ports.kinds import KINDS, Kind, Kinds
from broker.ports.records import Change, Drop, ExchangeKey, Put, QueueKey, QueueRecord, Record, Topology


class Records:
    """All that is recorded: by kind, and by the fields that no two records share."""

    __slots__ = ("_kinds", "_records")

    def __init__(self, kinds: Kinds = KINDS) -> None:
        self._kinds = kinds
        self._records: dict[type[Any], dict[tuple[Any, ...], Record]] = {kind.record: {} for kind in kinds}

    def copy(self) -> Records:
        copied = Records(self._kinds)
        copied._records = {record_class: dict(records) for record_class, records in self._records.items()}
        return copied

    def topology(self) -> Topology:
        return Topology(record for records in self._records.values() for record in records.values())

    def has_queue(self, queue_id: int) -> bool:
        """Is there a queue with this id?"""
        queues = self._records.get(QueueRecord, {}).values()
        return any(isinstance(record, QueueRecord) and record.queue_id == queue_id for record in queues)

    def record(self, change: Change) -> list[int]:
        """Do `change` and return the ids of the queues whose messages go with it, and the scopes of exchanges."""
        kind = self._kinds.of(change)
        if isinstance(change, Put):
            records, unique = self._records[kind.record], kind.unique_of(change.record)
            known = records.get(unique)
            is_same = known is not None and kind.key_of(known) == kind.key_of(change.record)
            if known is None or (kind.is_replaced and is_same):
                records[unique] = change.record
            return []
        return self._drop(kind, change.key)

    def delete_mortal(self) -> list[int]:
        """Delete what lives no longer than the nodes that know it; return its queues' ids and exchanges' scopes."""
        doomed = [
            Drop(kind.key_of(record))
            for kind in self._kinds
            for record in self._records[kind.record].values()
            if kind.is_mortal(record)
        ]
        return [queue_id for drop in doomed for queue_id in self.record(drop)]

    def _drop(self, kind: Kind, key: Any) -> list[int]:
        gone = [key.queue_id] if isinstance(key, QueueKey) else []
        if isinstance(key, ExchangeKey):
            gone = [exchange_scope(key.vhost, key.name)]
        records, unique = self._records[kind.record], kind.unique_of(key)
        is_another = unique in records and kind.key_of(records[unique]) != key
        if not is_another:
            records.pop(unique, None)
        for other, reference in self._kinds.referring_to(kind):
            if is_another and set(reference.fields) <= set(kind.unique):
                continue  # what refers to this name refers to another record
            found = [record for record in self._records[other.record].values() if reference.is_to(key, record)]
            for record in found:
                gone += self._drop(other, other.key_of(record))
        return gone
