"""Keys of de-duplication in a store in memory."""

from __future__ import annotations

from heapq import nsmallest

from broker.ports.store import Batch, KeyPlace, KeySweep
from broker.store.claiming import Claiming, KeyRow
from broker.store.memory.state import MemoryState


def claim_keys(state: MemoryState, batch: Batch) -> None:
    """Record the keys of a batch, and find out which messages get none."""
    claiming = Claiming(batch.keyed, (message.id for message in batch.deletes))
    while claims := claiming.next_claims():
        found = [state.keys[claim.place] for claim in claims if claim.place in state.keys]
        for claim in claims:
            state.keys.setdefault(claim.place, KeyRow(*claim.place, claim.owner, claim.until))
        alive = state.rows.keys() & set(claiming.doubtful(found))
        for claim, _ in claiming.on_found(found, alive):
            state.keys[claim.place] = KeyRow(*claim.place, claim.owner, claim.until)
    batch.duplicates.clear()
    batch.duplicates.update(claiming.duplicates)


def sweep_keys(state: MemoryState, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
    """Forget those of the next keys whose time is over, or whose message is in its queue no more."""
    places = nsmallest(limit, [place for place in state.keys if place > after])
    rows = [state.keys[place] for place in places]
    over = [row for row in rows if (row.until <= now_ms if row.until else row.owner not in state.rows)]
    for row in over:
        del state.keys[row.scope, row.digest]
    return KeySweep(len(rows), len(over), places[-1] if len(places) == limit else None)


def trim_keys(state: MemoryState, scope: int, keep: int, limit: int) -> int:
    """Forget the oldest keys of a scope that has more than `keep`."""
    rows = sorted((row for row in state.keys.values() if row.scope == scope), key=lambda row: row.owner)
    over = rows[: max(min(len(rows) - keep, limit), 0)]
    for row in over:
        del state.keys[row.scope, row.digest]
    return len(over)
