"""Moving messages of a queue back to where they died, or to another queue, as an operation that can be watched and
taken back (docs/redriving.md).

Each page moves in one transaction of the store. What is ready on other nodes is brought to this one first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from broker.codec.channel_death import died_in
from broker.codec.properties import decode_properties
from broker.errors import AdministrationError, AmqpError, BrokerError
from broker.message import Message
from broker.queue.queue import Queue
from broker.selector.message_view import MessageView
from broker.selector.selector import Selector
from broker.selector.tokens import SelectorError
from broker.topology.dead_letter_channels import AT_ONCE, VAIN_LOOKS, Chosen, DeadLetterChannels, Moved
from broker.topology.jobs import JobBook
from broker.topology.letter import Letter
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

MOST: Final = 100_000
"""Messages that one operation moves at most: it remembers each of them."""
_KEPT: Final = 20
"""Operations that are remembered."""
_STEPS_A_SECOND: Final = 10
"""How often a second an operation with a rate moves messages."""
_DIED_IN: Final = "x-last-death-queue"


@dataclass(frozen=True, slots=True)
class RedriveWish:
    """Which messages of a queue, and where to: the queue in which each of them died, or `target`."""

    vhost: str
    queue: str
    where: str = ""
    """A selector (docs/selectors.md); empty for all."""
    target: str = ""
    limit: int = MOST
    rate: float | None = None
    """Messages in a second; None for as fast as it goes."""


@dataclass(slots=True)
class Redrive:
    """An operation, and how far it is."""

    number: int
    wish: RedriveWish
    state: str = "running"
    error: str = ""
    moved: Moved = field(default_factory=Moved)
    places: dict[Queue, list[int]] = field(default_factory=dict)
    """Where the messages are now, with their ids there."""
    restored: Moved | None = None

    @property
    def is_running(self) -> bool:
        return self.state in ("running", "restoring")

    def told(self) -> dict[str, Any]:
        """Return what operators are told."""
        told: dict[str, Any] = {
            "id": self.number,
            "vhost": self.wish.vhost,
            "queue": self.wish.queue,
            "state": self.state,
            "moved": self.moved.count,
            "left": self.moved.stay,
            "reasons": told_reasons(self.moved),
        }
        if self.error:
            told["error"] = self.error
        if self.restored is not None:
            told |= {"restored": self.restored.count, "not_restored": self.restored.stay}
        return told


class Redrives:
    """The operations of one node."""

    def __init__(
        self,
        vhosts: Mapping[str, VirtualHost],
        channels: DeadLetterChannels,
        *,
        pause: Callable[[float], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._vhosts = vhosts
        self._channels = channels
        self._pause = pause
        self._spawn = spawn
        self._operations = JobBook[Redrive](_KEPT, "wait for one of them")

    def operation(self, number: int) -> Redrive:
        """Return an operation. Raises `AdministrationError` if none is remembered under this number."""
        found = self._operations.find(number)
        if found is None:
            raise AdministrationError(f"this node remembers no operation {number}")
        return found

    async def forecast(self, wish: RedriveWish) -> Moved:
        """Return how many messages an operation would move now, and which would stay and why; move none. What clients
        hold then is not known now. Raises `AdministrationError` for what cannot begin.
        """
        source, selector = self._checked(wish)
        target_of, told, last = self._target_of(wish, source), Moved(), self._channels.newest
        for level in source.levels:
            end: int | None = 0
            while end is not None and told.count < wish.limit:
                page, end = await self._channels.page(level, None, end, last)
                for message in page:
                    if told.count == wish.limit:
                        break
                    if _matches(selector, message):
                        target, reason = target_of(message)
                        if target is None:
                            told.keep(message.id, reason)
                        else:
                            told.count += 1
        return told

    def start(self, wish: RedriveWish) -> Redrive:
        """Begin to move messages."""
        source, selector = self._checked(wish)
        operation = self._operations.add(lambda number: Redrive(number, wish))
        self._spawn(self._run(operation, lambda: self._move(operation, source, selector)))
        return operation

    def undo(self, number: int) -> Redrive:
        """Begin to put back what an operation has moved, as far as it is still ready."""
        operation = self.operation(number)
        if operation.state not in ("done", "failed"):
            raise AdministrationError(f"operation {number} is {operation.state}")
        self._operations.require_room()
        source, _ = self._source(operation.wish)
        operation.state, operation.restored = "restoring", Moved()
        self._spawn(self._run(operation, lambda: self._restore(operation, source)))
        return operation

    def _checked(self, wish: RedriveWish) -> tuple[Queue, Selector | None]:
        """Return the queue and what selects its messages. Raises `AdministrationError` if none of them can move."""
        source, selector = self._source(wish)
        if wish.target and self._queue(wish.vhost, wish.target) is source:
            raise AdministrationError(f"the messages are in queue '{wish.target}' already: say another 'target'")
        return source, selector

    def _target_of(self, wish: RedriveWish, source: Queue) -> Callable[[Message], tuple[Queue | None, str]]:
        """Return what says where a message goes and, if it goes nowhere, why."""
        queues = self._vhosts[wish.vhost].queues

        def target_of(message: Message) -> tuple[Queue | None, str]:
            name = wish.target or _died_in(message)
            if not name:
                return None, "it does not say in which queue it died"
            target = queues.get(name)
            if target is source:
                return None, f"it is in queue '{name}' already"
            return target, f"there is no queue '{name}'"

        return target_of

    def _source(self, wish: RedriveWish) -> tuple[Queue, Selector | None]:
        queue = self._queue(wish.vhost, wish.queue)
        if queue.is_stream:
            raise AdministrationError(f"queue '{wish.queue}' is a stream: replay it")
        try:
            return queue, self._vhosts[wish.vhost].compile_selector(wish.where) if wish.where else None
        except SelectorError as error:
            raise AdministrationError(f"'where' is no selector: {error}") from None

    def _queue(self, vhost: str, name: str) -> Queue:
        found = self._vhosts.get(vhost)
        if found is None:
            raise AdministrationError(f"there is no virtual host '{vhost}'")
        try:
            return found.queue(name)
        except AmqpError as error:
            raise AdministrationError(str(error)) from None

    async def _run(self, operation: Redrive, work: Callable[[], Awaitable[str]]) -> None:
        try:
            operation.state = await work()
        except BrokerError as error:
            operation.state, operation.error = "failed", str(error)
            _log.warning("a redrive has failed", operation=operation.number, reason=str(error))

    async def _move(self, operation: Redrive, source: Queue, selector: Selector | None) -> str:
        wish, moved, last = operation.wish, operation.moved, self._channels.newest
        target_of = self._target_of(wish, source)

        async def look_through() -> None:
            step = AT_ONCE if wish.rate is None else max(int(wish.rate / _STEPS_A_SECOND), 1)
            for level in source.levels:
                end: int | None = 0
                while end is not None and (left := wish.limit - moved.count) > 0:
                    chosen = Chosen(matches=lambda each: _matches(selector, each), most=min(step, left))
                    letters, end = await self._channels.withdraw(level, chosen, end, last, target_of, moved, {})
                    await self._send(operation, letters)
                    moved.count += len(letters)
                    if wish.rate is not None and letters:
                        await self._pause(len(letters) / wish.rate)

        vain = 0
        while vain < VAIN_LOOKS and moved.count < wish.limit:
            before = moved.count
            moved.forget_kept()
            await look_through()
            vain = 0 if moved.count > before else vain + 1
            if not await self._channels.fetch(source):
                break
        return "done"

    async def _send(self, operation: Redrive, letters: list[Letter]) -> None:
        if letters:
            for letter in letters:
                letter.places = []
            await self._channels.move(letters)
            for letter in letters:
                for queue, message_id in letter.places or ():
                    operation.places.setdefault(queue, []).append(message_id)

    async def _restore(self, operation: Redrive, source: Queue) -> str:
        restored = operation.restored = Moved()
        last = self._channels.newest
        for queue, ids in operation.places.items():
            for start in range(0, len(ids), AT_ONCE):
                part = tuple(ids[start : start + AT_ONCE])
                left = await self._restore_part(queue, part, source, last, restored)
                if left and await self._channels.fetch(queue):
                    left = await self._restore_part(queue, tuple(left), source, last, restored)
                for message_id, reason in left.items():
                    restored.keep(message_id, reason)
        operation.places.clear()
        return "undone"

    async def _restore_part(
        self, queue: Queue, part: tuple[int, ...], source: Queue, last: int, restored: Moved
    ) -> dict[int, str]:
        """Put messages back that are ready here, in one transaction; return why the others stay, by their ids."""
        kept = Moved()
        letters, _ = await self._channels.withdraw(queue, Chosen(part), 0, last, lambda _: (source, ""), kept, {})
        if letters:
            await self._channels.move(letters)
        restored.count += len(letters)
        taken = {letter.message.id for letter in letters}
        return {each: kept.reasons.get(each, "it is not there any more") for each in part if each not in taken}


def told_reasons(moved: Moved) -> list[dict[str, Any]]:
    """Return why messages stay, by their ids."""
    return [{"id": each, "reason": reason} for each, reason in moved.reasons.items()]


def _matches(selector: Selector | None, message: Message) -> bool:
    return selector is None or selector.matches(MessageView.of(message))


def _died_in(message: Message) -> str | None:
    """Return the queue in which a message died last, as its headers say."""
    try:
        headers = decode_properties(message.header_payload).headers
    except AmqpError:
        return None
    name = None if headers is None else headers.values.get(_DIED_IN)
    return name if isinstance(name, str) else died_in(message.header_payload)
