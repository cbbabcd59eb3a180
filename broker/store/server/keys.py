"""What a batch does to keys of de-duplication, in PostgreSQL and in MariaDB or MySQL (ADR 66)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, TypeAlias

from broker.message import KeyClaim
from broker.store.claiming import Claiming, KeyRow
from broker.store.server.batch import Rows

_PER_STATEMENT: Final = 500
_scope = attrgetter("scope")

_ADD: Final = (
    'INSERT INTO "MB_DEDUPLICATION_KEY" ("SCOPE_ID","KEY_DIGEST","MESSAGE_ID","UNTIL_TIME")'
    " SELECT * FROM unnest($1::bigint[],$2::text[],$3::bigint[],$4::bigint[]) ON CONFLICT DO NOTHING"
)
_FIND: Final = (
    'SELECT K."SCOPE_ID",K."KEY_DIGEST",K."MESSAGE_ID",K."UNTIL_TIME"'
    " FROM unnest($1::bigint[],$2::text[]) AS asked(scope,digest)"
    ' JOIN "MB_DEDUPLICATION_KEY" AS K ON K."SCOPE_ID"=scope AND K."KEY_DIGEST"=digest'
)
_ALIVE: Final = 'SELECT "MESSAGE_ID" FROM "MB_METADATA" WHERE "MESSAGE_ID"=ANY($1::bigint[])'
_TAKE_OVER_ALL: Final = (
    'UPDATE "MB_DEDUPLICATION_KEY" AS K SET "MESSAGE_ID"=owner,"UNTIL_TIME"=until'
    " FROM unnest($1::bigint[],$2::text[],$3::bigint[],$4::bigint[],$5::bigint[])"
    " AS asked(scope,digest,owner,until,before)"
    ' WHERE K."SCOPE_ID"=scope AND K."KEY_DIGEST"=digest AND K."MESSAGE_ID"=before RETURNING scope,digest'
)
# Only who still finds the key as it was takes it over; if it is gone meanwhile, it is new.
_TAKE_OVER: Final = (
    'INSERT INTO "MB_DEDUPLICATION_KEY" AS K ("SCOPE_ID","KEY_DIGEST","MESSAGE_ID","UNTIL_TIME")'
    ' VALUES ($1,$2,$3,$4) ON CONFLICT ("SCOPE_ID","KEY_DIGEST") DO UPDATE'
    ' SET "MESSAGE_ID"=EXCLUDED."MESSAGE_ID","UNTIL_TIME"=EXCLUDED."UNTIL_TIME" WHERE K."MESSAGE_ID"=$5'
)


async def claim_in_postgresql(raw: Any, rows: Rows) -> Rows:
    """Record the keys of a batch in the transaction of the connection `raw`; return what else is to be written."""
    claiming = Claiming(rows.keyed, rows.deletes)
    while claims := claiming.next_claims():
        columns = list(zip(*map(_values, claims), strict=True))
        if await raw.execute(_ADD, *columns) == f"INSERT 0 {len(claims)}":
            continue
        found = [KeyRow(*row) for row in await raw.fetch(_FIND, *columns[:2])]
        doubtful = claiming.doubtful(found)
        alive = {row[0] for row in await raw.fetch(_ALIVE, doubtful)} if doubtful else ()
        free = claiming.on_found(found, alive)
        if free:
            columns = list(zip(*((*_values(claim), row.owner) for claim, row in free), strict=True))
            taken = {tuple(row) for row in await raw.fetch(_TAKE_OVER_ALL, *columns)}
            for claim, row in [each for each in free if each[0].place not in taken]:
                if await raw.execute(_TAKE_OVER, *_values(claim), row.owner) != "INSERT 0 1":
                    claiming.lose(claim.place, 0)
    return _decided(rows, claiming)


Execute: TypeAlias = Callable[[str], Awaitable[list[int]]]
"""Runs statements joined by semicolons; returns how many rows each of them has found."""
Select: TypeAlias = Callable[[str], Awaitable[list[Any]]]


async def claim_in_mysql(execute: Execute, select: Select, rows: Rows) -> Rows:
    """Record the keys of a batch in the transaction of a connection; return what else is to be written.

    IGNORE passes over a key that is there already, and keeps it from being changed until the commit.
    """
    claiming = Claiming(rows.keyed, rows.deletes)
    while claims := claiming.next_claims():
        added = 0
        for part in _parts(claims):
            values = ",".join(f"({claim.scope},'{claim.digest}',{claim.owner},{claim.until})" for claim in part)
            added += sum(await execute(f"INSERT IGNORE INTO MB_DEDUPLICATION_KEY VALUES {values}"))
        if added == len(claims):
            continue
        found: list[KeyRow] = []
        for statement in _find(claims):
            found += [KeyRow(scope, bytes(digest).decode(), *rest) for scope, digest, *rest in await select(statement)]
        alive: set[int] = set()
        for ids in _parts(claiming.doubtful(found)):
            listed = ",".join(map(str, ids))
            alive |= {
                row[0] for row in await select(f"SELECT MESSAGE_ID FROM MB_METADATA WHERE MESSAGE_ID IN ({listed})")
            }
        for part in _parts(claiming.on_found(found, alive)):
            changed = await execute(
                ";".join(
                    f"UPDATE MB_DEDUPLICATION_KEY SET MESSAGE_ID={claim.owner},UNTIL_TIME={claim.until}"
                    f" WHERE SCOPE_ID={claim.scope} AND KEY_DIGEST='{claim.digest}' AND MESSAGE_ID={row.owner}"
                    for claim, row in part
                )
            )
            for (claim, _), count in zip(part, changed, strict=True):
                if not count:
                    claiming.lose(claim.place, 0)
    return _decided(rows, claiming)


def _decided(rows: Rows, claiming: Claiming) -> Rows:
    rows.duplicates.clear()
    rows.duplicates.update(claiming.duplicates)
    return rows.without_duplicates()


def _find(claims: Sequence[KeyClaim]) -> Iterator[str]:
    """Return statements for those of these keys that are there: each names one scope, because MariaDB looks up no pairs
    by an index.
    """
    for scope, its_claims in groupby(claims, _scope):
        for part in _parts(list(its_claims)):
            digests = ",".join(f"'{claim.digest}'" for claim in part)
            yield (
                "SELECT SCOPE_ID,KEY_DIGEST,MESSAGE_ID,UNTIL_TIME FROM MB_DEDUPLICATION_KEY"
                f" WHERE SCOPE_ID={scope} AND KEY_DIGEST IN ({digests})"
            )


def _values(claim: KeyClaim) -> tuple[int, str, int, int]:
    return claim.scope, claim.digest, claim.owner, claim.until


def _parts(things: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (things[start : start + _PER_STATEMENT] for start in range(0, len(things), _PER_STATEMENT))
