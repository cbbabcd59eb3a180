"""Which messages of a batch get the keys that they ask for (ADR 66). Decides; the engines ask their databases.

The keys of a message are asked for one after the other, in rounds: those of exchanges in the order of its way, and
last that of its queue. Who does not get the key of an exchange does not take that of the queue behind it. Of a round
the engine inserts all keys that are not there. If some are there already, it looks at them, finds out which of their
owners are still in their queues, and hands over what is free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from broker.message import KeyClaim, KeyedMessage
from broker.ports.store import KeyPlace


class KeyRow(NamedTuple):
    """A recorded key."""

    scope: int
    digest: str
    owner: int
    until: int


_OF_QUEUES: Final = 1 << 30
"""The last round."""


class Claiming:
    """One batch's keys. For each round: `next_claims`, then `on_found` if not all of them could be inserted."""

    def __init__(self, keyed: Sequence[KeyedMessage], deleted: Iterable[int]) -> None:
        """`deleted` are the ids of the messages that the batch deletes: they are in no queue any more."""
        self.duplicates: set[int] = set()
        self._deleted = set(deleted)
        rounds: dict[int, list[tuple[int, KeyClaim]]] = {}
        for message in keyed:
            for place, claim in enumerate(message.claims):
                rounds.setdefault(_OF_QUEUES if claim.scope > 0 else place, []).append((message.id, claim))
        self._rounds = [rounds[number] for number in sorted(rounds)]
        self._waiting: list[tuple[int, KeyClaim]] = []
        self._asking: dict[KeyPlace, KeyClaim] = {}
        self._owners: dict[KeyPlace, int] = {}

    def next_claims(self) -> list[KeyClaim]:
        """Return the claims of the next round, in the order of their places; none when there is no further round.

        Of several for one key the first counts.
        """
        self._end_round()
        while self._rounds:
            self._waiting = [each for each in self._rounds.pop(0) if each[0] not in self.duplicates]
            self._asking = {}
            for _, claim in self._waiting:
                if claim.place not in self._owners:
                    self._asking.setdefault(claim.place, claim)
            self._owners |= {place: claim.owner for place, claim in self._asking.items()}
            if self._asking:
                return [self._asking[place] for place in sorted(self._asking)]
            self._end_round()
        return []

    def _end_round(self) -> None:
        """Leave out the messages whose key of this round belongs to others."""
        for message_id, claim in self._waiting:
            if claim.is_binding and self._owners[claim.place] != claim.owner:
                self.duplicates.add(message_id)
        self._waiting = []

    def doubtful(self, found: Iterable[KeyRow]) -> list[int]:
        """Return the messages whose being in a queue decides about a key that was found."""
        return sorted({row.owner for row in found if not row.until and self._is_others(row)} - self._deleted)

    def on_found(self, found: Iterable[KeyRow], alive: Collection[int]) -> list[tuple[KeyClaim, KeyRow]]:
        """These keys are there; of the `doubtful` messages those that are `alive` are in their queues. Return the
        claims that take over a key that is free, with the key as it was.
        """
        free = []
        for row in found:
            if not self._is_others(row):
                continue
            claim = self._asking[row.scope, row.digest]
            is_free = row.until <= claim.now if row.until else row.owner not in alive
            if is_free:
                free.append((claim, row))
            else:
                self._owners[claim.place] = row.owner
        return free

    def lose(self, place: KeyPlace, owner: int) -> None:
        """Another node was faster: the key that was free is taken."""
        self._owners[place] = owner

    def _is_others(self, row: KeyRow) -> bool:
        claim = self._asking.get((row.scope, row.digest))
        return claim is not None and row.owner != claim.owner
