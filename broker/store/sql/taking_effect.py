"""Says once which recorded queues have arguments that earlier versions only stored, when their database is upgraded."""

from __future__ import annotations

from itertools import islice
from typing import Final

import structlog
from sqlalchemy import Connection, select

from broker.codec.field_table import FieldTable
from broker.errors import SyntaxFault
from broker.store.sql.schema import QUEUE

_log = structlog.get_logger(__name__)

LAST_WITHOUT: Final = "0006"
"""The last revision of the schema that only versions have used in which these arguments had no effect."""
ARGUMENTS: Final = frozenset(
    (
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-max-length",
        "x-max-length-bytes",
        "x-overflow",
        "x-delivery-limit",
        "x-max-priority",
        "x-consumer-timeout",
        "x-delayed-retry-type",
        "x-message-groups",
        "x-max-unacked",
        "x-max-rate",
    )
)
"""One that gets an effect in the same release adds its line."""
_LINES: Final = 100


def tell(connection: Connection) -> None:
    """Write a line of the log for each queue with such an argument, up to a hundred, and one that counts them."""
    rows = connection.execute(select(QUEUE.c.vhost, QUEUE.c.queue_name, QUEUE.c.arguments)).all()
    found = [(vhost, name, names) for vhost, name, raw in rows if (names := _taking_effect(raw))]
    for vhost, name, names in islice(found, _LINES):
        _log.warning("arguments take effect that had none before", vhost=vhost, queue=name, arguments=names)
    if found:
        _log.warning("queues have arguments that take effect from this start on", queues=len(found))


def _taking_effect(raw: bytes) -> list[str]:
    try:
        values = FieldTable(raw).values if raw else {}
    except SyntaxFault:  # said when the topology is loaded, which happens at each start
        return []
    is_quorum = values.get("x-queue-type") == "quorum"
    return [name for name in values if name in ARGUMENTS or (name == "x-queue-type" and is_quorum)]
