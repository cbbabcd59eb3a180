"""Messages whose time has come go from the schedule of their virtual host to their queues (ADR 79).

A message leaves the schedule and is in its queues in one transaction of the store, so that after a crash it is in one
of the two. Where it goes is decided now: by its exchange as it is now, or it is the queue that has held it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from broker.codec.copies import keys_of, without_bcc
from broker.codec.delivery_time import due_by_header, with_delay_done
from broker.codec.envelope import opened, sealed
from broker.codec.expiration import note_due
from broker.codec.properties import PERSISTENT, decode_properties
from broker.errors import AmqpError
from broker.message import (
    PENDING,
    SETTLED,
    KeyedMessage,
    Message,
    MessageIdGenerator,
    routing_of,
    share_body,
)
from broker.ports.store import Journal
from broker.queue.admission import QueueAdmission
from broker.queue.queue import Queue, state_of
from broker.topology.dead_letters import ReusableWakeup, forget, insert_by_queue, queue_of
from broker.topology.keys import NO_KEYS, KeyRules, ask_for_keys, key_rules, keyed_among
from broker.topology.read_gate import ReadGate
from broker.topology.routed_message import RoutedMessage
from broker.topology.routing import Search
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget

_log = structlog.get_logger(__name__)

_AT_ONCE: Final = 500
"""Messages that go on in one transaction."""
_OCTETS_AT_ONCE: Final = 4 * 1024 * 1024
_STEPS: Final = 20
"""What it costs to open a message, in steps of work."""
FULL_PAUSE: Final = 1000
"""Milliseconds until a queue that had no room is tried again."""


@dataclass(slots=True)
class _Due:
    """A message that has left its schedule, and where it goes."""

    message: Message
    octets: int
    header: bytes = b""
    """The tail of the content header with which it goes on."""
    is_persistent: bool = False
    targets: list[Queue] = field(default_factory=list)
    rules: KeyRules = field(default_factory=lambda: NO_KEYS)
    is_routed: bool = False
    """Has its way through exchanges been decided?"""


class Firing:
    """Carries the messages of all schedules of a node to their queues, in the order in which they were due."""

    def __init__(
        self,
        vhosts: Mapping[str, VirtualHost],
        ids: MessageIdGenerator,
        journal: Journal,
        work: TurnBudget,
        *,
        touched: set[Queue],
        now_ms: Callable[[], int],
        wakeup: ReusableWakeup,
        next_turn: Callable[[], Awaitable[None]],
        dispatch: Callable[[], Any],
    ) -> None:
        """`touched` and `dispatch` are the broker's; `now_ms` is the time by which messages are due."""
        self._vhosts = vhosts
        self._ids = ids
        self._journal = journal
        self._work = work
        self._touched = touched
        self._now_ms = now_ms
        self._wakeup = wakeup
        self._next_turn = next_turn
        self._dispatch = dispatch
        self._waiting: deque[tuple[Queue, Message]] = deque()
        self.gate = ReadGate(journal.hold, touched)
        self._is_busy = False
        self.fired = 0
        """Messages that have gone on."""
        self.dropped = 0
        """Those of them for which there was no queue."""

    def take(self, schedule: Queue, messages: Sequence[Message]) -> None:
        """Take messages of a schedule that are due."""
        self._waiting.extend([(schedule, message) for message in messages])
        self.gate.count(sum([message.weight for message in messages]))
        self._wakeup.set()

    @property
    def is_waiting(self) -> bool:
        """Is there something to carry, and nobody doing it?"""
        return bool(self._waiting) and not self._is_busy

    async def run(self) -> None:
        """Carry messages until cancelled."""
        while True:
            await self.carry()
            self._wakeup.clear()
            await self._wakeup.wait()

    async def carry(self) -> None:
        """Carry all that waits."""
        while self._waiting:
            self._is_busy = True
            try:
                await self._carry_some()
            finally:
                self._is_busy = False
            self._dispatch()

    async def drain(self) -> None:
        """Return when everything that is due is where it belongs."""
        while self._waiting or self._is_busy:
            await self._next_turn()

    async def _carry_some(self) -> None:
        schedule = self._waiting[0][0]
        vhost = self._vhosts.get(schedule.vhost)
        taken = self._take(schedule)
        lost: dict[str, int] = {}
        for each in taken:
            self._work.done += _STEPS
            if self._work.is_over:
                await self._next_turn()
            try:
                if vhost is not None:
                    await self._address(each, vhost)
            except AmqpError as error:
                _log.warning("a delayed message cannot be read and is dropped", id=each.message.id, reason=str(error))
            if vhost is not None and not each.targets:
                exchange = routing_of(each.message.routing)[0]
                lost[exchange] = lost.get(exchange, 0) + 1
        for exchange, count in lost.items():
            _log.warning(
                "delayed messages have no queue and are dropped", exchange=exchange, vhost=schedule.vhost, count=count
            )
        self.fired += len(taken)
        self.dropped += sum(lost.values())
        await self._deliver(schedule, taken)

    def _take(self, schedule: Queue) -> list[_Due]:
        """Take the next messages, as far as they are of one schedule."""
        taken: list[_Due] = []
        room = _OCTETS_AT_ONCE
        while self._waiting and len(taken) < _AT_ONCE and room > 0 and self._waiting[0][0] is schedule:
            message = self._waiting.popleft()[1]
            room -= message.weight
            taken.append(_Due(message, message.weight))
        return taken

    # Where a message goes

    async def _address(self, due: _Due, vhost: VirtualHost) -> None:
        """Find the queues of a message, and write its header."""
        message = due.message
        envelope = opened(message.header)
        due.header = with_delay_done(envelope.header)
        properties = decode_properties(due.header[4:-1])
        due.is_persistent = properties.delivery_mode == PERSISTENT
        if envelope.queue:
            target = vhost.queues.get(envelope.queue)
            due.targets = [] if target is None else [target]
            due.rules = key_rules(due.targets, due.header, properties=properties)
            return
        due.is_routed = True
        name, key = routing_of(message.routing)
        exchange = vhost.exchanges.get(name)
        if exchange is None:
            return
        keys = keys_of(key, properties.headers)
        due.header = without_bcc(due.header, properties)
        on_its_way = RoutedMessage(due.header, message.body, message.chunks, due.is_persistent, properties)
        due.targets = await self._search(vhost.routing.search(exchange, keys, on_its_way, self._work))
        for keeper in on_its_way.keepers:
            keeper.keep(message.routing, on_its_way)
        due.rules = key_rules(due.targets, due.header, on_its_way.guards, properties=properties)

    async def _search(self, search: Search) -> list[Queue]:
        """Search to the end, in as many turns as it takes."""
        while True:
            try:
                next(search)
            except StopIteration as done:
                return done.value or []
            await self._next_turn()

    # Its way

    async def _deliver(self, schedule: Queue, taken: Sequence[_Due]) -> None:
        """Put messages into their queues, and delete their rows in the schedule with that."""
        self._ids.advance(self._now_ms())  # their time to live begins now
        admission = QueueAdmission()
        made = [copy for due in taken for copy in self._copies(schedule, due, admission)]
        for copy in made:
            queue_of(copy).slots.begin_transaction()
        gone = [due.message for due in taken]
        try:
            await self._journal.transact(
                [copy for copy in made if copy.state == PENDING],
                [message for message in gone if message.state < SETTLED],
                keyed=keyed_among(made),
            )
        finally:
            for copy in made:
                queue_of(copy).slots.end_transaction()
        schedule.end_dying(gone)
        for due in taken:
            self.gate.count(-due.octets)
            forget(due.message)
        # What is stored and has got its keys is ready.
        insert_by_queue([copy for copy in made if copy.state != SETTLED], self._touched, self._work)

    def _copies(self, schedule: Queue, due: _Due, admission: QueueAdmission) -> list[Message]:
        """Make a message for each queue. What a queue has no room for, or looks at later, stays in the schedule."""
        source, now = due.message, self._now_ms()
        copies: list[Message] = []
        queues: list[Queue] = []
        for target in due.targets:
            again = self._again_at(target, due, admission, now)
            if again:
                header = sealed(due.header, again, target.name)
                copies.append(self._copy(schedule, header, source, PENDING))
                continue
            copy = self._copy(
                target.level_for(due.header),
                due.header,
                source,
                state_of(target, is_persistent=due.is_persistent or target in due.rules),
                is_keyed=target in due.rules,
            )
            queues.append(target)
            copies.append(copy)
        into_queues = [copy for copy in copies if copy.queue is not schedule]
        if due.rules:
            ask_for_keys(into_queues, queues, due.rules)
        if not source.content_id:
            share_body([copy for copy in copies if copy.state == PENDING])
        return copies

    def _copy(self, queue: Queue, header: bytes, source: Message, state: int, *, is_keyed: bool = False) -> Message:
        new = KeyedMessage if is_keyed else Message
        copy = new(self._ids.next(), queue, source.routing, header, source.body, source.chunks, state)
        if state == PENDING:
            copy.content_id = source.content_id
        note_due(copy)
        return copy

    def _again_at(self, target: Queue, due: _Due, admission: QueueAdmission, now: int) -> int:
        """Return when to try again to put a message into a queue, 0 to do so now."""
        name = target.settings.deliver_at_header
        if name is not None and due.is_routed:
            headers = decode_properties(due.header[4:-1]).headers
            later = 0 if headers is None else due_by_header(headers.values, name, now)
            if later:
                return later
        return now + FULL_PAUSE if admission.refuses(target, due.message.size, is_late=True) else 0
