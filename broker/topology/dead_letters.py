"""Dead letters: what died in a queue goes to the queue's dead-letter exchange (contract F4, F5, L1 to L5).

A dead message has left its queue, but its row stays until it is in its new queues: both happen in one transaction of
the store, so that after a crash it is in exactly one of the two places (ADR 41).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog

from broker.codec.expiration import note_due
from broker.codec.field_table import EMPTY_TABLE
from broker.codec.properties import PERSISTENT, decode_properties
from broker.errors import AmqpError, StoreUnavailable
from broker.message import (
    PENDING,
    SETTLED,
    STORED,
    TRANSIENT,
    KeyedMessage,
    Message,
    MessageIdGenerator,
    StorageQueue,
    lane_of,
    routing_of,
    share_body,
    tail,
)
from broker.ports.slot import Slot
from broker.ports.store import Journal
from broker.queue.admission import QueueAdmission
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue, state_of
from broker.topology.death_notes import in_circles, noted_header
from broker.topology.keys import ask_for_keys, key_rules
from broker.topology.letter import Address, Letter
from broker.topology.read_gate import HIGH_WATERMARK, ReadGate
from broker.topology.recorder import Wakeup
from broker.topology.routed_message import RoutedMessage
from broker.topology.routing import Search
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget

_log = structlog.get_logger(__name__)

_AT_ONCE: Final = 500
"""Messages that are dead-lettered in one transaction."""
_OCTETS_AT_ONCE: Final = 4 * 1024 * 1024
_STEPS: Final = 100
"""What the header of a dead letter costs, and the search for its queues."""
_MOST_TOLD: Final = 1000
"""Exchanges of which it is said once that they are missing."""
_FIXED: Final = 12
"""Octets of a content header before the properties' flags, and in the tail of its frame (0-9-1 §4.2.6.1)."""
_FLAGS: Final = 16


class ReusableWakeup(Wakeup, Protocol):
    """What `asyncio.Event` is, if it is needed more than once."""

    def clear(self) -> object: ...


class DeadLetters:
    """Carries dead messages of all queues of a node to their new queues, in the order in which they died."""

    def __init__(
        self,
        vhosts: Mapping[str, VirtualHost],
        ids: MessageIdGenerator,
        journal: Journal,
        work: TurnBudget,
        *,
        read: Callable[[StorageQueue, Slot, int, int], Awaitable[list[Message]]],
        touched: set[Queue],
        now_ms: Callable[[], int],
        wakeup: ReusableWakeup,
        next_turn: Callable[[], Awaitable[None]],
        dispatch: Callable[[], Any],
    ) -> None:
        """`read` is the message store's; `touched` and `dispatch` are the broker's."""
        self._read = read
        self._vhosts = vhosts
        self._ids = ids
        self._journal = journal
        self._work = work
        self._touched = touched
        self._now_ms = now_ms
        self._wakeup = wakeup
        self._next_turn = next_turn
        self._dispatch = dispatch
        self._waiting: deque[Letter] = deque()
        self._kept: deque[Letter] = deque()
        """Those that have no queue to go to now, and must not be lost."""
        self.gate = ReadGate(journal.hold, touched)
        self._kept_octets = 0
        """Of those that are kept and are not in the store."""
        self._is_busy = False
        self._last: Address | None = None
        self._missing: set[tuple[str, str | None]] = set()
        """Virtual hosts and exchanges that were not there when letters were to go to them."""

    def bury(self, queue: Queue, messages: Sequence[Message], outcome: Outcome) -> None:
        """Take messages that died in `queue`."""
        letters = [Letter(queue, message, outcome, octets=message.weight) for message in messages]
        self._waiting.extend(letters)
        self.gate.count(sum([letter.octets for letter in letters]))
        self._wakeup.set()

    @property
    def is_waiting(self) -> bool:
        """Is there something to carry, and nobody doing it?"""
        return bool(self._waiting) and not self._is_busy

    @property
    def is_idle(self) -> bool:
        """Is nothing waiting that has a queue to go to?"""
        return not (self._waiting or self._is_busy)

    async def run(self) -> None:
        """Carry letters until cancelled."""
        while True:
            await self.carry()
            self._wakeup.clear()
            await self._wakeup.wait()

    async def carry(self) -> None:
        """Carry all that waits."""
        while self._waiting:
            await self._carry_some()

    def retry(self) -> None:
        """Try some of those again that had no queue to go to: call it now and then. If all of them have one now, the
        others follow.
        """
        again = [self._kept.popleft() for _ in range(min(_AT_ONCE, len(self._kept)))]
        for letter in again:
            if not letter.is_shed and letter.message.state == TRANSIENT:
                self._kept_octets -= letter.octets
                self.gate.count(letter.octets)
        if again:
            self._waiting.extendleft(reversed(again))
            self._wakeup.set()

    async def drain(self) -> None:
        """Return when everything that can be carried is where it belongs."""
        while not self.is_idle:
            await self._next_turn()

    async def _carry_some(self) -> None:
        self._is_busy = True
        try:
            kept = len(self._kept)
            letters = self._take()
            for letter in letters:
                try:
                    await self._recall(letter)
                    await self._address(letter)
                except AmqpError as error:  # a row of an earlier version, whose header nobody has checked
                    _log.warning("a dead letter cannot be read and is dropped", id=letter.message.id, reason=str(error))
            await self._deliver(letters)
            if not self._waiting and len(self._kept) == kept:
                self.retry()
        finally:
            self._is_busy = False
        self._dispatch()

    def _take(self) -> list[Letter]:
        taken: list[Letter] = []
        room = _OCTETS_AT_ONCE
        while self._waiting and len(taken) < _AT_ONCE and room > 0:
            letter = self._waiting.popleft()
            room -= letter.message.weight
            taken.append(letter)
        return taken

    async def _recall(self, letter: Letter) -> None:
        """Read the octets of a letter that are only in the store."""
        if letter.is_shed:
            queue, message_id = letter.queue, letter.message.id
            slot = Slot(queue.queue_id, lane_of(message_id), message_id, message_id, 1)
            found = await self._read(queue, slot, 1, _OCTETS_AT_ONCE)
            letter.is_over = not found
            for message in found:
                letter.message, letter.is_shed, letter.octets = message, False, message.weight
                self.gate.count(letter.octets)

    async def move(self, letters: Sequence[Letter]) -> None:
        """Put messages that were withdrawn from their queues into the `targets` of their letters, or delete those whose
        letters are over; return when that is committed.
        """
        self.gate.count(sum([letter.octets for letter in letters]))
        deleted: list[Letter] = []
        await self._deliver(letters, deleted)
        await self._journal.flushed()
        for letter in deleted:  # as long as there were rows, a read of a slot would have brought them back
            letter.queue.end_dying((letter.message,))
        self._dispatch()

    # Where a letter goes

    async def _address(self, letter: Letter) -> None:
        """Find the queues of a letter, and write its header. What the one before has shown is not asked again."""
        queue, message = letter.queue, letter.message
        self._work.done += 1
        if self._work.is_over:
            await self._next_turn()
        vhost = self._vhosts.get(queue.vhost)
        letter.targets = []
        if vhost is None or letter.is_over:
            return
        now_s = self._now_ms() // 1000
        case = (queue, message.routing, message.header[_FLAGS:], letter.outcome, now_s, vhost.routing.version)
        address = self._last if self._last is not None and self._last.case == case else None
        if address is None:
            address = await self._find(letter, vhost, case, now_s)
            if address is None:
                return
        letter.header = tail(message.header_payload[:_FIXED] + address.properties)
        letter.routing, letter.is_over = address.routing, address.is_over
        letter.is_persistent = address.is_persistent or message.is_persistent  # what is stored stays stored
        letter.targets = list(address.targets)

    async def _find(self, letter: Letter, vhost: VirtualHost, case: tuple[object, ...], now_s: int) -> Address | None:
        """Find out where a letter goes, and what its header says; None if there is no such exchange."""
        queue, message = letter.queue, letter.message
        name, new_key = queue.settings.dead_letter_exchange, queue.settings.dead_letter_routing_key
        exchange = None if name is None else vhost.exchanges.get(name)
        if name is None or exchange is None:
            self._tell_missing(queue, name)
            return None
        self._work.done += _STEPS
        if queue.settings.has_channel:
            await _open_channel(vhost)
        _, key = routing_of(message.routing)
        properties = decode_properties(message.header_payload)
        keys = [key, *_texts((properties.headers or EMPTY_TABLE).values.get("CC"))]
        header = noted_header(vhost.dialect, queue, message, letter.outcome, keys, now_s)
        is_persistent = properties.delivery_mode == PERSISTENT
        routing = _short(name) + _short(key if new_key is None else new_key)
        if queue.settings.has_channel:  # there it shows where the message had been sent
            routing = message.routing
        routed = list(dict.fromkeys(keys if new_key is None else [new_key]))
        found = await self._search(vhost.routing.search(exchange, routed, None, self._work))
        is_fixed = found is not None
        if found is None:
            on_its_way = RoutedMessage(tail(header), message.body, message.chunks, is_persistent)
            found = await self._search(vhost.routing.search(exchange, routed, on_its_way, self._work)) or []
            for keeper in on_its_way.keepers:
                keeper.keep(routing, on_its_way)
        names = {target.name for target in found}
        again = in_circles(vhost.dialect, queue, message, letter.outcome, header, names)
        targets = tuple(target for target in found if target.name not in again)
        address = Address(case, header[_FIXED:], routing, is_persistent, targets, bool(again) and not targets)
        is_lasting = is_fixed and bool(targets or not queue.settings.has_channel)  # the channel is looked for again
        self._last = address if is_lasting else None
        return address

    def _tell_missing(self, queue: Queue, name: str | None) -> None:
        """Say once for an exchange that it is missing: a message that is lost for it is no reason for a line each."""
        missing = (queue.vhost, name)
        if name is not None and missing not in self._missing and len(self._missing) < _MOST_TOLD:
            self._missing.add(missing)
            _log.warning(
                "dead letters go nowhere: there is no such exchange", exchange=name, queue=queue.name, vhost=queue.vhost
            )

    async def _search(self, search: Search) -> list[Queue] | None:
        """Search to the end, in as many turns as it takes."""
        while True:
            try:
                next(search)
            except StopIteration as done:
                found: list[Queue] | None = done.value
                return found
            await self._next_turn()

    # Its way

    async def _deliver(self, letters: Sequence[Letter], deleted: list[Letter] | None = None) -> None:
        """Put letters into their queues, and delete the rows of the dead messages with that.

        Letters without a queue go with the next batch; with `deleted` they are put there, and their messages count as
        dying until the caller knows that they are gone.
        """
        self._ids.advance(self._now_ms())  # their time to live begins now
        stored: list[Message] = []
        moved: list[Letter] = []
        admission = QueueAdmission()
        for letter in letters:
            size, is_late = letter.message.size, letter.is_persistent
            letter.targets = [
                queue
                for queue in letter.targets
                if not queue.is_deleted and not admission.refuses(queue, size, is_late=is_late and queue.is_stored)
            ]
            copies = self._copies(letter)
            if copies:
                stored += copies
                moved.append(letter)
            elif letter.targets or letter.is_over or not self._keeps(letter):
                if deleted is None:
                    self._end(letter)
                else:
                    self._uncount(letter)
                    deleted.append(letter)
                if letter.message.state < SETTLED:
                    self._journal.settle(letter.message)
        if not stored:
            return
        try:
            keyed = [copy for copy in stored if isinstance(copy, KeyedMessage)]
            dead = [letter.message for letter in moved if letter.message.state < SETTLED]
            await self._journal.transact(stored, dead, keyed=keyed)
        finally:
            for message in stored:
                queue_of(message).slots.end_transaction()
        for letter in moved:
            self._end(letter)
            forget(letter.message)
        insert_by_queue(stored, self._touched, self._work)

    def _keeps(self, letter: Letter) -> bool:
        """Keep a letter that has no queue to go to, if its queue wants that; the store keeps its octets if it can."""
        message = letter.message
        if not letter.queue.settings.is_dead_lettered_at_least_once:
            return False
        if message.state == STORED:
            message.header = message.body = b""
            message.chunks = None
            self.gate.count(-letter.octets)
            letter.octets, letter.is_shed = 0, True
        elif message.state == TRANSIENT:
            if self._kept_octets + letter.octets > HIGH_WATERMARK:
                _log.warning("a dead letter that is not stored is dropped: too many wait", queue=letter.queue.name)
                return False
            self.gate.count(-letter.octets)
            self._kept_octets += letter.octets
        self._kept.append(letter)
        return True

    def _copies(self, letter: Letter) -> list[Message]:
        """Put what needs no store into its queues; return the copies that have to be stored first."""
        source, stored = letter.message, []
        rules = key_rules(letter.targets, letter.header)
        for target in letter.targets:
            queue = target.level_for(letter.header)
            state = state_of(queue, is_persistent=letter.is_persistent or target in rules)
            copy = (KeyedMessage if target in rules else Message)(
                self._ids.next(), queue, letter.routing, letter.header, source.body, source.chunks, state
            )
            if letter.places is not None:
                letter.places.append((queue, copy.id))
            if target in rules:  # it is never left out: its key counts from now on, unless another message has it
                ask_for_keys([copy], [target], rules, is_binding=False)
            note_due(copy)
            if state == PENDING:
                copy.content_id = source.content_id
                queue.slots.begin_transaction()
                stored.append(copy)
            else:
                queue.append(copy)
                queue.expect_expiry((copy,))
                self._touched.add(queue)
        if not source.content_id:
            share_body(stored)
        return stored

    def _end(self, letter: Letter) -> None:
        """The row of a dead message is deleted, or goes with the next batch."""
        self._uncount(letter)
        letter.queue.end_dying((letter.message,))

    def _uncount(self, letter: Letter) -> None:
        self.gate.count(-letter.octets)
        letter.octets = 0


def insert_by_queue(messages: Iterable[Message], touched: set[Queue], work: TurnBudget) -> None:
    """Put messages whose transaction is committed into their queues, which are to be dispatched then."""
    by_queue: dict[Queue, list[Message]] = {}
    for message in messages:
        by_queue.setdefault(queue_of(message), []).append(message)
    for queue, members in by_queue.items():
        queue.insert(members)
        touched.add(queue)
        work.done += len(members)


async def _open_channel(vhost: VirtualHost) -> None:
    """Create the dead letter channel if it is not there. If it cannot be created now, letters wait for it."""
    try:
        await vhost.open_channel()
    except (AmqpError, StoreUnavailable) as error:
        _log.warning("the dead letter channel cannot be created", vhost=vhost.name, reason=str(error))


def queue_of(message: Message) -> Any:
    """Return the queue of a message, which is the core's."""
    return message.queue


def forget(message: Message) -> None:
    """A message is settled: nobody needs its octets."""
    if message.state < SETTLED:
        message.state = SETTLED
    message.header = message.body = b""
    message.chunks = None


def _texts(keys: object) -> list[str]:
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def _short(name: str) -> bytes:
    octets = name.encode("utf-8", "surrogateescape")[:255]
    return bytes((len(octets),)) + octets
