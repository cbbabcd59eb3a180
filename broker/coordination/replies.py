"""Replies to channels of other nodes (ADR 44): what leaves this node, and what comes from others.

To each node there is one call at a time, so that replies arrive in order. What waits for its turn is bounded, and what
does not fit is lost, as everything is that a node does not answer for. Pure: the callers are handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from broker.errors import CoordinationError
from broker.message import body_tails, tail
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, Reply, ReplyPart, Unavailable

MOST_WAITING: Final = 16 * 1024 * 1024
"""Octets of replies to one node that wait for their turn; one that is larger waits alone."""
MOST_IN_CALL: Final = 100
"""Replies in one call: the other node delivers them in one turn of its loop."""
CALL_OCTETS: Final = 512 * 1024
"""Octets of bodies in one call: a larger reply goes in pieces. Calls of more than 1 MiB are refused."""
_FRAME_OCTETS: Final = 131_072
"""How the other node cuts bodies; a client with smaller frames gets them cut again."""

OnAnswer: TypeAlias = Callable[[bool], None]


@dataclass(slots=True)
class _Line:
    """The replies to one incarnation of a node."""

    service: SlotService
    waiting: deque[tuple[Reply, OnAnswer]] = field(default_factory=deque)
    octets: int = 0
    """What those that wait or are under way occupy."""
    calls: int = 0
    is_busy: bool = False


class ReplySender:
    """Sends replies to the channels of other nodes."""

    def __init__(
        self,
        members: Callable[[], Mapping[Incarnation, SlotService]],
        caller: Callable[[], Caller],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        on_answered: Callable[[], None],
    ) -> None:
        """`spawn` runs a coroutine; `on_answered` is called when callers have been told what became of replies."""
        self._members = members
        self._caller = caller
        self._spawn = spawn
        self._on_answered = on_answered
        self._lines: dict[str, _Line] = {}

    def send(self, incarnation: str, reply: Reply, on_answer: OnAnswer) -> None:
        """Send a reply on its way to the node of this incarnation; `on_answer` learns whether a channel has got it."""
        line = self._line(incarnation)
        weight = reply.weight
        if line is None or (line.octets and line.octets + weight > MOST_WAITING):
            on_answer(False)
            return
        line.waiting.append((reply, on_answer))
        line.octets += weight
        if not line.is_busy:
            line.is_busy = True
            self._spawn(self._empty(line))

    async def awaits(self, incarnation: str, vhost: str, address: str) -> bool:
        """Does a channel of that node consume replies at `address`? No, if the node cannot be asked."""
        service = self._service(incarnation)
        if service is None:
            return False
        try:
            return await service.awaits_reply(vhost, address, self._caller())
        except CoordinationError:
            return False

    def _service(self, incarnation: str) -> SlotService | None:
        return next((service for member, service in self._members().items() if member.id == incarnation), None)

    def _line(self, incarnation: str) -> _Line | None:
        """Return the line to a living node, None when there is no such node."""
        service = self._service(incarnation)
        if service is None:
            return None
        line = self._lines.get(incarnation)
        if line is None:
            living = {member.id for member in self._members()}
            self._lines = {known: line for known, line in self._lines.items() if known in living}
            line = self._lines[incarnation] = _Line(service)
        return line

    async def _empty(self, line: _Line) -> None:
        """Send everything that waits in a line, and what comes meanwhile."""
        try:
            while line.waiting:
                await self._send_some(line)
        finally:
            line.is_busy = False

    async def _send_some(self, line: _Line) -> None:
        """Send as many replies as one call takes, or a large one in as many calls as it takes."""
        sent = [line.waiting.popleft()]
        octets = _size(sent[0][0])
        while line.waiting and len(sent) < MOST_IN_CALL:
            octets += _size(line.waiting[0][0])
            if octets > CALL_OCTETS:
                break
            sent.append(line.waiting.popleft())
        answers: Sequence[bool] = ()
        try:
            with suppress(CoordinationError):  # lost, or nobody knows
                if len(sent) == 1:
                    answers = [await self._send_in_pieces(line, sent[0][0])]
                else:
                    answers = await self._call(line, [next(_parts(reply)) for reply, _ in sent])
        finally:
            line.octets -= sum(reply.weight for reply, _ in sent)
            for place, (_, on_answer) in enumerate(sent):
                on_answer(place < len(answers) and answers[place])
            self._on_answered()

    async def _send_in_pieces(self, line: _Line, reply: Reply) -> bool:
        is_awaited = False
        for part in _parts(reply):
            (is_awaited,) = await self._call(line, [part])
            if not is_awaited:
                break
        return is_awaited

    async def _call(self, line: _Line, parts: Sequence[ReplyPart]) -> Sequence[bool]:
        line.calls += 1
        return await line.service.deliver_replies(line.calls, parts, self._caller())


def _size(reply: Reply) -> int:
    """Return the octets that a reply takes in a call."""
    return len(reply.header) + int.from_bytes(reply.header[8:16], "big")


def _parts(reply: Reply) -> Iterator[ReplyPart]:
    """Cut a reply into what one call takes each."""
    payload = reply.body[4:-1] if reply.chunks is None else b"".join(chunk[4:-1] for chunk in reply.chunks)
    header = reply.header[4:-1]
    yield ReplyPart(reply.vhost, reply.address, reply.routing, header, payload[:CALL_OCTETS])
    for start in range(CALL_OCTETS, len(payload), CALL_OCTETS):
        yield ReplyPart(reply.vhost, reply.address, reply.routing, b"", payload[start : start + CALL_OCTETS])


@dataclass(slots=True)
class _Incoming:
    """What has come from one incarnation of a node."""

    call: int = 0
    answer: Sequence[bool] = ()
    header: bytes = b""
    """Of the reply that is not complete."""
    pieces: list[bytes] = field(default_factory=list)
    missing: int = 0
    """Octets of its body that are still to come."""


class ReplyIntake:
    """Takes replies that other nodes send to channels of this one."""

    def __init__(
        self,
        deliver: Callable[[Reply], bool],
        is_awaited: Callable[[str, str], bool],
        living: Callable[[], Collection[Incarnation]],
    ) -> None:
        """`deliver` and `is_awaited` ask the channels of this node; `living` returns the other nodes."""
        self._deliver = deliver
        self._is_awaited = is_awaited
        self._living = living
        self._from: dict[Incarnation, _Incoming] = {}

    async def deliver_replies(self, sender: Incarnation, call: int, parts: Sequence[ReplyPart]) -> Sequence[bool]:
        """Deliver what is complete; return for each part whether a channel has got it, or waits for the rest of it.

        A call that comes again changes nothing. Raises `Unavailable` for one that comes after its successor.
        """
        incoming = self._from.get(sender)
        if incoming is None:
            living = self._living()
            self._from = {known: state for known, state in self._from.items() if known in living}
            incoming = self._from[sender] = _Incoming()
        if call < incoming.call:
            raise Unavailable("this call has come too late")
        if call > incoming.call:
            incoming.call = call
            incoming.answer = [self._take(incoming, part) for part in parts]
        return incoming.answer

    async def awaits_reply(self, vhost: str, address: str) -> bool:
        """Does a channel of this node consume replies at `address`?"""
        return self._is_awaited(vhost, address)

    def _take(self, incoming: _Incoming, part: ReplyPart) -> bool:
        if part.header:
            incoming.header, incoming.pieces = part.header, []
            incoming.missing = int.from_bytes(part.header[4:12], "big")
        elif not incoming.missing:
            return False
        if not self._is_awaited(part.vhost, part.address):
            incoming.missing, incoming.pieces = 0, []
            return False
        incoming.pieces.append(part.body)
        incoming.missing -= len(part.body)
        if incoming.missing > 0:
            return True
        if incoming.missing < 0:  # longer than its header says
            incoming.missing, incoming.pieces = 0, []
            return False
        pieces, incoming.pieces, incoming.missing = incoming.pieces, [], 0
        body, chunks = body_tails(b"".join(pieces), _FRAME_OCTETS)
        return self._deliver(Reply(part.vhost, part.address, part.routing, tail(incoming.header), body, chunks))
