"""The settings of a queue, and the limits of its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from broker.codec.field_table import FieldTable
from broker.ports.levels import highest_level
from broker.queue.deduplication import Deduplication
from broker.queue.time_to_live import KEPT, KeptTimeToLive, first_unexpired
from broker.queue.values import MAX_NAME as MAX_NAME
from broker.queue.values import MAX_TIME as MAX_TIME
from broker.queue.values import age_in_ms
from broker.queue.values import number as _number

QUORUM_DELIVERY_LIMIT: Final = 20
"""How often a message of a quorum queue may be given back, if its arguments do not say (contract F10)."""


MOST_RATE: Final = 1e9
"""A rate of deliveries, in messages per second, is less than this."""
LEAST_RATE: Final = 1e-6
"""It is not less than this."""


class QueueType(Enum):
    """Which rules hold for a queue (contract F12). All types are kept in the same store."""

    CLASSIC = "classic"
    QUORUM = "quorum"
    STREAM = "stream"

    @classmethod
    def of(cls, arguments: FieldTable) -> QueueType:
        """Return the type that arguments ask for; the classic one if they name none, or none that there is."""
        return cls.named(arguments.values.get("x-queue-type")) or cls.CLASSIC

    @classmethod
    def named(cls, name: object) -> QueueType | None:
        """Return the type of this name, None if there is none."""
        return next((each for each in cls if each.value == name), None)


class Overflow(Enum):
    """What becomes of messages when a queue has reached its length (contract F8)."""

    DROP_HEAD = "drop-head"
    REJECT_PUBLISH = "reject-publish"
    REJECT_PUBLISH_DLX = "reject-publish-dlx"


@dataclass(frozen=True, slots=True)
class RetryDelay:
    """How long a message waits that was given back: `least` times the number of its deliveries, `most` at the longest.

    Times are in milliseconds.
    """

    least: int
    most: int
    after_return: bool = True
    """Does a message wait that a client has given back?"""
    after_loss: bool = True
    """Does a message wait whose client is gone, or did not answer in time?"""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RetryDelay | None:
        """Return the delay that arguments ask for (contract F13)."""
        kind, least = values.get("x-delayed-retry-type"), _number(values.get("x-delayed-retry-min"), MAX_TIME)
        if kind not in ("all", "failed", "returned") or not least:
            return None
        most = _number(values.get("x-delayed-retry-max"), MAX_TIME) or least
        return cls(least, max(least, most), after_return=kind != "failed", after_loss=kind != "returned")

    def after(self, deliveries: int) -> int:
        """Return how long a message waits that was delivered so often."""
        return min(self.least * deliveries, self.most)


@dataclass(frozen=True, slots=True)
class StreamRetention:
    """How much of a stream stays: at least so many octets, and whatever is younger than so many milliseconds."""

    max_octets: int | None
    max_age_ms: int | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> StreamRetention | None:
        """Return the retention that arguments ask for; None if all of the stream stays."""
        max_octets, max_age = _number(values.get("x-max-length-bytes")), age_in_ms(values.get("x-max-age"))
        return None if max_octets is None and max_age is None else cls(max_octets, max_age)


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The settings of a queue, computed once from its arguments so that no other code reads single arguments.

    None means that there is no such setting. Times are in milliseconds.
    """

    single_active_consumer: bool = False
    """Of all consumers on all nodes, only one gets messages."""
    is_subscription: bool = False
    """It is a durable subscription of JMS: it has one consumer at a time, unless these share it."""
    message_ttl: int | None = None
    """How long a message may be ready before it expires."""
    kept_ttl: KeptTimeToLive | None = None
    """What messages keep instead that had come before that was altered."""
    expires: int | None = None
    """How long the queue may be without use before it is deleted."""
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    """The key for the dead-letter exchange in the place of the message's own keys."""
    channel_reasons: frozenset[str] | None = None
    """If the dead letters go to the dead letter channel of a dialect: the reasons for which messages do; None: all."""
    is_dead_lettered_at_least_once: bool = False
    """Does a dead message stay in the queue until it is safe in another?"""
    max_length: int | None = None
    """How many messages may be ready."""
    max_length_bytes: int | None = None
    """How many octets the bodies of ready messages may have."""
    overflow: Overflow = Overflow.DROP_HEAD
    max_priority: int = 0
    """The highest priority that messages are told apart by; 0: all are equal."""
    delivery_limit: int | None = None
    """How often a message may be given back before it is dropped or dead-lettered."""
    counts_seen_only: bool = False
    """Is a message not counted that comes back without having been in a client's hands?"""
    retry_delay: RetryDelay | None = None
    consumer_timeout: int | None = None
    """How long a delivery may be without an answer before it is taken back."""
    group_concurrency: int = 0
    """How many messages of one group clients may hold; 0 if the queue has no message groups."""
    max_unacked: int | None = None
    """How many messages of the queue clients may hold, over all consumers and nodes."""
    max_rate: float | None = None
    """How many messages consumers may get in a second, over all consumers and nodes."""
    deduplication: Deduplication | None = None
    """How messages that are published again are left out; None in a queue that is not stored, whatever is asked for."""
    deliver_at_header: str | None = None
    """The header with the time before which a message does not come into the queue."""
    type: QueueType = QueueType.CLASSIC
    retention: StreamRetention | None = None
    """Of a stream, which has none of the other settings: what of it stays."""

    @property
    def has_length(self) -> bool:
        """May only so much be ready?"""
        return self.max_length is not None or self.max_length_bytes is not None

    @property
    def has_groups(self) -> bool:
        """Do messages belong to groups, whose order is kept and which take turns?"""
        return self.group_concurrency > 0

    @property
    def limits_deliveries(self) -> bool:
        """May consumers have less than they have credit for?"""
        return self.max_unacked is not None or self.max_rate is not None

    @property
    def is_given_by_one_node(self) -> bool:
        """Does one node of a cluster give out all messages (ADR 84)?"""
        return self.has_groups or self.limits_deliveries

    @property
    def has_retention(self) -> bool:
        """Do messages leave the queue by themselves?"""
        return self.message_ttl is not None or self.kept_ttl is not None or self.has_length

    def ttl_of(self, message_id: int) -> int | None:
        """Return how long this message may be ready."""
        kept = self.kept_ttl
        return kept.ttl if kept is not None and message_id < kept.end else self.message_ttl

    def first_unexpired(self, now_ms: int) -> int:
        """Return an id of which all older messages have expired by the queue's time to live."""
        kept, first = self.kept_ttl, first_unexpired(self.message_ttl, now_ms)
        if kept is None:
            return first
        before = first_unexpired(kept.ttl, now_ms)
        return before if before < kept.end else max(kept.end, first)

    @property
    def allows_selectors(self) -> bool:
        """May consumers select messages?"""
        return not (self.single_active_consumer or self.max_priority or self.has_groups)

    @property
    def refuses_publishers(self) -> bool:
        """Must each publish be looked at, because the queue may refuse it?"""
        return self.has_length and self.overflow is not Overflow.DROP_HEAD

    @property
    def looks_at_publishers(self) -> bool:
        """Must each publish be looked at, because the queue may refuse it, have it already or get it later?"""
        return self.deduplication is not None or self.refuses_publishers or self.deliver_at_header is not None

    @property
    def counts_deliveries(self) -> bool:
        """Do deliveries after the first tell how many there were, and does the store keep that?"""
        return self.delivery_limit is not None or self.retry_delay is not None or self.type is QueueType.QUORUM

    @property
    def has_channel(self) -> bool:
        """Do its dead letters go to the dead letter channel of a dialect?"""
        return self.channel_reasons is not None

    def is_dead_lettered(self, reason: str) -> bool:
        """Does a message that dies for this reason go on to the dead-letter exchange?"""
        reasons = self.channel_reasons
        return self.dead_letter_exchange is not None and (reasons is None or reason in reasons)

    @property
    def is_active_preempted(self) -> bool:
        """Does the single active consumer give way to one of a higher priority, before it goes itself?"""
        return self.type is QueueType.QUORUM

    @classmethod
    def of(cls, arguments: FieldTable) -> QueueSettings:
        """Return what the arguments of queue.declare ask for. One that is not as it should be has no effect.

        Those of a new queue were checked before (`topology/queue_arguments.py`); a recorded queue may have others.
        """
        return cls.of_values(arguments.values, QueueType.of(arguments))

    @classmethod
    def of_values(cls, values: Mapping[str, Any], queue_type: QueueType) -> QueueSettings:
        """Likewise of arguments as they are together with policies (`queue/policy_keys.py`)."""
        if queue_type is QueueType.STREAM:
            return cls(type=queue_type, retention=StreamRetention.of(values))
        is_classic = queue_type is QueueType.CLASSIC
        dead_letter_exchange = _name(values.get("x-dead-letter-exchange"))
        dead_letter_key = _name(values.get("x-dead-letter-routing-key"))
        return cls(
            single_active_consumer=values.get("x-single-active-consumer") is True,
            is_subscription=values.get("x-durable-subscription") is True,
            message_ttl=_number(values.get("x-message-ttl"), MAX_TIME),
            kept_ttl=KeptTimeToLive.of(values.get(KEPT)),
            expires=_number(values.get("x-expires"), MAX_TIME) or None,
            dead_letter_exchange=dead_letter_exchange,
            dead_letter_routing_key=None if dead_letter_exchange is None else dead_letter_key,
            is_dead_lettered_at_least_once=values.get("x-dead-letter-strategy") == "at-least-once",
            max_length=_number(values.get("x-max-length")),
            max_length_bytes=_number(values.get("x-max-length-bytes")),
            overflow=_overflow(values.get("x-overflow")),
            max_priority=highest_level(values) if is_classic else 0,
            delivery_limit=_delivery_limit(values, queue_type),
            retry_delay=RetryDelay.of(values),
            consumer_timeout=_number(values.get("x-consumer-timeout"), MAX_TIME) or None,
            group_concurrency=_group_concurrency(values),
            max_unacked=_number(values.get("x-max-unacked")) or None,
            max_rate=_rate(values.get("x-max-rate")),
            deduplication=Deduplication.of(values),
            deliver_at_header=_name(values.get("x-deliver-at-header")) or None,
            type=queue_type,
        )


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and len(value.encode()) <= MAX_NAME else None


def _overflow(value: object) -> Overflow:
    return next((each for each in Overflow if each.value == value), Overflow.DROP_HEAD)


def _group_concurrency(values: Mapping[str, Any]) -> int:
    if values.get("x-message-groups") is not True:
        return 0
    return _number(values.get("x-group-concurrency")) or 1


def _rate(value: object) -> float | None:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return float(value) if is_number and LEAST_RATE <= value < MOST_RATE else None  # type: ignore[arg-type,operator]


def _delivery_limit(values: Mapping[str, Any], queue_type: QueueType) -> int | None:
    """Return the limit of an argument, otherwise that of the type; a negative argument means that there is none."""
    limit = values.get("x-delivery-limit")
    if isinstance(limit, int) and not isinstance(limit, bool):
        return limit if limit >= 0 else None
    return QUORUM_DELIVERY_LIMIT if queue_type is QueueType.QUORUM else None


SCHEDULE_SETTINGS: Final = QueueSettings(dead_letter_exchange="")
"""Those of a schedule: what is due in it goes on (`topology/firing.py`)."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much of a queue may be in memory on one node."""

    memory: int = 16 * 1024 * 1024
    """Octets of stored messages kept in memory; the rest lies in slots."""
    transient_memory: int = 256 * 1024 * 1024
    """Octets of messages kept in memory that have no row yet: paging them out costs an insert."""
    window_size: int = 1000
    """Messages of a slot (`performanceTuning/slots/windowSize`)."""
    read_ahead: int = 2000
    """Messages read from the store at once."""
    read_ahead_bytes: int = 8 * 1024 * 1024
