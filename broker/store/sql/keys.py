"""Keys of de-duplication in the tables: how they are forgotten, the same in every SQL engine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from sqlalchemy import Connection, delete, func, select

from broker.ports.keys import exchange_scope
from broker.ports.records import ExchangeKey
from broker.ports.store import KeyPlace, KeySweep
from broker.store.claiming import KeyRow
from broker.store.sql.schema import DEDUPLICATION_KEY, METADATA

_KEYS_PER_STATEMENT: Final = 500
_K: Final = DEDUPLICATION_KEY.c
_ROW: Final = (_K.scope_id, _K.key_digest, _K.message_id, _K.until_time)


def sweep_keys(connection: Connection, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
    """Forget those of the next keys whose time is over, or whose message is in its queue no more."""
    rows = _page_behind(connection, after, limit)
    in_doubt = iter([row.owner for row in rows if not row.until])
    alive: set[int] = set()
    while part := list(islice(in_doubt, _KEYS_PER_STATEMENT)):
        alive |= set(connection.scalars(select(METADATA.c.message_id).where(METADATA.c.message_id.in_(part))))
    over = [row for row in rows if (row.until <= now_ms if row.until else row.owner not in alive)]
    _forget(connection, over)
    last = (rows[-1].scope, rows[-1].digest) if len(rows) == limit else None
    return KeySweep(len(rows), len(over), last)


def _page_behind(connection: Connection, after: KeyPlace, limit: int) -> list[KeyRow]:
    """Return the next keys. Of two conditions in one, no database makes one range of its index."""
    scope, digest = after
    rest = select(*_ROW).where(_K.scope_id == scope, _K.key_digest > digest).order_by(_K.key_digest).limit(limit)
    rows = [KeyRow(*row) for row in connection.execute(rest)]
    if len(rows) < limit:
        others = select(*_ROW).where(_K.scope_id > scope).order_by(_K.scope_id, _K.key_digest)
        rows += [KeyRow(*row) for row in connection.execute(others.limit(limit - len(rows)))]
    return rows


def trim_keys(connection: Connection, scope: int, keep: int, limit: int) -> int:
    """Forget the oldest keys of a scope that has more than `keep`: those of the smallest message ids."""
    count = connection.scalar(select(func.count()).where(_K.scope_id == scope)) or 0
    excess = min(count - keep, limit)
    if excess <= 0:
        return 0
    oldest = select(*_ROW).where(_K.scope_id == scope).order_by(_K.message_id).limit(excess)
    rows = [KeyRow(*row) for row in connection.execute(oldest)]
    _forget(connection, rows)
    return len(rows)


def _forget(connection: Connection, rows: Sequence[KeyRow]) -> None:
    """Delete these keys, unless they have got another owner meanwhile."""
    by_scope: dict[int, list[KeyRow]] = {}
    for row in rows:
        by_scope.setdefault(row.scope, []).append(row)
    for scope, its_rows in by_scope.items():
        for start in range(0, len(its_rows), _KEYS_PER_STATEMENT):
            part = its_rows[start : start + _KEYS_PER_STATEMENT]
            same_key = _K.key_digest.in_([row.digest for row in part])
            same_owner = _K.message_id.in_([row.owner for row in part])
            connection.execute(delete(DEDUPLICATION_KEY).where(_K.scope_id == scope, same_key, same_owner))


def forget_scopes(connection: Connection, scopes: Sequence[int]) -> None:
    """Delete all keys of queues or exchanges that are gone."""
    connection.execute(delete(DEDUPLICATION_KEY).where(_K.scope_id.in_(scopes)))


def forget_keys_of_exchanges(connection: Connection, keys: Sequence[ExchangeKey]) -> None:
    """Delete all keys of exchanges that are gone."""
    forget_scopes(connection, [exchange_scope(key.vhost, key.name) for key in keys])
