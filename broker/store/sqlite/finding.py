"""Looking for messages by what they say of themselves, with the reading connection."""

from __future__ import annotations

import sqlite3
from typing import Final

from broker.ports.finding import MOST_FOUND, FoundPage
from broker.store.sql.finding import page_of

_BOUNDS: Final = (
    "SELECT count(*), min(MESSAGE_ID) FROM"
    " (SELECT MESSAGE_ID FROM MB_METADATA WHERE MESSAGE_ID < :before ORDER BY MESSAGE_ID DESC LIMIT :limit)"
)
_ROWS: Final = (
    "SELECT MESSAGE_ID, QUEUE_ID, REDELIVERED, MESSAGE_METADATA FROM MB_METADATA"
    " WHERE MESSAGE_ID >= :first AND MESSAGE_ID < :before AND instr(MESSAGE_METADATA, :wanted)"
    " ORDER BY MESSAGE_ID DESC LIMIT :most"
)


def find_messages(connection: sqlite3.Connection, wanted: bytes, before: int, limit: int) -> FoundPage:
    """Look at the newest messages below an id (`SearchStore.find_messages`)."""
    bounds = {"before": before, "limit": limit}
    seen, first = connection.execute(_BOUNDS, bounds).fetchone()
    if not seen:
        return FoundPage([], 0, None)
    page = {"first": first, "before": before, "wanted": wanted, "most": MOST_FOUND}
    return page_of(connection.execute(_ROWS, page).fetchall(), seen, first if seen >= limit else None)
