"""Answers one call of the slot service (andes §3.2).

Every call gets an answer. A caller that sends this broker's additions to the IDL gets the exceptions declared there; a
caller of Andes gets the answer that Andes gives. `session` reads and writes the octets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import structlog

from broker.errors import BrokerError, CoordinationError
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import Caller, Fence, QueueName, Unavailable
from broker.thrift import convert, idl
from broker.thrift.wire import CALL, REPLY, MalformedMessage, ThriftMessage

_log = structlog.get_logger(__name__)

Handler = Callable[[SlotService, Any], Awaitable[Any]]

MAX_WAIT_MS: Final = 60_000


async def _get_slot_info(service: SlotService, call: Any) -> Any:
    grant = await service.get_slot(_queue(call), _caller(call))
    return convert.to_plain_granted(grant) if call.context is None else convert.to_granted(grant)


async def _update_message_id(service: SlotService, call: Any) -> None:
    queue = _queue(call)
    slot = convert.from_submitted(queue.queue_id, call.startMessageId, call.endMessageId, call.traits)
    await service.submit_slot(queue, slot, _caller(call))


async def _await_slots(service: SlotService, call: Any) -> Any:
    wait_ms = min(max(call.waitMs, 0), MAX_WAIT_MS)
    demands = [convert.from_demand(demand) for demand in call.hungry]
    return convert.to_supply(await service.await_slots(demands, wait_ms, _caller(call)))


async def _push_events(service: SlotService, call: Any) -> int:
    events = [convert.from_event(event) for event in call.events or ()]
    return await service.push_events(call.lastEventId, _caller(call), events)


async def _hint(service: SlotService, call: Any) -> None:
    await service.hint_resigned(Fence(call.epoch, call.term), _caller(call))


async def _contact(service: SlotService, call: Any) -> None:
    await service.contact(call.isServed, _caller(call), call.lastEventId or 0)


async def _release(service: SlotService, call: Any) -> int:
    return await service.release(_queue(call), call.messageCount, _caller(call))


async def _purge_queue(service: SlotService, call: Any) -> int:
    return await service.purge_queue(_queue(call), _caller(call), call.lastEventId)


async def _deliver_replies(service: SlotService, call: Any) -> Any:
    parts = [convert.from_reply(reply) for reply in call.replies]
    return list(await service.deliver_replies(call.call, parts, _caller(call)))


async def _awaits_reply(service: SlotService, call: Any) -> bool:
    return await service.awaits_reply(call.virtualHost, call.address, _caller(call))


async def _exchange_counts(service: SlotService, call: Any) -> Any:
    counts = [convert.from_count(count) for count in call.counts]
    return [convert.to_count(count) for count in await service.exchange_counts(counts, _caller(call))]


async def _read_figures(service: SlotService, call: Any) -> Any:
    return convert.to_figures(await service.read_figures(call.kind, call.start, _caller(call)))


async def _change_delayed(service: SlotService, call: Any) -> Any:
    return list(await service.change_delayed(call.virtualHost, call.ids, call.due, _caller(call)))


async def _operate(service: SlotService, call: Any) -> bytes:
    return await service.operate(call.operation, call.given, _caller(call))


def _queue(call: Any) -> QueueName:
    return convert.from_queue(call.queueName, call.queueId)


def _caller(call: Any) -> Caller:
    return convert.from_context(call.context, call.nodeId)


HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        "getSlotInfo": _get_slot_info,
        "updateMessageId": _update_message_id,
        "awaitSlots": _await_slots,
        "pushEvents": _push_events,
        "hint": _hint,
        "contact": _contact,
        "surrender": _release,
        "purgeQueue": _purge_queue,
        "exchangeCounts": _exchange_counts,
        "deliverReplies": _deliver_replies,
        "awaitsReply": _awaits_reply,
        "readFigures": _read_figures,
        "changeDelayed": _change_delayed,
        "operate": _operate,
    }
)
ADMITTING: Final = frozenset({"challenge", "authenticate"})
ADDED: Final = ADMITTING | {
    "awaitSlots",
    "pushEvents",
    "hint",
    "contact",
    "surrender",
    "purgeQueue",
    "exchangeCounts",
    "deliverReplies",
    "awaitsReply",
    "readFigures",
    "changeDelayed",
    "operate",
}


async def answer(service: SlotService, message: ThriftMessage, peer: str) -> bytes:
    """Return the octets that answer `message`. Raises MalformedMessage for what is not a call."""
    name, sequence_id = message.name, message.sequence_id
    call = read_call(message)
    if name not in HANDLERS:
        return idl.encode_error(name, sequence_id, idl.UNKNOWN_METHOD, f"Invalid method name: '{name}'")
    if missing := idl.missing_argument(call):
        return idl.encode_error(name, sequence_id, idl.PROTOCOL_ERROR, f"{name}: {missing} is missing")
    result = idl.result(name)
    try:
        success = await HANDLERS[name](service, call)
        if 0 in result.thrift_spec:
            result.success = _something(success, name)
    except Exception as error:
        _log_failure(error, name, peer)
        return encode_failure(name, sequence_id, call, _declared(error))
    return idl.encode(name, REPLY, sequence_id, result)


def read_call(message: ThriftMessage) -> Any:
    """Return the arguments of a call, None for a method that the IDL does not have."""
    if message.kind != CALL:
        raise MalformedMessage(f"a message of type {message.kind}; only calls are answered")
    if message.name not in idl.METHODS:
        return None
    return idl.decode(idl.arguments(message.name), message.body)


def encode_failure(name: str, sequence_id: int, call: Any, error: CoordinationError) -> bytes:
    """Return the octets that tell the caller of `error`.

    Andes' client does not know the declared exceptions: it would take one for success or for a missing result.
    """
    if name not in ADDED and getattr(call, "context", None) is None:
        return idl.encode_error(name, sequence_id, idl.INTERNAL_ERROR, f"Internal error processing {name}")
    result = idl.result(name)
    convert.put_error(result, error)
    return idl.encode(name, REPLY, sequence_id, result)


def _something(success: Any, name: str) -> Any:
    # thriftpy2 writes no field for None, and the caller cannot tell that from a missing result.
    if success is None:
        raise TypeError(f"{name} answered None")
    return success


def _declared(error: Exception) -> CoordinationError:
    if isinstance(error, CoordinationError):
        return error
    return Unavailable(str(error) if isinstance(error, BrokerError) else "internal error")


def _log_failure(error: Exception, name: str, peer: str) -> None:
    if isinstance(error, BrokerError):
        _log.debug("thrift call refused", method=name, peer=peer, reason=str(error))
    else:
        _log.error("thrift call failed", method=name, peer=peer, exc_info=error)
