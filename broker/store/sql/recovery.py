"""What lies in no slot, cut into slots; and what incarnations that are over have left: plain functions, for every
dialect.

Knows SQLAlchemy Core; knows no driver. The caller holds the transaction.
"""

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
from broker.store.sql.messages import in_lane
from broker.store.sql.schema import METADATA, NODE, NODE_HEARTBEAT, SLOT
from broker.store.sql.slots import insert_free

PIECES: Final = 1000
"""About so many slots at most are made of what a queue has in a lane: for larger backlogs, larger ones."""

_IDS_PER_STATEMENT: Final = 500
_START, _MESSAGE, _END = (literal_column(number, BigInteger) for number in "012")
_S: Final = SLOT.c
_M: Final = METADATA.c


@dataclass(frozen=True, slots=True)
class _Lane:
    """A lane in which nobody lives; `fence` changes with every incarnation of its node, 0 when it had none in a
    cluster.
    """

    node_id: str
    lane: int
    state: str
    fence: int


def window(connection: Connection, lane: int, size: int) -> list[Slot]:
    """Return slots for all of a lane that lies in none, with exact counts, by queue and start."""
    # First the slots: of a queue that has none of this lane no message can get into one without its node.
    with_slots = set(connection.scalars(select(_S.queue_id).where(_S.lane == lane).distinct()))
    pieces: list[Slot] = []
    for whole in _backlog(connection, lane):
        if whole.queue_id in with_slots or whole.count > size:
            pieces += _cut(connection, whole, max(size, -(-whole.count // PIECES)))
        else:
            pieces.append(whole)
    return pieces


def reclaim(connection: Connection, fence: Fence, size: int) -> int:
    """Free the slots of incarnations that are over, and make free ones of lanes where nobody lives; return how many.

    What there is to cut is looked up first: whoever waits for the fence shall not wait for that.
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


def _backlog(connection: Connection, lane: int) -> list[Slot]:
    """Return one slot per queue for all that is stored of a lane, in slots or not."""
    ids = (func.min(_M.message_id), func.max(_M.message_id), func.count())
    rows = connection.execute(select(_M.queue_id, *ids).where(in_lane(lane)).group_by(_M.queue_id))
    slots: dict[tuple[int, int], Slot] = {}
    for queue_id, start, end, count in rows:
        add_to_backlog(slots, queue_id, lane, start, end, count)
    return [slots[key] for key in sorted(slots)]


def _cut(connection: Connection, whole: Slot, size: int) -> list[Slot]:
    """Cut what of one queue and lane lies in no slot; no piece goes over a slot.

    Slots' ends and messages are put in one order by id: so it can be counted how many slots have begun and not ended,
    and in which gap between slots a message is. Sums only: for a running maximum MariaDB reads all rows for each row.
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
    """Return the statement for where slots begin, where messages are and where slots end: by id, and at one id so."""
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
    """Return whether nobody has lived in the lane since, nor will until the commit."""
    is_same = (NODE.c.node_id == lane.node_id) & (NODE.c.lane == lane.lane) & (NODE.c.state == lane.state)
    is_left = is_same & (NODE.c.incarnation == "")
    if connection.scalar(select(NODE.c.lane).where(is_left).with_for_update()) is None:
        return False
    return _fence_of(connection, lane.node_id) == lane.fence


def _fence_of(connection: Connection, node_id: str) -> int:
    is_node = NODE_HEARTBEAT.c.node_id == node_id
    return connection.scalar(select(NODE_HEARTBEAT.c.fence).where(is_node)) or 0


def _free_slots_of_the_dead(connection: Connection) -> dict[str, int]:
    """Return how many slots were freed of which node.

    Owners are read before incarnations: an incarnation that is not among these then is over for good.
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
    """Return those of `pieces` whose queue has not been deleted meanwhile: only with it their first messages go."""
    there: set[int] = set()
    for number in range(0, len(pieces), _IDS_PER_STATEMENT):
        starts = [piece.start for piece in pieces[number : number + _IDS_PER_STATEMENT]]
        there.update(connection.scalars(select(_M.message_id).where(_M.message_id.in_(starts))))
    return [piece for piece in pieces if piece.start in there]
