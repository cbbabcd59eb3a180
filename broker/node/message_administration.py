"""What administrators do with messages and consumers: composed for one incarnation, each when it is first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Protocol

from broker.broker import Broker
from broker.clock import Clock
from broker.errors import CoordinationError
from broker.management.figures.queues_elsewhere import left_elsewhere
from broker.management.figures.subscriptions import read_consumers
from broker.management.figures.view import NodeView
from broker.management.operated import CLOSE_SUBSCRIPTION
from broker.message import Message, MessageIdGenerator
from broker.node.queue_services import LiveServices
from broker.ports.finding import FoundPage
from broker.ports.slot import Slot
from broker.ports.store import DueKey
from broker.queue.queue import Queue
from broker.queue.stream_reader import StreamReader
from broker.server.turns import Turns
from broker.store.journal import GroupCommitJournal
from broker.store.retrying import RetryingStore
from broker.topology.dead_letter_channels import DeadLetterChannels
from broker.topology.dead_letter_jobs import DeadLetterJobs
from broker.topology.redriving import Redrives
from broker.topology.schedules import ScheduleChange, Schedules
from broker.topology.stream_replay import StreamReplays
from broker.topology.subscription_list import ConsumersElsewhere, SubscriptionList, WantedSubscriptions
from broker.topology.vhost import VirtualHost


class Parts(Protocol):
    """What it takes of an incarnation."""

    vhosts: dict[str, VirtualHost]
    store: RetryingStore
    ids: MessageIdGenerator
    journal: GroupCommitJournal
    clock: Clock
    stream_reader: StreamReader
    turns: Turns
    broker: Broker
    services: LiveServices
    view: NodeView
    node_id: str

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside what goes on."""

    async def read_stored(self, queue: Queue, slot: Slot, limit: int, octets: int) -> Sequence[Message]:
        """Read messages of a slot from the store, when it has what was appended before."""

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int) -> Mapping[int, ScheduleChange]:
        """Change delayed messages that other nodes hold."""


class MessageAdministration:
    """Composes from the parts of an incarnation what its administrators use; does none of the work."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @cached_property
    def stream_replays(self) -> StreamReplays:
        """What an administrator does with streams."""
        parts = self._parts
        return StreamReplays(
            parts.vhosts,
            parts.store,
            parts.ids,
            parts.journal,
            now_ms=parts.clock.wall_ms,
            write_places=parts.stream_reader.write_places,
            next_turn=parts.turns.next,
            touched=parts.broker.touched,
            dispatch=parts.broker.dispatch,
        )

    @cached_property
    def schedules(self) -> Schedules:
        """What an administrator does with delayed messages."""
        parts = self._parts
        return Schedules(
            parts.vhosts,
            parts.ids,
            parts.journal,
            read=parts.read_stored,
            read_due=self._read_due,
            elsewhere=parts.change_delayed,
            touched=parts.broker.touched,
            now_ms=parts.clock.wall_ms,
            pause=asyncio.sleep,
            next_turn=parts.turns.next,
            dispatch=parts.broker.dispatch,
        )

    async def _read_due(
        self, queue: Queue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> Sequence[Message]:
        await self._parts.journal.flushed()
        return await self._parts.store.read_due(queue, until_ms, after, limit, limit_bytes)

    async def find_stored(self, wanted: bytes, before: int, limit: int) -> FoundPage:
        """Find messages in the store, after all that the journal has taken before."""
        await self._parts.journal.flushed()
        return await self._parts.store.find_messages(wanted, before, limit)

    @cached_property
    def dead_letter_channels(self) -> DeadLetterChannels:
        """What an administrator does with dead letters."""
        parts = self._parts
        return DeadLetterChannels(
            parts.vhosts,
            parts.services.dead_letters,
            parts.ids,
            read=parts.read_stored,
            held_ids=parts.broker.held_ids,
            touched=parts.broker.touched,
            pause=asyncio.sleep,
            next_turn=parts.turns.next,
            dispatch=parts.broker.dispatch,
            now_ms=parts.clock.wall_ms,
            left_elsewhere=partial(left_elsewhere, parts.view),
        )

    @cached_property
    def dead_letter_jobs(self) -> DeadLetterJobs:
        """The jobs that move dead letters."""
        return DeadLetterJobs(self.dead_letter_channels, self._parts.spawn, self._parts.clock.wall_ms)

    @cached_property
    def redrives(self) -> Redrives:
        """How an administrator moves messages back to where they died."""
        parts = self._parts
        return Redrives(
            parts.vhosts,
            self.dead_letter_channels,
            pause=asyncio.sleep,
            spawn=parts.spawn,
        )

    @cached_property
    def subscription_list(self) -> SubscriptionList:
        """Who consumes what."""
        parts = self._parts
        connections = parts.broker.open_connections
        view = parts.view

        async def elsewhere(vhost: str, wanted: WantedSubscriptions) -> ConsumersElsewhere:
            return await read_consumers(view.others, vhost, wanted)

        async def close_elsewhere(node_id: str, vhost: str, subscription_id: str) -> bool:
            given = {"vhost": vhost, "id": subscription_id}
            answer = (await view.operated.operate(CLOSE_SUBSCRIPTION, given, node_id)).done.get(node_id)
            if answer is None:
                raise CoordinationError(f"node {node_id}, which has the subscription, does not answer: try again later")
            return bool(answer.get("closed"))

        return SubscriptionList(
            parts.vhosts, lambda: connections, parts.node_id, parts.turns.next, elsewhere, close_elsewhere
        )
