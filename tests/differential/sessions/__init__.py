"""The sessions, by parts of the contract."""

from __future__ import annotations

from typing import Final

from tests.differential.sessions import connection, features, messages, topology
from tests.differential.talk import Session

SESSIONS: Final[tuple[Session, ...]] = tuple(
    session for part in (connection, topology, messages, features) for session in part.BOOK.sessions
)
