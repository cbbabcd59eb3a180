"""What a batch does to keys of de-duplication, in SQLite: one text for any number of rows, given as JSON."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from broker.ports.store import Batch
from broker.store.claiming import Claiming, KeyRow

_ROWS: Final = "FROM json_each(?)"
_VALUES: Final = ", ".join(f"json_extract(value, '$[{column}]')" for column in range(4))
_ADD: Final = (
    "INSERT INTO MB_DEDUPLICATION_KEY (SCOPE_ID, KEY_DIGEST, MESSAGE_ID, UNTIL_TIME)"
    f" SELECT {_VALUES} {_ROWS} WHERE true ON CONFLICT DO NOTHING"
)
_FIND: Final = (
    "SELECT K.SCOPE_ID, K.KEY_DIGEST, K.MESSAGE_ID, K.UNTIL_TIME FROM json_each(?) AS J JOIN MB_DEDUPLICATION_KEY AS K"
    " ON K.SCOPE_ID = json_extract(J.value, '$[0]') AND K.KEY_DIGEST = json_extract(J.value, '$[1]')"
)
_ALIVE: Final = "SELECT MESSAGE_ID FROM MB_METADATA WHERE MESSAGE_ID IN (SELECT value FROM json_each(?))"
_TAKE_OVER: Final = (
    "INSERT OR REPLACE INTO MB_DEDUPLICATION_KEY (SCOPE_ID, KEY_DIGEST, MESSAGE_ID, UNTIL_TIME)"
    f" SELECT {_VALUES} {_ROWS}"
)


def claim_keys(connection: sqlite3.Connection, batch: Batch) -> None:
    """Record the keys of a batch in the transaction that `connection` is in, and find out which messages get none."""
    claiming = Claiming(batch.keyed, (message.id for message in batch.deletes))
    while claims := claiming.next_claims():
        rows = _array((claim.scope, claim.digest, claim.owner, claim.until) for claim in claims)
        if connection.execute(_ADD, rows).rowcount == len(claims):
            continue
        found = [KeyRow(*row) for row in connection.execute(_FIND, rows)]
        doubtful = claiming.doubtful(found)
        alive = {row[0] for row in connection.execute(_ALIVE, _array(doubtful))} if doubtful else ()
        taken_over = [claim for claim, _ in claiming.on_found(found, alive)]
        if taken_over:
            rows = _array((claim.scope, claim.digest, claim.owner, claim.until) for claim in taken_over)
            connection.execute(_TAKE_OVER, rows)
    batch.duplicates.clear()
    batch.duplicates.update(claiming.duplicates)


def _array(rows: Iterable[Any]) -> tuple[str]:
    return (json.dumps(list(rows)),)
