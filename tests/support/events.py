"""What clients saw of a broker, event by event, and what can be wrong with it: the words of the checker.

Knows a history and its file; must not judge, and must not know a client, a socket or a clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

Key = tuple[str, int]
Copy = tuple[str, Key]


class Op(StrEnum):
    OPEN = "open"
    CLOSE = "close"
    CONSUME = "consume"
    PUBLISH = "publish"
    CONFIRM = "confirm"
    RETURN = "return"
    DELIVER = "deliver"
    DRAIN = "drain"
    ACK = "ack"
    REJECT = "reject"
    REQUEUE = "requeue"
    COMMIT = "commit"
    KILL = "kill"
    NODE_ENDED = "node_ended"


class Outcome(StrEnum):
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class FaultKind(StrEnum):
    LOST = "lost"
    PHANTOM = "phantom"
    RESURRECTED = "resurrected"
    DUPLICATED_UNFLAGGED = "duplicated_unflagged"
    UNPROVOKED = "unprovoked"
    REORDERED = "reordered"
    DOUBLE_CONFIRM = "double_confirm"
    NACK_APPEARED = "nack_appeared"
    TX_PARTIAL = "tx_partial"
    MISSING_CONFIRM = "missing_confirm"
    OVERDELIVERY = "overdelivery"
    LETTER_LOST = "letter_lost"
    TWO_PLACES = "two_places"
    EXPIRED_EARLY = "expired_early"
    DELIVERED_EXPIRED = "delivered_expired"
    IMPOSSIBLE_DEATH = "impossible_death"
    OVER_LIMIT = "over_limit"
    OVER_LENGTH = "over_length"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRules:
    """What a queue was declared with. Messages over `max_length` are dropped from its head.

    What dies in it goes to `dead_letter_queue`, to which nothing else may go: no publish, and no two copies of one
    message. Empty: it is gone.
    """

    dead_letter_queue: str = ""
    message_ttl: float | None = None
    """Seconds."""
    max_length: int | None = None
    delivery_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing a client did or saw, between `t_inv` and `t_ret` of one monotonic clock.

    `channel` names one incarnation of a channel. `DRAIN` is the delivery to the only consumer of a quiet queue, which
    settles the message. `CLOSE` is `OK` when the client asked for it with nothing left to wait for, else `INFO`.
    `COMMIT` is `FAIL` for a rollback. `queues` of a publish is where its message must arrive. `death` of a dead letter
    is where it died last and why, as it says itself. `NODE_ENDED` is the end of one of several nodes, whose trouble
    began at `t_inv`; `KILL` is the end of all.
    """

    t_inv: float
    t_ret: float
    process: str
    op: Op
    type: Outcome = Outcome.OK
    channel: str = ""
    queue: str = ""
    key: Key | None = None
    tag: int = 0
    redelivered: bool = False
    queues: tuple[str, ...] = ()
    persistent: bool = True
    prefetch: int = 0
    transaction: str = ""
    death: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken promise."""

    kind: FaultKind
    queue: str
    key: Key | None
    detail: str


def write_jsonl(history: Iterable[Event], path: Path) -> None:
    """Store a history as one JSON object a line."""
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(event), separators=(",", ":")) + "\n" for event in history)


def read_jsonl(path: Path) -> list[Event]:
    """Read back what `write_jsonl` stored."""
    return [_from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _from_json(fields: dict[str, object]) -> Event:
    key, queues, death = (fields.pop(name) for name in ("key", "queues", "death"))
    op, outcome = Op(str(fields.pop("op"))), Outcome(str(fields.pop("type")))
    return Event(
        op=op,
        type=outcome,
        key=tuple(key) if key else None,  # type: ignore[arg-type]
        queues=tuple(queues),  # type: ignore[arg-type]
        death=tuple(death) if death else None,  # type: ignore[arg-type]
        **fields,  # type: ignore[arg-type]
    )
