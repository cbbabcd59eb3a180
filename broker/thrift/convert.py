"""Converts between the structs of the IDL and this broker's values; no other module knows both.

A peer of Andes does not send this broker's additions to the structs: such fields become 0 or "".
"""

from __future__ import annotations

from typing import Any

from broker.errors import CoordinationError
from broker.ports.cluster_rows import EventRow, Incarnation
from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    FiguresPage,
    Grant,
    Hint,
    NotCoordinator,
    QueueCount,
    QueueName,
    ReplyPart,
    Supply,
    Unauthorized,
    Unavailable,
)
from broker.ports.slot import Slot
from broker.thrift import idl


def to_context(caller: Caller) -> Any:
    """Encode a caller without its node id: Andes' methods have an argument of their own for that."""
    return idl.CallContext(
        incarnation=caller.incarnation,
        requestId=caller.request_id,
        epoch=caller.fence.epoch,
        term=caller.fence.term,
        callee=caller.callee or None,
        session=caller.session or None,
        poll=caller.poll or None,
    )


def from_context(context: Any, node_id: str | None) -> Caller:
    """Decode a caller; `context` is None when the caller is of Andes."""
    if context is None:
        return Caller(node_id or "")
    return Caller(
        node_id or "",
        context.incarnation or "",
        context.requestId or "",
        _fence(context),
        context.callee or "",
        context.session or 0,
        context.poll or 0,
    )


def from_queue(name: str, queue_id: int | None) -> QueueName:
    """Decode the name and the id of a storage queue."""
    return QueueName(name, queue_id or 0)


def to_slot_info(slot: Slot, queue: QueueName) -> Any:
    """Encode a slot without the node that it is assigned to."""
    return idl.SlotInfo(
        messageCount=slot.count,
        startMessageId=slot.start,
        endMessageId=slot.end,
        queueName=queue.name,
        hasOverlappingSlots=False,
        lane=slot.lane,
        queueId=queue.queue_id,
        maybeDelivered=slot.maybe_delivered,
        hasTransient=slot.transient,
    )


def from_slot_info(info: Any, queue_id: int) -> Slot:
    """Decode a slot; `queue_id` is the call's own argument and wins over the struct's field unless it is 0."""
    return Slot(
        queue_id or info.queueId or 0,
        info.lane or 0,
        info.startMessageId or 0,
        info.endMessageId or 0,
        info.messageCount or 0,
        bool(info.maybeDelivered),
        bool(info.hasTransient),
    )


def to_granted(grant: Grant | None) -> Any:
    """Encode a grant: a slot, its node and its coordinator. None becomes a slot that ends at 0 (andes §3.2)."""
    if grant is None:
        return idl.SlotInfo(startMessageId=0, endMessageId=0, hasOverlappingSlots=False)
    info = to_slot_info(grant.slot, grant.queue)
    info.assignedNodeId = grant.node_id
    info.epoch, info.term = grant.fence.epoch, grant.fence.term
    info.requestId = grant.request_id
    return info


def to_plain_granted(grant: Grant | None) -> Any:
    """Encode a grant with the fields of Andes only."""
    if grant is None:
        return to_granted(None)
    return idl.SlotInfo(
        startMessageId=grant.slot.start,
        endMessageId=grant.slot.end,
        queueName=grant.queue.name,
        assignedNodeId=grant.node_id,
        hasOverlappingSlots=False,
    )


def from_granted(info: Any) -> Grant | None:
    """Decode a grant; None when the slot ends at 0."""
    if not info.endMessageId:
        return None
    queue = from_queue(info.queueName or "", info.queueId)
    slot = from_slot_info(info, queue.queue_id)
    return Grant(queue, slot, info.assignedNodeId or "", _fence(info), info.requestId or "")


def to_traits(slot: Slot) -> Any:
    """Encode what Andes' arguments do not say of a submitted slot."""
    return idl.SlotTraits(
        lane=slot.lane, messageCount=slot.count, maybeDelivered=slot.maybe_delivered, hasTransient=slot.transient
    )


def from_submitted(queue_id: int, start: int, end: int, traits: Any) -> Slot:
    """Decode a submitted slot; `traits` is None when the caller is of Andes."""
    if traits is None:
        return Slot(queue_id, 0, start, end, 0)
    return Slot(
        queue_id,
        traits.lane or 0,
        start,
        end,
        traits.messageCount or 0,
        bool(traits.maybeDelivered),
        bool(traits.hasTransient),
    )


def to_demand(demand: Demand) -> Any:
    """Encode how many messages of a queue a node asks for."""
    queue = demand.queue
    return idl.QueueDemand(
        queueName=queue.name, queueId=queue.queue_id, messageCount=demand.messages, priority=demand.priority or None
    )


def from_demand(demand: Any) -> Demand:
    """Decode how many messages of a queue a node asks for."""
    return Demand(from_queue(demand.queueName or "", demand.queueId), demand.messageCount or 0, demand.priority or 0)


def to_supply(supply: Supply) -> Any:
    """Encode the answer to a long poll."""
    return idl.SlotSupply(
        slots=[to_granted(grant) for grant in supply.grants],
        wantedElsewhere=[to_demand(demand) for demand in supply.remote_demand],
        epoch=supply.fence.epoch,
        term=supply.fence.term,
        number=supply.number or None,
    )


def from_supply(supply: Any) -> Supply:
    """Decode the answer to a long poll."""
    grants = [grant for grant in map(from_granted, supply.slots or ()) if grant is not None]
    remote_demand = tuple(map(from_demand, supply.wantedElsewhere or ()))
    return Supply(tuple(grants), remote_demand, _fence(supply), supply.number or 0)


def to_count(count: QueueCount) -> Any:
    """Encode how many messages and consumers a queue has on a node."""
    return idl.QueueCount(
        queueId=count.queue_id,
        messageCount=count.ready,
        consumerCount=count.consumers,
        usedAt=count.used_at or None,
        octets=count.octets or None,
    )


def from_count(count: Any) -> QueueCount:
    """Decode how many messages and consumers a queue has on a node."""
    numbers = count.queueId, count.messageCount, count.consumerCount, count.usedAt, count.octets
    return QueueCount(*(number or 0 for number in numbers))


def to_figures(page: FiguresPage) -> Any:
    """Encode figures of a node."""
    return idl.FigurePage(rows=page.rows, following=page.next)


def from_figures(page: Any) -> FiguresPage:
    """Decode figures of a node."""
    return FiguresPage(page.rows or b"[]", page.following or 0)


def to_reply(part: ReplyPart) -> Any:
    """Encode a reply to a channel, or a piece of one."""
    return idl.Reply(
        virtualHost=part.vhost,
        address=part.address,
        routing=part.routing,
        header=part.header or None,
        body=part.body,
    )


def from_reply(reply: Any) -> ReplyPart:
    """Decode a reply to a channel, or a piece of one."""
    return ReplyPart(
        reply.virtualHost or "", reply.address or "", reply.routing or b"", reply.header or b"", reply.body or b""
    )


def put_error(result: Any, error: CoordinationError) -> None:
    """Put `error` into `result`: NotCoordinator and Unauthorized as such, any other error as Unavailable."""
    match error:
        case NotCoordinator(hint=None):
            result.notCoordinator = idl.NotCoordinator(text=str(error))
        case NotCoordinator(hint=Hint(host, port, epoch)):
            result.notCoordinator = idl.NotCoordinator(text=str(error), host=host, port=port, epoch=epoch)
        case Unauthorized():
            result.unauthorized = idl.Unauthorized(text=str(error))
        case _:
            result.unavailable = idl.Unavailable(text=str(error))


def error_of(result: Any) -> CoordinationError | None:
    """Return the declared error in `result`, or None when there is none."""
    if (declared := getattr(result, "notCoordinator", None)) is not None:
        has_hint = declared.host and declared.port
        hint = Hint(declared.host, declared.port, declared.epoch or 0) if has_hint else None
        return NotCoordinator(declared.text or "", hint)
    if (declared := getattr(result, "unauthorized", None)) is not None:
        return Unauthorized(declared.text or "")
    if (declared := getattr(result, "unavailable", None)) is not None:
        return Unavailable(declared.text or "")
    return None


def _fence(struct: Any) -> Fence:
    return Fence(struct.epoch or 0, struct.term or "")


def to_event(event: EventRow) -> Any:
    """Encode a change of topology."""
    author = event.author
    return idl.TopologyEvent(
        eventId=event.event_id, nodeId=author.node_id, incarnation=author.id, payload=event.payload
    )


def from_event(event: Any) -> EventRow:
    """Decode a change of topology."""
    author = Incarnation(event.nodeId or "", event.incarnation or "")
    return EventRow(event.eventId or 0, author, event.payload or b"")
