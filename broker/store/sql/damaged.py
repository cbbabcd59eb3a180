"""What becomes of damaged messages: said in the log, set aside in the store, and the queue goes on (ADR 35)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

import structlog
from sqlalchemy import Connection

from broker.errors import StoreUnavailable
from broker.ports.cluster_rows import Incarnation
from broker.store.sql import messages
from broker.store.sql.fencing import check_incarnation
from broker.store.sql.shared_store import Work

_log = structlog.get_logger(__name__)

_LINES: Final = 10
"""Lines in the log about the damaged messages of one read."""


async def set_aside(work: Work, incarnation: Incarnation | None, queue_id: int, damaged: Mapping[int, str]) -> None:
    """Set aside the damaged messages of a queue, of which the reasons are given by id.

    `incarnation` is that of a node in a cluster. When the store is away they stay in their slots, and are met again at
    the next start.
    """
    for message_id, reason in islice(damaged.items(), _LINES):
        _log.error("a damaged message is set aside", message=message_id, queue_id=queue_id, reason=reason)
    if len(damaged) > _LINES:
        _log.error("more damaged messages are set aside", queue_id=queue_id, count=len(damaged) - _LINES)

    def change(connection: Connection) -> None:
        if incarnation is not None:
            check_incarnation(connection, incarnation)
        messages.set_aside(connection, damaged)

    try:
        await work(change, rows=len(damaged))
    except StoreUnavailable as error:
        _log.warning("damaged messages stay in their slots", queue_id=queue_id, reason=str(error))
