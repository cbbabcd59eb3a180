"""Dead letters: what the content header of a message says of its deaths (contract L1 to L5).

Knows the header `x-death` and those beside it, as octets. Knows no queue, no exchange and no clock.

A message that comes with an `x-death` keeps its history, whoever wrote it: RabbitMQ's versions up to 3.13 do the same,
and programs that publish a message again with its headers rely on the count. What in it is no death is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from broker.codec.field_table import MAX_ENTRIES, FieldTable, Timestamp, name_of, sized
from broker.codec.properties import FLAG_EXPIRATION, FLAG_HEADERS, join_header, split_header
from broker.errors import SyntaxFault

HEADER_LIMIT: Final = 131_064
"""Octets that the header of a dead letter may have, unless it was larger before: what fits into a frame."""

REJECTED: Final = b"rejected"
"""The reason of a death that a client asked for."""

_HISTORY: Final = "x-death"
_HISTORY_START: Final = b"\x07x-death"
_FEW_KEYS: Final = 10
_ROOMY: Final = 8192
"""Octets in which an element has room for so few keys, each as long as a name may be."""
_FIRST: Final = "x-first-death-"
_LAST: Final = "x-last-death-"
_MOST: Final = (1 << 63) - 1


def dead_letter_header(
    header_payload: bytes,
    *,
    queue: str,
    reason: str,
    exchange: str,
    routing_keys: Sequence[str],
    now_s: int,
    drops_cc: bool,
) -> bytes:
    """Return the content header's payload for the dead letter of a message whose header is `header_payload`.

    The message died in `queue` for `reason` at `now_s`, in seconds since 1970. It had been published to `exchange`;
    `routing_keys` are its own and those in CC, without those in BCC. `drops_cc` when another key takes their place.

    `expiration` goes. Every other property and header keeps its octets, unless the limit is reached: then the largest
    of the message's own headers go, so that the newest deaths are always known and every cycle ends; a history that is
    too long in itself loses its oldest deaths. A table that is malformed is replaced.
    """
    start, values = split_header(header_payload)
    expiration = values.pop(FLAG_EXPIRATION, b"")[1:]
    entries = entries_of(values)
    deaths = _deaths_in(entries)
    death = _Death(
        octets_of(queue), octets_of(reason), 1, now_s, octets_of(exchange), tuple(map(octets_of, routing_keys))
    )
    if expiration:
        death = replace(death, original_expiration=expiration)
    told = _summary(_LAST, death) | ({} if deaths else _summary(_FIRST, death))
    gone = {*told, _HISTORY, *(("CC",) if drops_cc else ())}
    own = [entry for entry in entries if name_of(entry) not in gone]
    values[FLAG_HEADERS] = b""
    room = max(HEADER_LIMIT, len(header_payload)) - len(join_header(start, values))
    values[FLAG_HEADERS] = _table(own, _added(deaths, death), told, room)
    return join_header(start, values)


def died_before(header_payload: bytes, queues: Collection[str]) -> set[str]:
    """Return those of `queues` in which the dead letter with this header must not land, because that would complete a
    cycle no client had a part in (contract L5): it died there, and nobody has rejected it since.

    The header is that of `dead_letter_header`: its newest death is the one that it is on its way from.
    """
    _, values = split_header(header_payload)
    seen = set()
    for death in _deaths_in(entries_of(values)):
        if death.reason == REJECTED:
            break
        seen.add(death.queue)
    return {queue for queue in queues if octets_of(queue) in seen} if seen else set()


@dataclass(frozen=True, slots=True)
class _Death:
    """All deaths in one queue for one reason: how many there were, and the first one. Texts are octets."""

    queue: bytes
    reason: bytes
    count: int
    time: int
    exchange: bytes
    routing_keys: tuple[bytes, ...]
    original_expiration: bytes | None = None

    @classmethod
    def of(cls, value: object) -> Self | None:
        """Return the death that an element of `x-death` tells, or None when it has not all that makes one."""
        if not isinstance(value, dict):
            return None
        queue, reason, exchange = (_name(value.get(name)) for name in ("queue", "reason", "exchange"))
        time, keys = value.get("time"), value.get("routing-keys")
        count, seconds = _number(value.get("count")), _number(time.seconds if isinstance(time, Timestamp) else time)
        routing_keys = tuple(map(octets_of, keys)) if isinstance(keys, list) else (None,)
        if None in (queue, reason, exchange, count, seconds, *routing_keys):
            return None
        return cls(queue, reason, count, seconds, exchange, routing_keys, _name(value.get("original-expiration")))

    def within(self, room: int) -> Self:
        """Return this death with as many of its keys as an element of `room` octets may have."""
        if room >= _ROOMY and len(self.routing_keys) <= _FEW_KEYS:
            return self
        keys, size = [], len(replace(self, routing_keys=()).element())
        for key in self.routing_keys[:MAX_ENTRIES]:
            size += 5 + len(key)
            if size > room:
                break
            keys.append(key)
        return replace(self, routing_keys=tuple(keys))

    def element(self) -> bytes:
        """Return the octets of the table in `x-death`, without their count."""
        keys = b"".join([sized(b"S", key) for key in self.routing_keys])
        parts = [
            b"\x05countl" + self.count.to_bytes(8, "big"),
            b"\x06reason" + sized(b"S", self.reason),
            b"\x05queue" + sized(b"S", self.queue),
            b"\x04timeT" + self.time.to_bytes(8, "big"),
            b"\x08exchange" + sized(b"S", self.exchange),
            b"\x0crouting-keys" + sized(b"A", keys),
        ]
        if self.original_expiration is not None:
            parts.append(b"\x13original-expiration" + sized(b"S", self.original_expiration))
        return b"".join(parts)


def octets_of(text: object) -> Any:
    """Return the octets of a text as a table or a frame gives it, None for anything else."""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    return text if type(text) is bytes else None


def _name(value: object) -> Any:
    """Return the octets of a name, None for what cannot be one."""
    octets = octets_of(value)
    return octets if octets is not None and len(octets) <= 255 else None


def _number(value: object) -> Any:
    """Return a number from 0 to the largest of 64 bits, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST else None


def entries_of(values: dict[int, bytes]) -> list[bytes]:
    try:
        return FieldTable(values.get(FLAG_HEADERS, b"")[4:]).entries
    except SyntaxFault:
        return []


def _deaths_in(entries: list[bytes]) -> list[_Death]:
    """Return the deaths, newest first, one for each queue and reason."""
    history: object = None
    for entry in entries:
        if name_of(entry) == _HISTORY:
            try:
                history = FieldTable(entry).get(_HISTORY)
            except SyntaxFault:
                history = None
    if not isinstance(history, list):
        return []
    deaths: dict[tuple[bytes, bytes], _Death] = {}
    for value in history:
        if death := _Death.of(value):
            deaths.setdefault((death.queue, death.reason), death)
    return list(deaths.values())


def _added(deaths: list[_Death], newest: _Death) -> Iterator[_Death]:
    """Yield the newest death, or the one that it repeats with one more, and then the others."""
    others = []
    for death in deaths:
        if (death.queue, death.reason) == (newest.queue, newest.reason):
            newest = replace(death, count=min(death.count + 1, _MOST))
        else:
            others.append(death)
    yield newest
    yield from others


def _summary(prefix: str, death: _Death) -> dict[str, bytes]:
    return {
        prefix + "reason": death.reason,
        prefix + "queue": death.queue,
        prefix + "exchange": death.exchange,
    }


def _entry(name: str, text: bytes) -> bytes:
    return len(name).to_bytes(1, "big") + name.encode() + sized(b"S", text)


def _table(own: list[bytes], deaths: Iterator[_Death], told: dict[str, bytes], room: int) -> bytes:
    """Return the octets of the property `headers`, of at most `room` octets."""
    summary = b"".join([_entry(name, text) for name, text in told.items()])
    room -= 4 + len(summary) + len(_HISTORY_START) + 5
    history: list[bytes] = []
    for death in deaths:
        element = (death if history else death.within(room - 5)).element()
        room -= 5 + len(element)
        if history and (room < 0 or len(history) == MAX_ENTRIES):
            room += 5 + len(element)
            break
        history.append(element)
    own = largest_removed(own, room, MAX_ENTRIES - len(told) - 1)
    elements = b"".join([sized(b"F", element) for element in history])
    return sized(b"", b"".join((*own, _HISTORY_START, sized(b"A", elements), summary)))


def largest_removed(entries: list[bytes], room: int, most: int) -> list[bytes]:
    """Return `entries` without the largest, so that at most `most` are left, of at most `room` octets."""
    size = sum(map(len, entries))
    if size <= room and len(entries) <= most:
        return entries
    left = dict(enumerate(entries))
    for index in sorted(left, key=lambda index: len(left[index]), reverse=True):
        if size <= room and len(left) <= most:
            break
        size -= len(left.pop(index))
    return list(left.values())
