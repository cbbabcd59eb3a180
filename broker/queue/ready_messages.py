"""The ready messages of a queue that are in memory on this node, in the order of their ids.

`ready` has the oldest ones, and `tail` the newest; they are the same while no slots are between them (`Window`).

A message that comes back, or late from its transaction, has its place among others. It costs no look at them: it waits
in `late`, from which the next dispatch takes it in its turn, or in `late_tail`, until the order of `tail` matters.

A message with an expiration of its own is in `expiring`, too. When it expires in the middle, it stays in its place as a
dead one, which `put_in_order` removes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Final

from broker.message import Message
from broker.queue.expiring import Expiring

weight_of_message: Final = attrgetter("weight")
size_of_message: Final = attrgetter("size")
BEYOND: Final = 1 << 64
"""Beyond all ids."""
_RUN: Final = 64
"""Messages that are brought into order at once for consumers, who may take fewer."""


class ReadyMessages:
    """Messages in memory, in their places."""

    __slots__ = (
        "bytes",
        "changes",
        "counts_octets",
        "expiring",
        "is_unordered",
        "is_watched",
        "last_taken",
        "late",
        "late_tail",
        "page_floor",
        "ready",
        "ready_end",
        "ready_octets",
        "tail",
    )

    def __init__(self, *, counts_octets: bool = False) -> None:
        """With `counts_octets`, `ready_octets` is kept, which not everybody needs."""
        self.is_watched = counts_octets
        """May something leave by itself, or must octets be counted? Everybody else pays nothing for it."""
        self.counts_octets = counts_octets
        self.ready_octets = 0
        """Octets that the bodies of all ready messages have, in memory and in slots."""
        self.changes = 0
        """Grows with every change of `ready` but that something is taken from its left or added to its right."""
        self.ready: deque[Message] = deque()
        self.tail = self.ready
        self.late: list[tuple[int, Message]] = []
        """A heap of messages with their ids whose places are between those in `ready`, which is not empty then."""
        self.late_tail: list[Message] = []
        """Messages whose places are between those in `tail`, in no order, while there are slots."""
        self.expiring: Expiring | None = None
        """The messages in memory that expire by a time of their own; None if there was none yet."""
        self.bytes = 0
        """Octets that the messages in `tail` occupy."""
        self.last_taken = 0
        """An upper bound of the ids that were ever delivered on this node."""
        self.page_floor = 0
        """A slot made from `tail` must begin above this id: not all messages up to it are in `tail`."""
        self.is_unordered = False
        """May `ready` hold ids that are not ascending, from slots of other nodes?"""
        self.ready_end = 0
        """An upper bound of the ids that were in `ready` while there were slots: these need not be ascending there."""

    @property
    def needs_runs(self) -> bool:
        """Must it be known which messages consumers take?"""
        return bool(self.expiring) or self.counts_octets

    # In

    def append(self, message: Message) -> None:
        """Add the newest message. Hot."""
        self.tail.append(message)
        self.bytes += message.weight

    def append_counted(self, message: Message) -> None:
        """Add the newest message to a queue that counts octets."""
        self.ready_octets += message.size
        self.append(message)

    def count_octets(self, sign: int, messages: Iterable[Message]) -> None:
        """Messages have become ready, with the sign -1 have ceased to be: count the octets of their bodies."""
        if self.counts_octets:
            self.ready_octets += sign * sum(map(size_of_message, messages))

    def note_due(self, messages: Iterable[Message]) -> None:
        """Watch those of these messages, which are ready in memory, that expire by a time of their own."""
        for message in messages:
            if message.due:
                if self.expiring is None:
                    self.expiring = Expiring()
                    self.is_watched = True
                self.expiring.add(message)

    def insert(self, messages: Sequence[Message]) -> None:
        """Add the messages of a committed transaction, ascending by id; younger ids may be here already."""
        self.changes += 1
        self.note_due(messages)
        self.count_octets(1, messages)
        if self.tail is self.ready:
            self.bytes += sum(map(weight_of_message, messages))
            self._add_late(messages)
            return
        # Slots may have been taken over meanwhile: `tail` begins after what was in memory.
        begin = max(self.last_taken, self.page_floor, self.ready_end) + 1
        if self.tail:
            begin = min(begin, self.tail[0].id)
        older = [message for message in messages if message.id < begin]
        self._add_late(older)
        newer = messages[len(older) :]
        self.bytes += sum(map(weight_of_message, newer))
        if self.tail and newer and newer[0].id < self.tail[-1].id:
            self.late_tail += newer
        else:
            self.tail.extend(newer)

    def put_back(self, messages: Sequence[Message]) -> None:
        """Put delivered messages back at their places (contract B24)."""
        self.changes += 1
        returned = sorted(messages, key=id_of_message)
        if self.expiring is not None and self.expiring.has_dead(returned):
            self.put_in_order()  # what was taken from the middle is still in its place
        if self.expiring is not None:
            self.note_due(returned)
        if self.counts_octets:
            self.count_octets(1, returned)
        ready = self.ready
        if self.tail is ready:
            self.bytes += sum(map(weight_of_message, returned))
        elif returned:
            self.ready_end = max(self.ready_end, returned[-1].id)
        if not ready or not returned or returned[-1].id < ready[0].id:
            ready.extendleft(reversed(returned))
        else:
            self._add_late(returned)

    def _add_late(self, messages: Sequence[Message]) -> None:
        """Add messages, ascending by id, to `ready` or `late`."""
        ready, late = self.ready, self.late
        if not ready or (messages and messages[0].id > max(ready[-1].id, self.ready_end)):
            ready.extend(messages)
        elif len(messages) > len(late) // 8:
            late += [(message.id, message) for message in messages]
            heapify(late)
        else:
            for message in messages:
                heappush(late, (message.id, message))

    def put_in_order(self) -> None:
        """Bring everything to its place, and remove dead messages. Takes a look at every message in memory, if one was
        out of place or dead.
        """
        if self.late:
            _merge(self.ready, [message for _, message in self.late])
            self.late = []
        if self.late_tail:
            _merge(self.tail, self.late_tail)
            self.late_tail = []
        if self.expiring is not None and self.expiring.dead:
            for part in (self.ready,) if self.tail is self.ready else (self.ready, self.tail):
                alive = [message for message in part if not self.expiring.is_dead(message)]
                part.clear()
                part.extend(alive)
            self.expiring.forget_dead()

    def sort(self) -> None:
        """Bring `ready` into the order of ids, which slots of other nodes may not be in."""
        self.changes += 1
        self.put_in_order()
        messages = sorted(self.ready, key=id_of_message)
        self.ready.clear()
        self.ready.extend(messages)
        self.is_unordered = False

    # Out

    def take_first(self) -> Message | None:
        """Remove and return the oldest message in `ready`."""
        message = self._next()
        if message is not None:
            self.last_taken = max(self.last_taken, message.id)
            if self.tail is self.ready:
                self.bytes -= weight_of_message(message)
            if self.counts_octets:
                self.ready_octets -= message.size
        return message

    def take_oldest_ready(self) -> Message | None:
        """Remove and return the oldest message in memory, which nobody gets; None when it is not there."""
        message = self._next()
        if message is not None:
            self._let_go([message])
        return message

    def _next(self) -> Message | None:
        """Remove and return the oldest living message of `ready` and `late` together; None when there is none."""
        expiring = self.expiring
        while self.ready:
            message = self._pop()
            if not expiring or expiring.remove(message):
                return message
        return None

    def _pop(self) -> Message:
        """Remove and return the oldest message of `ready` and `late` together."""
        ready, late = self.ready, self.late
        if not late:
            return ready.popleft()
        if late[0][0] < ready[0].id:
            return heappop(late)[1]
        message = ready.popleft()
        if not ready:
            ready.append(heappop(late)[1])
        return message

    def take_run(self) -> deque[Message]:
        """Remove and return some of the oldest messages of `ready` and `late` together, in order."""
        run: deque[Message] = deque()
        while len(run) < _RUN and (message := self._next()) is not None:
            run.append(message)
        return run

    def return_run(self, run: deque[Message]) -> None:
        """Put back what is left of the messages that `take_run` returned last."""
        self.ready.extendleft(reversed(run))
        if self.expiring is not None:
            self.note_due(run)

    def take_out(self, messages: Sequence[Message]) -> None:
        """Consumers have taken these messages from anywhere in `ready`: they stay in their places as dead ones."""
        expiring = self.expiring
        if expiring is None:
            expiring = self.expiring = Expiring()
            self.is_watched = True
        self.count_octets(-1, messages)
        for message in messages:
            expiring.take_out(message)
        self.last_taken = max(self.last_taken, *map(id_of_message, messages), 0)
        if 2 * expiring.dead > len(self.ready) + len(self.late):
            self.put_in_order()

    def revive(self, message: Message) -> bool:
        """Put a message that `take_out` took back into its place, if that is still there; return whether it was."""
        if self.expiring is None or not self.expiring.revive(message):
            return False
        self.note_due((message,))
        self.count_octets(1, (message,))
        if self.tail is self.ready:
            self.bytes += message.weight
        return True

    # What has expired

    def take_due(self, now_ms: int, limit: int) -> list[Message]:
        """Return the messages in memory that have expired by a time of their own, the first one first, `limit` at most.

        They are dead in their places. One that is due at once waits for `take_unserved`, which comes after a dispatch.
        """
        return [] if not self.expiring else self._lighter(self.expiring.take_due(now_ms, limit))

    def take_unserved(self) -> list[Message]:
        """Return the messages that were to expire at once, and that no consumer has taken."""
        return [] if not self.expiring else self._lighter(self.expiring.take_unserved())

    def _lighter(self, dead: list[Message]) -> list[Message]:
        """Count dead messages no more, and remove them when they are the most."""
        tail, expiring = self.tail, self.expiring
        self.changes += 1 if dead else 0
        self.count_octets(-1, dead)
        for message in dead:
            if tail is self.ready or (tail and message.id >= tail[0].id):
                self.bytes -= message.weight
        if expiring is not None and dead and 2 * expiring.dead > len(self.ready) + len(self.late):
            self.put_in_order()
        return dead

    def take_older(self, first_id: int, limit: int) -> list[Message]:
        """Remove and return messages in `ready` and `late` whose ids are smaller than `first_id`, `limit` at most."""
        taken: list[Message] = []
        if self.is_unordered:
            self.put_in_order()
            taken = [message for message in self.ready if message.id < first_id][:limit]
            if taken:
                gone = {message.id for message in taken}
                kept = [message for message in self.ready if message.id not in gone]
                self.ready.clear()
                self.ready.extend(kept)
                if self.expiring is not None:
                    self.expiring.remove_all(taken)
        else:
            while len(taken) < limit and self.oldest_in_memory() < first_id:
                message = self._pop()
                if not self.expiring or self.expiring.remove(message):
                    taken.append(message)
        self._let_go(taken)
        return taken

    def first_from(self, first_id: int) -> int:
        """Return the id of the first message in `ready` from this one on; beyond all ids when there is none."""
        ready = self.ready
        if self.is_unordered:
            return min([message.id for message in ready if message.id >= first_id], default=BEYOND)
        place = bisect_left(ready, first_id, key=id_of_message)
        return ready[place].id if place < len(ready) else BEYOND

    def take_between(self, first_id: int, end_id: int, limit: int) -> list[Message]:
        """Remove and return messages in `ready` and `late` whose ids are at least `first_id` and smaller than `end_id`,
        `limit` at most.
        """
        if self.late:
            self.put_in_order()
        if self.first_from(first_id) >= end_id:
            return []
        self.put_in_order()
        taken = [message for message in self.ready if first_id <= message.id < end_id][: max(limit, 0)]
        gone = {message.id for message in taken}
        kept = [message for message in self.ready if message.id not in gone]
        self.ready.clear()
        self.ready.extend(kept)
        if self.expiring is not None:
            self.expiring.remove_all(taken)
        self._let_go(taken)
        return taken

    def withdraw_from_memory(self, ids: Collection[int]) -> list[Message]:
        """Remove and return the messages in memory with these ids, wherever they lie. The caller keeps their rows from
        being read.
        """
        self.put_in_order()
        taken: list[Message] = []
        for part in (self.ready,) if self.tail is self.ready else (self.ready, self.tail):
            found = [message for message in part if message.id in ids]
            if found:
                gone = set(map(id_of_message, found))
                kept = [message for message in part if message.id not in gone]
                part.clear()
                part.extend(kept)
                if part is self.tail:
                    self.bytes -= sum(map(weight_of_message, found))
                taken += found
        self.changes += 1 if taken else 0
        if self.expiring is not None:
            self.expiring.remove_all(taken)
        self.count_octets(-1, taken)
        return taken

    def _let_go(self, taken: Sequence[Message]) -> None:
        """These messages of `ready` are gone: no slot may cover their ids, while the store has some of them."""
        if taken:
            self.page_floor = max(self.page_floor, *map(id_of_message, taken), 0)
            self.count_octets(-1, taken)
            if self.tail is self.ready:
                self.bytes -= sum(map(weight_of_message, taken))

    def oldest_in_memory(self) -> int:
        """Return an id that no message in `ready` and `late` is older than; beyond all ids when there is none."""
        ready = self.ready
        if not ready:
            return BEYOND
        if self.is_unordered:
            return min(map(id_of_message, ready))
        return min(ready[0].id, self.late[0][0]) if self.late else ready[0].id


def id_of_message(message: Message) -> int:
    """Return the place of a message among others."""
    return message.id


def insert_in_order(candidates: deque[Message], message: Message) -> None:
    """Add a candidate in its place: mostly that is the last one, or the first of what comes back."""
    if not candidates or candidates[-1].id < message.id:
        candidates.append(message)
    elif message.id < candidates[0].id:
        candidates.appendleft(message)
    else:
        candidates.insert(bisect_left(candidates, message.id, key=id_of_message), message)


def _merge(part: deque[Message], messages: Sequence[Message]) -> None:
    """Insert messages at their places in `part`."""
    merged = sorted([*part, *messages], key=id_of_message)
    part.clear()
    part.extend(merged)
