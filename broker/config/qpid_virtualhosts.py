"""`advanced/qpid-virtualhosts.xml`: Andes' single virtual host and its alert thresholds (andes.md §1.4).

Knows the elements and their defaults. Virtual hosts of this broker are made at run time, so nothing here has an effect.
"""

from __future__ import annotations

from typing import ClassVar

from broker.config.values import Amount, Boolean, Count, CountOrZero, Name, Section, VerbatimText, xml


class Housekeeping(Section):
    """Qpid's periodic tasks."""

    thread_count: Count = xml("threadCount", 2)
    expired_message_check_period_ms: Count = xml("expiredMessageCheckPeriod", 20_000)


class ExchangeDefault(Section):
    """An exchange to make at start."""

    type: str = xml("type", "direct")
    name: str = xml("name", "")
    durable: Boolean = xml("durable", False)


class Exchanges(Section):
    """Exchanges to make at start."""

    exchange: tuple[ExchangeDefault, ...] = xml("exchange", ())


class QueueAlerts(Section):
    """Thresholds above which Qpid alerts; 0 is off. They never reject a message."""

    maximum_queue_depth_bytes: Amount = xml("maximumQueueDepth", 0)
    maximum_message_size_bytes: Amount = xml("maximumMessageSize", 0)
    maximum_message_age_ms: Amount = xml("maximumMessageAge", 0)
    maximum_message_count: CountOrZero = xml("maximumMessageCount", 0)


class VirtualHostSettings(Section):
    """The element that is named like its virtual host."""

    housekeeping: Housekeeping = xml("housekeeping", Housekeeping())
    exchanges: Exchanges = xml("exchanges", Exchanges())
    queues: QueueAlerts = xml("queues", QueueAlerts())


class VirtualHostEntry(Section):
    """One virtual host."""

    has_foreign_content: ClassVar[bool] = True

    name: Name = xml("name", "carbon")
    carbon: VirtualHostSettings = xml("carbon", VirtualHostSettings())


class QpidVirtualHosts(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    default: Name = xml("default", "carbon")
    work: VerbatimText = xml("work", "${QPID_WORK}")
    virtualhost: tuple[VirtualHostEntry, ...] = xml("virtualhost", (VirtualHostEntry(),))
