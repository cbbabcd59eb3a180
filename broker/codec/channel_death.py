"""Dead letters of a virtual host with a dead letter channel: what their content headers say of their deaths.

Every header is a single value, because WSO2's clients can read no array, and leave a message alone that has one
(docs/jms.md). `x-death` is that array: one that the message came with goes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from broker.codec.death import HEADER_LIMIT, REJECTED, entries_of, largest_removed, octets_of
from broker.codec.field_table import MAX_ENTRIES, FieldTable, Timestamp, name_of, sized
from broker.codec.properties import FLAG_EXPIRATION, FLAG_HEADERS, join_header, split_header
from broker.errors import SyntaxFault

COUNT: Final = "x-death-count"
"""How often the message died: an integer of 32 bits."""
FIRST: Final = "x-first-death-"
LAST: Final = "x-last-death-"
PATH: Final = "x-death-queues"
"""The queues that it went through since a client rejected it last, the newest first, a line each. It is told of
messages that may come back to one of them.
"""
_HISTORY: Final = "x-death"
_MOST: Final = (1 << 31) - 1
_NAME: Final = 255
_LONGEST_PATH: Final = 8192


def channel_header(
    header_payload: bytes,
    *,
    queue: str,
    reason: str,
    exchange: str,
    now_s: int,
    keeps_expiration: bool,
    has_path: bool,
    drops_cc: bool = False,
) -> bytes:
    """Return the content header's payload for the dead letter of a message whose header is `header_payload`.

    The message died in `queue` for `reason` at `now_s`, in seconds since 1970. It had been published to `exchange`.
    With `has_path` it is told which queues it went through; `drops_cc` when another key takes the place of its own.
    Every other property and header keeps its octets, unless `HEADER_LIMIT` is reached: then the largest of the
    message's own headers go.
    """
    start, values = split_header(header_payload)
    if not keeps_expiration:
        values.pop(FLAG_EXPIRATION, None)
    entries = entries_of(values)
    known = _known(entries)
    told = _told(LAST, queue, reason, exchange, now_s)
    count, first = known.get(COUNT), _first(known)
    if not isinstance(count, int) or not 0 < count < _MOST or first is None:
        count, first = 0, _told(FIRST, queue, reason, exchange, now_s)
    told = first | told
    told[COUNT] = _named(COUNT) + b"I" + (count + 1).to_bytes(4, "big")
    if has_path:
        told[PATH] = _named(PATH) + sized(b"S", b"\n".join(_path(known, queue, reason)))
    own = [entry for entry in entries if not (_is_told(name := name_of(entry)) or (drops_cc and name == "CC"))]
    values[FLAG_HEADERS] = b""
    own_room = max(HEADER_LIMIT, len(header_payload)) - len(join_header(start, values)) - 4
    ours = b"".join(told.values())
    own = largest_removed(own, own_room - len(ours), MAX_ENTRIES - len(told))
    values[FLAG_HEADERS] = sized(b"", b"".join(own) + ours)
    return join_header(start, values)


def went_through(header_payload: bytes, queues: Collection[str]) -> set[str]:
    """Return those of `queues` in which the dead letter with this header must not land again, because that would
    complete a cycle no client had a part in (contract L5).
    """
    _, values = split_header(header_payload)
    seen = _path_of(_known(entries_of(values)))
    return {queue for queue in queues if octets_of(queue) in seen}


def died_in(header_payload: bytes) -> str | None:
    """Return the queue in which the dead letter with this header died last; None if the header tells none."""
    try:
        _, values = split_header(header_payload)
    except SyntaxFault:
        return None
    return _text(_known(entries_of(values)).get(LAST + "queue"))


def told_of(header_payload: bytes) -> dict[str, object]:
    """Return what the header of a dead letter says of its deaths, by the names of the headers."""
    try:
        _, values = split_header(header_payload)
    except SyntaxFault:
        return {}
    return {name: value for name, value in _known(entries_of(values)).items() if _is_told(name)}


def _is_told(name: str) -> bool:
    return name in (COUNT, PATH, _HISTORY) or name.startswith((FIRST, LAST))


def _known(entries: list[bytes]) -> dict[str, object]:
    """Return the values of the headers that tell of deaths, but for an array."""
    known: dict[str, object] = {}
    for entry in entries:
        name = name_of(entry)
        if _is_told(name) and name != _HISTORY:
            try:
                known[name] = FieldTable(entry).get(name)
            except SyntaxFault:
                continue
    return known


def _first(known: dict[str, object]) -> dict[str, bytes] | None:
    """Return what a message tells of its first death; None if that is not all that belongs to it."""
    queue, reason, exchange = (_text(known.get(FIRST + name)) for name in ("queue", "reason", "exchange"))
    time = known.get(FIRST + "time")
    if queue is None or reason is None or exchange is None or not isinstance(time, Timestamp):
        return None
    return _told(FIRST, queue, reason, exchange, time.seconds)


def _text(value: object) -> str | None:
    """Return a text of at most 255 octets, None for anything else."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) and len(octets_of(value)) <= _NAME else None


def _path(known: dict[str, object], queue: str, reason: str) -> list[bytes]:
    """Return the queues that a message has gone through, the newest first. A client's rejection begins anew."""
    if reason.encode() == REJECTED:
        return []
    path, size = {octets_of(queue): None}, 0
    for name in _path_of(known):
        size += len(name) + 1
        if size > _LONGEST_PATH:
            break
        path[name] = None
    return list(path)


def _path_of(known: dict[str, object]) -> list[bytes]:
    path = known.get(PATH)
    return octets_of(path).split(b"\n") if path and isinstance(path, str) else []


def _told(prefix: str, queue: str, reason: str, exchange: str, now_s: int) -> dict[str, bytes]:
    texts = {"queue": queue, "reason": reason, "exchange": exchange}
    told = {prefix + name: _named(prefix + name) + sized(b"S", octets_of(text)) for name, text in texts.items()}
    return told | {prefix + "time": _named(prefix + "time") + b"T" + now_s.to_bytes(8, "big")}


def _named(name: str) -> bytes:
    return len(name).to_bytes(1, "big") + name.encode()
