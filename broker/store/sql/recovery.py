"""Recovery of slots: messages outside any slot become slots, and slots of incarnations that are over become free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    case,
    func,
    literal_column,
    select,
    union_all,
    update,
)

from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.store.rows import add_to_backlog
from broker.store.sql.fencing import DEAD, RECOVERED, RUNNING, STOPPED, check_fence, pass_fence
from broker.store.sql.messages import in_lane, is_in_queue
from broker.store.sql.schema import METADATA, NODE, NODE_HEARTBEAT, SLOT
from broker.store.sql.slots import insert_free

PIECES: Final = 1000
"""About the most slots that are made of one queue's messages in a lane; a larger backlog gets larger slots."""

_IDS_PER_STATEMENT: Final = 500
_START, _MESSAGE, _END = (literal_column(number, BigInteger) for number in "012")
_S: Final = SLOT.c
_M: Final = METADATA.c


@dataclass(frozen=True, slots=True)
class _Lane:
    """The lane of a node that is not alive.

    `fence` is a number that changes with every incarnation of the node; it is 0 for a node that was never in a cluster.
    """

    node_id: str
    lane: int
    state: str
    fence: int


def window(connection: Connection, lane: int, size: int) -> list[Slot]:
    """Return slots for all messages of a lane that are in none, with exact counts, by queue and start."""
    # Slots are read first: only the lane's node makes slots, so a queue without one in this lane gets none meanwhile.
    with_slots = set(connection.scalars(select(_S.queue_id).where(_S.lane == lane).distinct()))
    pieces: list[Slot] = []
    for whole in _backlog(connection, lane):
        if whole.queue_id in with_slots or whole.count > size:
            pieces += _cut(connection, whole, max(size, -(-whole.count // PIECES)))
        else:
            pieces.append(whole)
    return pieces


def reclaim(connection: Connection, fence: Fence, size: int) -> int:
    """Free the slots of incarnations that are over, and make free slots of their lanes' other messages.

    Returns how many slots that gave. The messages are looked up before the fence is locked, because that takes long and
    others wait for the fence.
    """
    check_fence(connection, fence)
    left = [(lane, window(connection, lane.lane, size)) for lane in _lanes_to_recover(connection)]
    pass_fence(connection, fence)
    freed = _free_slots_of_the_dead(connection)
    count = sum(freed.values())
    for lane, pieces in left:
        if _lock(connection, lane):
            pieces = _still_there(connection, pieces)
            for piece in pieces:
                piece.maybe_delivered = lane.state != STOPPED or lane.node_id in freed
            insert_free(connection, pieces)
            connection.execute(update(NODE).where(NODE.c.node_id == lane.node_id).values(state=RECOVERED))
            count += len(pieces)
    return count


def cut_lane(connection: Connection, lane: int, size: int) -> None:
    """Make free slots of a lane's messages that are in none. No node may use the store."""
    crashed = connection.scalar(select(NODE.c.state).where(NODE.c.lane == lane)) in (RUNNING, DEAD)
    pieces = window(connection, lane, size)
    for piece in pieces:
        piece.maybe_delivered = crashed
    insert_free(connection, pieces)


def _backlog(connection: Connection, lane: int) -> list[Slot]:
    """Return one slot for each queue with messages in a lane; it covers all of them, in slots or not."""
    ids = (func.min(_M.message_id), func.max(_M.message_id), func.count())
    rows = connection.execute(select(_M.queue_id, *ids).where(in_lane(lane), is_in_queue()).group_by(_M.queue_id))
    slots: dict[tuple[int, int], Slot] = {}
    for queue_id, start, end, count in rows:
        add_to_backlog(slots, queue_id, lane, start, end, count)
    return [slots[key] for key in sorted(slots)]


def _cut(connection: Connection, whole: Slot, size: int) -> list[Slot]:
    """Cut the messages of a queue and lane that are in no slot into pieces of `size`; no piece overlaps a slot.

    Messages, starts and ends of slots are sorted together by id. Running sums then tell for each message how many slots
    are open there, and in which gap between slots it lies. Only sums are used: for a running maximum MariaDB reads all
    rows again for each row.
    """
    marks = _marks(whole).subquery()
    order = (marks.c.id, marks.c.kind)
    so_far = select(
        marks,
        func.sum(_MESSAGE - marks.c.kind).over(order_by=order, rows=(None, 0)).label("open_slots"),
        func.sum(case((marks.c.kind == _START, 1), else_=0)).over(order_by=order, rows=(None, 0)).label("gap"),
    ).subquery()
    number = func.row_number().over(order_by=so_far.c.id)
    uncovered = (
        select(so_far.c.id, so_far.c.gap, so_far.c.is_transient, number.label("number"))
        .where(so_far.c.kind == _MESSAGE, so_far.c.open_slots == 0)
        .subquery()
    )
    piece = (uncovered.c.number - 1) // literal_column(str(size), BigInteger)
    ids = (func.min(uncovered.c.id), func.max(uncovered.c.id), func.count())
    rows = connection.execute(
        select(*ids, func.max(uncovered.c.is_transient)).group_by(uncovered.c.gap, piece).order_by(ids[0])
    )
    return [
        Slot(whole.queue_id, whole.lane, start, end, count, transient=bool(transient))
        for start, end, count, transient in rows
    ]


def _marks(whole: Slot) -> Any:
    """Return the statement for the ids of starts of slots, messages and ends of slots; `kind` sorts them at one id."""
    is_transient: ColumnElement[int] = case((_M.queue_id < 0, 1), else_=0)
    is_in_place = (_S.queue_id == whole.queue_id) & (_S.lane == whole.lane)
    return union_all(
        select(_M.message_id.label("id"), _MESSAGE.label("kind"), is_transient.label("is_transient")).where(
            _M.queue_id.in_((whole.queue_id, -whole.queue_id)), in_lane(whole.lane)
        ),
        select(_S.start_message_id, _START, literal_column("0", BigInteger)).where(is_in_place),
        select(_S.end_message_id, _END, literal_column("0", BigInteger)).where(is_in_place),
    )


def _lanes_to_recover(connection: Connection) -> list[_Lane]:
    is_left = (NODE.c.incarnation == "") & NODE.c.state.in_((DEAD, STOPPED, RUNNING))
    nodes = connection.execute(select(NODE.c.node_id, NODE.c.lane, NODE.c.state).where(is_left).order_by(NODE.c.lane))
    return [_Lane(*node, _fence_of(connection, node.node_id)) for node in nodes.all()]


def _lock(connection: Connection, lane: _Lane) -> bool:
    """Lock the lane; return whether its node has had no new incarnation since the lane was read."""
    is_same = (NODE.c.node_id == lane.node_id) & (NODE.c.lane == lane.lane) & (NODE.c.state == lane.state)
    is_left = is_same & (NODE.c.incarnation == "")
    if connection.scalar(select(NODE.c.lane).where(is_left).with_for_update()) is None:
        return False
    return _fence_of(connection, lane.node_id) == lane.fence


def _fence_of(connection: Connection, node_id: str) -> int:
    is_node = NODE_HEARTBEAT.c.node_id == node_id
    return connection.scalar(select(NODE_HEARTBEAT.c.fence).where(is_node)) or 0


def _free_slots_of_the_dead(connection: Connection) -> dict[str, int]:
    """Free the slots whose owner is over; return how many, by node.

    Owners are read before the incarnations that last: an owner that is not among these is over for good.
    """
    owners = connection.execute(select(_S.node_id, _S.incarnation).where(_S.node_id.is_not(None)).distinct()).all()
    alive = {
        (str(name), str(incarnation))
        for name, incarnation in connection.execute(select(NODE.c.node_id, NODE.c.incarnation))
    }
    free = {"node_id": None, "incarnation": None, "maybe_delivered": True}
    freed: dict[str, int] = {}
    for node_id, incarnation in sorted(
        (name, incarnation) for name, incarnation in owners if (name, incarnation) not in alive
    ):
        is_owner = (_S.node_id == node_id) & (_S.incarnation == incarnation)
        count = connection.execute(update(SLOT).where(is_owner).values(free)).rowcount
        freed[node_id] = freed.get(node_id, 0) + count
    return freed


def _still_there(connection: Connection, pieces: Sequence[Slot]) -> list[Slot]:
    """Return those of `pieces` whose first message is still stored: it goes only when its queue is deleted."""
    there: set[int] = set()
    for number in range(0, len(pieces), _IDS_PER_STATEMENT):
        starts = [piece.start for piece in pieces[number : number + _IDS_PER_STATEMENT]]
        there.update(connection.scalars(select(_M.message_id).where(_M.message_id.in_(starts))))
    return [piece for piece in pieces if piece.start in there]
