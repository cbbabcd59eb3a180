"""The text of MariaDB's and MySQL's hot statements.

Values become numbers and hexadecimal digits only, so that no text of a client is ever part of a statement. Rows are
joined here because the driver's own `executemany` takes fifty times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import ALL_LANES, Slot
from broker.ports.store import DueKey
from broker.store.rows import NO_CHECKSUM
from broker.store.server.batch import Rows
from broker.store.server.dialect import SMALL_BODY, SMALL_METADATA, Marker

_IDS_PER_STATEMENT: Final = 2000

_INLINE_INTO: Final = (
    "INSERT INTO MB_METADATA (MESSAGE_ID,QUEUE_ID,REDELIVERED,CHECKSUM,MESSAGE_METADATA,MESSAGE_CONTENT) VALUES ",
    "",
)
_SHARED_INTO: Final = (
    "INSERT INTO MB_METADATA (MESSAGE_ID,QUEUE_ID,CONTENT_ID,REDELIVERED,CHECKSUM,MESSAGE_METADATA) VALUES ",
    "",
)
_CONTENT_INTO: Final = (
    "INSERT INTO MB_CONTENT (MESSAGE_ID,CONTENT_OFFSET,MESSAGE_CONTENT) VALUES ",
    " ON DUPLICATE KEY UPDATE MESSAGE_ID=VALUES(MESSAGE_ID)",
)
_EXPIRATION_INTO: Final = (
    "INSERT INTO MB_EXPIRATION_DATA (MESSAGE_ID,QUEUE_ID,EXPIRATION_TIME) VALUES ",
    " ON DUPLICATE KEY UPDATE QUEUE_ID=VALUES(QUEUE_ID),EXPIRATION_TIME=VALUES(EXPIRATION_TIME)",
)
_GROUP_INTO: Final = (
    "INSERT INTO MB_MESSAGE_GROUP (MESSAGE_ID,QUEUE_ID,GROUP_ID) VALUES ",
    " ON DUPLICATE KEY UPDATE QUEUE_ID=VALUES(QUEUE_ID),GROUP_ID=VALUES(GROUP_ID)",
)
_SLOT_INTO: Final = (
    "INSERT INTO MB_SLOT"
    " (START_MESSAGE_ID,END_MESSAGE_ID,QUEUE_ID,LANE,MESSAGE_COUNT,MAYBE_DELIVERED,HAS_TRANSIENT) VALUES ",
    " ON DUPLICATE KEY UPDATE START_MESSAGE_ID=VALUES(START_MESSAGE_ID)",
)
_ORPHANS: Final = (
    "DELETE FROM MB_CONTENT WHERE MESSAGE_ID IN ({ids})"
    " AND NOT EXISTS (SELECT 1 FROM MB_METADATA WHERE CONTENT_ID=MB_CONTENT.MESSAGE_ID)"
)
_INDEX: Final = (
    f"MESSAGE_ID,QUEUE_ID,CONTENT_ID,REDELIVERED,COALESCE(CHECKSUM,{NO_CHECKSUM}),OCTET_LENGTH(MESSAGE_METADATA),"
    f"LEFT(MESSAGE_METADATA,{SMALL_METADATA}),"
    f"IF(OCTET_LENGTH(MESSAGE_CONTENT)<={SMALL_BODY},MESSAGE_CONTENT,NULL)"
)
_IN_RANGE: Final = "QUEUE_ID IN ({queue_ids}) AND MESSAGE_ID BETWEEN {start} AND {end}"
_IN_SLOT: Final = _IN_RANGE + " AND (MESSAGE_ID >> 10) & 255 = {lane}"


def beginning(marker: Marker, *, has_local_locks: bool = False) -> str:
    """Return the packet that begins a transaction and counts the batch."""
    return ";".join(_first(marker, has_local_locks))


def _first(marker: Marker, has_local_locks: bool) -> Sequence[str]:
    lasting = (_last_by_writing(marker),) if has_local_locks else ()
    return ("BEGIN", *lasting, _count_batch(marker, has_local_locks), *_forget_batches(marker))


def is_counted(counts: Sequence[int], *, has_local_locks: bool) -> bool:
    """Return whether the statements that count the batch, whose numbers of rows follow that of BEGIN, have done it."""
    return all(count == 1 for count in counts[1 : 3 if has_local_locks else 2])


def packets(
    marker: Marker, rows: Rows, limit: int, *, is_begun: bool = False, has_local_locks: bool = False
) -> Iterator[str]:
    """Return the packets that begin a transaction, count the batch and write `rows`; each is one round trip.

    When the transaction `is_begun` there may be none. With `has_local_locks` what is locked is written (ADR 87).
    """
    last = (_high_water(marker.node_id, rows.high_water),) if rows.high_water else ()
    first = () if is_begun else _first(marker, has_local_locks)
    return _packed(chain(first, _statements(rows, limit), last), limit)


def _statements(rows: Rows, limit: int) -> Iterator[str]:
    """Return the statements that write the rows of a batch, each of at most about `limit` octets."""
    yield from _joined(
        _INLINE_INTO,
        (
            f"({message_id},{queue_id},{redelivered},{checksum},x'{metadata.hex()}',x'{content.hex()}')"
            for message_id, queue_id, redelivered, checksum, metadata, content in rows.inline
        ),
        limit,
    )
    yield from _joined(
        _CONTENT_INTO, (f"({name},{offset},x'{piece.hex()}')" for name, offset, piece in rows.contents), limit
    )
    yield from _joined(
        _SHARED_INTO,
        (
            f"({message_id},{queue_id},{content_id},{redelivered},{checksum},x'{metadata.hex()}')"
            for message_id, queue_id, content_id, redelivered, checksum, metadata in rows.shared
        ),
        limit,
    )
    yield from _joined(
        _EXPIRATION_INTO, (f"({name},{queue_id},{due})" for name, queue_id, due in rows.expirations), limit
    )
    yield from _joined(_GROUP_INTO, (f"({name},{queue_id},{group})" for name, queue_id, group in rows.grouped), limit)
    for deliveries, counted in rows.recounts.items():
        for ids in parts(counted):
            yield f"UPDATE MB_METADATA SET REDELIVERED={deliveries} WHERE MESSAGE_ID IN ({ids})"
    for ids in parts(rows.deletes):
        yield f"DELETE FROM MB_METADATA WHERE MESSAGE_ID IN ({ids})"
    yield from delete_expirations(rows.expired)
    for ids in parts(rows.ungrouped):
        yield f"DELETE FROM MB_MESSAGE_GROUP WHERE MESSAGE_ID IN ({ids})"
    yield from _joined(_SLOT_INTO, (f"({','.join(str(int(value)) for value in place)})" for place in rows.slots), limit)


def _last_by_writing(marker: Marker) -> str:
    """Return the statement that writes the row of an incarnation, so that it cannot end on another server before the
    commit: one of the two transactions then fails.
    """
    return f"UPDATE MB_NODE SET BATCH={marker.number} WHERE LANE={marker.lane} AND INCARNATION='{marker.incarnation}'"


def _count_batch(marker: Marker, has_local_locks: bool) -> str:
    """Return the statement that counts the batch, and lets its incarnation last until the commit.

    It inserts no row when the incarnation is over, or when the batch before this one is not there.
    """
    lock = "" if has_local_locks else " LOCK IN SHARE MODE"
    return (
        f"INSERT INTO MB_NODE_BATCH (LANE,BATCH) SELECT N.LANE,{marker.number} FROM MB_NODE AS N"
        f" JOIN MB_NODE_BATCH AS B ON B.LANE=N.LANE AND B.BATCH={marker.number - 1}"
        f" WHERE N.LANE={marker.lane} AND N.INCARNATION='{marker.incarnation}'{lock}"
    )


def _forget_batches(marker: Marker) -> Iterator[str]:
    if old := marker.forgotten:
        yield f"DELETE FROM MB_NODE_BATCH WHERE LANE={marker.lane} AND BATCH BETWEEN {old[0]} AND {old[-1]}"


def _high_water(node_id: str, message_id: int) -> str:
    return (
        "INSERT INTO MB_NODE_TO_LAST_PUBLISHED_ID (NODE_ID,MESSAGE_ID)"
        f" VALUES (x'{node_id.encode().hex()}',{message_id})"
        " ON DUPLICATE KEY UPDATE MESSAGE_ID=GREATEST(MESSAGE_ID,VALUES(MESSAGE_ID))"
    )


def assign(rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence, *, has_local_locks: bool = False) -> str:
    """Return the packet that begins a transaction and makes `incarnation` the owner of free slots.

    When all of it succeeds, its statements report 0, 1, 1 and `len(rows)` rows. The starts are named once more by
    themselves, because MariaDB does not look up pairs by an index.
    """
    node_id, incarnation_id, term = (
        f"x'{text.encode().hex()}'" for text in (incarnation.node_id, incarnation.id, fence.term)
    )
    starts = ",".join(str(row.start) for row in rows)
    pairs = ",".join(f"({row.start},{row.end})" for row in rows)
    is_fence = f"ANCHOR=1 AND EPOCH={fence.epoch} AND TERM={term}"
    is_alive = f"NODE_ID={node_id} AND INCARNATION={incarnation_id}"
    if has_local_locks:  # what ends an incarnation writes the fence, too (ADR 87)
        passed = f"UPDATE MB_COORDINATOR_FENCE SET SEQUENCE=SEQUENCE+1 WHERE {is_fence}"
        alive = f"SELECT 1 FROM MB_NODE WHERE {is_alive}"
    else:
        passed = f"SELECT 1 FROM MB_COORDINATOR_FENCE WHERE {is_fence} FOR UPDATE"
        alive = f"SELECT 1 FROM MB_NODE WHERE {is_alive} LOCK IN SHARE MODE"
    return (
        f"BEGIN;{passed};{alive};"
        f"UPDATE MB_SLOT SET NODE_ID={node_id},INCARNATION={incarnation_id} WHERE NODE_ID IS NULL"
        f" AND START_MESSAGE_ID IN ({starts}) AND (START_MESSAGE_ID,END_MESSAGE_ID) IN ({pairs})"
    )


def in_slot(slot: Slot, queue_ids: str) -> str:
    """Return the condition for the messages of a slot, under the ids `queue_ids`."""
    return _IN_SLOT.format(queue_ids=queue_ids, start=slot.start, end=slot.end, lane=slot.lane)


def delete_groups(slot: Slot) -> str:
    """Return the statement that deletes the entries of a slot in the index of message groups."""
    return f"DELETE FROM MB_MESSAGE_GROUP WHERE {_IN_SLOT}".format(
        queue_ids=slot.queue_id, start=slot.start, end=slot.end, lane=slot.lane
    )


def parts(ids: Sequence[int]) -> Iterator[str]:
    """Return lists of ids, short enough for the server to look them up by the index instead of reading the table."""
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        yield ",".join(map(str, ids[start : start + _IDS_PER_STATEMENT]))


def _joined(around: tuple[str, str], rows: Iterable[str], limit: int) -> Iterator[str]:
    """Return statements with as many rows each as fit into `limit` octets, at least one."""
    before, after = around
    part: list[str] = []
    octets = 0
    for row in rows:
        octets += len(row) + 1
        if part and octets > limit:
            yield f"{before}{','.join(part)}{after}"
            part, octets = [], len(row) + 1
        part.append(row)
    if part:
        yield f"{before}{','.join(part)}{after}"


def delete_orphans(content_ids: Sequence[int]) -> Iterator[str]:
    """Return statements that delete those of the bodies `content_ids` that no message uses any more."""
    return (_ORPHANS.format(ids=ids) for ids in parts(content_ids))


def delete_expirations(message_ids: Sequence[int]) -> Iterator[str]:
    """Return statements that delete the times of expiration of messages."""
    return (f"DELETE FROM MB_EXPIRATION_DATA WHERE MESSAGE_ID IN ({ids})" for ids in parts(message_ids))


def has_expirations(queue_id: int) -> str:
    """Return the statement that tells by a row whether a queue has messages with a time of expiration."""
    return f"SELECT 1 FROM MB_EXPIRATION_DATA WHERE QUEUE_ID IN ({queue_id},{-queue_id}) LIMIT 1"


def due_keys(queue_id: int, until_ms: int, after: DueKey, limit: int) -> str:
    """Return the statement for the times and ids of the first messages that expire up to `until_ms`, behind `after`.

    Each sign of the queue id, and the time of `after` itself, is an index range of its own: MariaDB looks up no pairs
    by an index.
    """
    due, message_id = after
    ranges = [f"EXPIRATION_TIME>{due} AND EXPIRATION_TIME<={until_ms}"]
    if due <= until_ms:
        ranges.append(f"EXPIRATION_TIME={due} AND MESSAGE_ID>{message_id}")
    selects = [
        f"(SELECT EXPIRATION_TIME,MESSAGE_ID FROM MB_EXPIRATION_DATA WHERE QUEUE_ID={its_id} AND {those}"
        f" ORDER BY EXPIRATION_TIME,MESSAGE_ID LIMIT {limit})"
        for its_id in (queue_id, -queue_id)
        for those in ranges
    ]
    return f"{' UNION ALL '.join(selects)} ORDER BY 1,2 LIMIT {limit}"


def listed_rows(queue_id: int, message_ids: Sequence[int]) -> Iterator[str]:
    """Return statements for the index rows of those of these messages that are in a queue."""
    return (
        f"SELECT {_INDEX} FROM MB_METADATA WHERE MESSAGE_ID IN ({ids}) AND QUEUE_ID IN ({queue_id},{-queue_id})"
        for ids in parts(message_ids)
    )


def page(slot: Slot, limit: int) -> str:
    """Return the statement that reads the first index rows of a slot.

    Each sign of the queue id is read by an index range of its own, so that the server sorts no more than one page.
    """
    signs = (slot.queue_id, -slot.queue_id) if slot.transient else (slot.queue_id,)
    condition = _IN_RANGE if slot.lane == ALL_LANES else _IN_SLOT
    ranges = [condition.format(queue_ids=each, start=slot.start, end=slot.end, lane=slot.lane) for each in signs]
    selects = [f"(SELECT {_INDEX} FROM MB_METADATA WHERE {part} ORDER BY MESSAGE_ID LIMIT {limit})" for part in ranges]
    return selects[0] if len(selects) == 1 else f"{' UNION ALL '.join(selects)} ORDER BY 1 LIMIT {limit}"


def _packed(statements: Iterable[str], limit: int) -> Iterator[str]:
    """Return packets with as many statements each as fit into `limit` octets."""
    part: list[str] = []
    octets = 0
    for statement in statements:
        if part and octets + len(statement) > limit:
            yield ";".join(part)
            part, octets = [], 0
        part.append(statement)
        octets += len(statement) + 1
    if part:
        yield ";".join(part)
