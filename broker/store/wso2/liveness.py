"""Signs that a node of WSO2's broker works on a database: its beats (andes §5), and connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, select, text

from broker.store.wso2.tables import Tables

_BEATS: Final = ("MB_NODE_HEARTBEAT", "MB_COORDINATOR_HEARTBEAT")
_SESSIONS: Final = {
    "mysql": "SELECT USER, HOST FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()",
    "postgresql": "SELECT usename, COALESCE(host(client_addr), 'local') FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
}


def beats(connection: Connection, tables: Tables) -> Mapping[tuple[str, str], int]:
    """Return the last beat of each node and of the coordinator, by whatever clock; versions without any have none."""
    found: dict[tuple[str, str], int] = {}
    for name in _BEATS:
        if name in tables:
            rows = tables[name].c
            for node_id, beat in connection.execute(select(rows.node_id, rows.last_heartbeat)):
                found[name, str(node_id)] = int(beat)
    return found


def other_sessions(connection: Connection) -> list[str]:
    """Return user and host of the other connections to the database that this user may see."""
    kind = "mysql" if connection.dialect.name in ("mysql", "mariadb") else connection.dialect.name
    return [f"{user}@{host}" for user, host in connection.execute(text(_SESSIONS[kind]))]
