"""A client that offers the slot service of another node as a local `SlotService` (andes §3.4).

It chooses the timeout of each call and follows the coordinator when that moves; `pool` keeps the connections.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from broker.clock import Clock
from broker.machine.host_names import HostNames
from broker.ports.cluster_rows import EventRow
from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    FiguresPage,
    Grant,
    NotCoordinator,
    QueueCount,
    QueueName,
    ReplyPart,
    Supply,
)
from broker.ports.slot import Slot
from broker.thrift import convert
from broker.thrift.pool import CALL_TIMEOUT, CONNECT_TIMEOUT, Pool
from broker.thrift.secret import SharedSecret, new_nonce


def new_request_id() -> str:
    """Return a unique id for one call."""
    return uuid.uuid4().hex


class SlotClient:
    """Calls the `SlotService` at an address that may change.

    A call is repeated once when its connection is lost. When the node that answers is not the coordinator and names
    another address, the call is repeated there once, and later calls go there too. After three calls without an answer
    in a row, further calls fail at once for `reconnect_timeout` seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        clock: Clock,
        pool_size: int = 10,
        reconnect_timeout: float = 5.0,
        secret: SharedSecret | None = None,
        call_timeout: float = CALL_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        new_nonce: Callable[[], bytes] = new_nonce,
        new_request_id: Callable[[], str] = new_request_id,
        on_not_coordinator: Callable[[], None] = lambda: None,
        callee: str = "",
        names: HostNames | None = None,
    ) -> None:
        """`pool_size` is thriftClientPoolSize, raised to 2 if less; `reconnect_timeout` is thriftServerReconnectTimeout
        in seconds.

        `on_not_coordinator` is called when the node at the address answers that it is not the coordinator. `callee` is
        the incarnation that calls are for: another node at this address refuses them. `names` looks hosts up; clients
        of one node share it.
        """
        names = names or HostNames()
        self._call_timeout = call_timeout
        self._new_request_id = new_request_id
        self._on_not_coordinator = on_not_coordinator
        self._callee = callee
        self._new_pool: Callable[[str, int], Pool] = lambda host, port: Pool(
            host,
            port,
            size=pool_size,
            reconnect_timeout=reconnect_timeout,
            clock=clock,
            secret=secret,
            new_nonce=new_nonce,
            connect_timeout=connect_timeout,
            names=names,
        )
        self._pool = self._new_pool(host, port)
        self._retired: list[Pool] = []
        self._epoch = 0

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that calls go to."""
        return self._pool.host, self._pool.port

    def move_to(self, host: str, port: int, epoch: int = 0) -> None:
        """Send later calls to another address; calls under way end where they are.

        Nothing changes when `epoch` is given and an address of a later epoch is already known.
        """
        if epoch and epoch < self._epoch:
            return
        self._epoch = max(epoch, self._epoch)
        if self.address != (host, port):
            self._pool.retire()
            self._retired = [pool for pool in self._retired if pool.is_in_use]
            self._retired.append(self._pool)
            self._pool = self._new_pool(host, port)

    def close(self) -> None:
        """Close every connection; calls under way fail."""
        for pool in (self._pool, *self._retired):
            pool.close()

    async def get_slot(self, queue: QueueName, caller: Caller) -> Grant | None:
        info = await self._call("getSlotInfo", caller, queue, nodeId=caller.node_id)
        return convert.from_granted(info)

    async def submit_slot(self, queue: QueueName, slot: Slot, caller: Caller) -> None:
        await self._call(
            "updateMessageId",
            caller,
            queue,
            nodeId=caller.node_id,
            startMessageId=slot.start,
            endMessageId=slot.end,
            localSafeZone=0,  # Andes needs it; here no other node writes into the lane of a slot (ADR 6)
            traits=convert.to_traits(slot),
        )

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        supply = await self._call(
            "awaitSlots",
            caller,
            call_timeout=self._call_timeout + wait_ms / 1000,
            nodeId=caller.node_id,
            hungry=[convert.to_demand(demand) for demand in demands],
            waitMs=wait_ms,
        )
        return convert.from_supply(supply)

    async def push_events(self, last_event_id: int, caller: Caller, events: Sequence[EventRow] = ()) -> int:
        told = [convert.to_event(event) for event in events]
        node_id = caller.node_id
        return int(await self._call("pushEvents", caller, nodeId=node_id, lastEventId=last_event_id, events=told))

    async def hint_resigned(self, resigned: Fence, caller: Caller) -> None:
        await self._call("hint", caller, nodeId=caller.node_id, epoch=resigned.epoch, term=resigned.term)

    async def contact(self, is_served: bool, caller: Caller, last_event_id: int = 0) -> None:
        node_id = caller.node_id
        await self._call("contact", caller, nodeId=node_id, isServed=is_served, lastEventId=last_event_id)

    async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
        return int(await self._call("surrender", caller, queue, nodeId=caller.node_id, messageCount=messages))

    async def purge_queue(self, queue: QueueName, caller: Caller, last_event_id: int | None = None) -> int:
        node_id = caller.node_id
        return int(await self._call("purgeQueue", caller, queue, nodeId=node_id, lastEventId=last_event_id))

    async def exchange_counts(self, counts: Sequence[QueueCount], caller: Caller) -> Sequence[QueueCount]:
        told = [convert.to_count(count) for count in counts]
        answer = await self._call("exchangeCounts", caller, nodeId=caller.node_id, counts=told)
        return [convert.from_count(count) for count in answer]

    async def deliver_replies(self, call: int, replies: Sequence[ReplyPart], caller: Caller) -> Sequence[bool]:
        told = [convert.to_reply(part) for part in replies]
        answer = await self._call("deliverReplies", caller, nodeId=caller.node_id, call=call, replies=told)
        return [bool(is_delivered) for is_delivered in answer]

    async def read_figures(self, kind: str, start: int, caller: Caller) -> FiguresPage:
        return convert.from_figures(
            await self._call("readFigures", caller, nodeId=caller.node_id, kind=kind, start=start)
        )

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int, caller: Caller) -> Sequence[int]:
        return [
            int(each)
            for each in await self._call(
                "changeDelayed", caller, nodeId=caller.node_id, virtualHost=vhost, ids=list(ids), due=due
            )
        ]

    async def operate(self, operation: str, given: bytes, caller: Caller) -> bytes:
        return bytes(await self._call("operate", caller, nodeId=caller.node_id, operation=operation, given=given))

    async def awaits_reply(self, vhost: str, address: str, caller: Caller) -> bool:
        return bool(await self._call("awaitsReply", caller, nodeId=caller.node_id, virtualHost=vhost, address=address))

    async def _call(
        self,
        method: str,
        caller: Caller,
        queue: QueueName | None = None,
        *,
        call_timeout: float = 0.0,
        **arguments: Any,
    ) -> Any:
        """Call the node; when it is not the coordinator and names another address, repeat the call there once."""
        if not caller.request_id:
            caller = replace(caller, request_id=self._new_request_id())
        if self._callee:
            caller = replace(caller, callee=self._callee)
        arguments["context"] = convert.to_context(caller)
        if queue is not None:
            arguments["queueName"], arguments["queueId"] = queue.name, queue.queue_id
        pool = self._pool
        try:
            return await pool.call(method, arguments, call_timeout or self._call_timeout)
        except NotCoordinator as error:
            self._on_not_coordinator()
            if error.hint is None:
                raise
            self.move_to(error.hint.host, error.hint.port, error.hint.epoch)
            if self._pool is pool:
                raise
        return await self._pool.call(method, arguments, call_timeout or self._call_timeout)
