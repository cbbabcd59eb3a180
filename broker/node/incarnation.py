"""One incarnation of a node: every object between the store and the clients, from registration until the node stops.

Who else uses the store is its `Company`'s business: nobody's, or the other nodes' of a cluster. A node that was evicted
ends this incarnation with everything in it, and begins another. Knows all the parts; what they do is none of its
business.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from broker import __version__
from broker.amqp.context import SharedContext
from broker.amqp.handshake import server_properties
from broker.auth.access import OpenAccess
from broker.auth.built_in import built_in_users
from broker.broker import Broker, Confirmable, Limits
from broker.clock import Clock
from broker.config.configuration import Configuration
from broker.errors import StoreUnavailable
from broker.message import Message, MessageIdGenerator
from broker.node.allocator import give_back_freed_memory
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import Put, Topology, VirtualHostRecord
from broker.ports.slot import Slot
from broker.ports.store import Registration
from broker.queue.queue import Queue, QueueObserver
from broker.queue.settings import QueueLimits
from broker.queue.slot_reader import SlotReader
from broker.server.back_pressure import BackPressure
from broker.server.handler_tasks import HandlerTasks
from broker.server.listener import AmqpServer
from broker.server.resource_monitor import ResourceMonitor, Thresholds, disk_free_octets, resident_octets, total_memory
from broker.server.timers import Timers
from broker.store.health import StoreHealth
from broker.store.journal import GroupCommitJournal
from broker.store.queue_ids import QueueIds
from broker.store.retrying import ClientLock, RetryingStore
from broker.topology.apply import LiveTopology
from broker.topology.recorder import Recorder, TopologyMoved
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

DEFAULT_VHOSTS: Final = ("/", "carbon")
STOP_TIMEOUT: Final = 3.0

Turns = AbstractAsyncContextManager[Any]


class Company(Protocol):
    """Those with whom a node shares its store."""

    @property
    def incarnation(self) -> Incarnation | None:
        """The node in its present incarnation; None when it is alone for good."""
        ...

    @property
    def is_trusted(self) -> Callable[[], bool] | None:
        """May this node deliver? None when nobody could have taken anything from it."""
        ...

    @property
    def fetch(self) -> Callable[[Queue], Awaitable[bool]] | None: ...

    @property
    def observer(self) -> QueueObserver:
        """Who is told what happens to queues."""
        ...

    @property
    def on_read(self) -> Callable[[Queue, Slot, Sequence[Message], bool], None] | None: ...

    @property
    def recorder(self) -> Recorder:
        """Where virtual hosts record their changes."""
        ...

    @property
    def purge_elsewhere(self) -> Callable[[Queue], Awaitable[int]] | None: ...

    async def register(self, loops: asyncio.TaskGroup) -> Registration:
        """Announce this node; from here on it may write."""
        ...

    def meet(self, parts: NodeIncarnation) -> None:
        """Learn the objects of this incarnation, before there is any queue."""
        ...

    def turns(self, changes: Turns, duties: Turns) -> tuple[Turns, Turns]:
        """Return the contexts in which topology changes: asked for by clients, and by nobody."""
        ...

    async def load(self) -> Topology: ...

    async def backlog(self) -> Sequence[Slot]:
        """Return what lies in the store for this node to go on with."""
        ...

    async def enter(self, loops: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Begin to take part; return those of `loops` that must end before `leave`."""
        ...

    async def part(self) -> None:
        """Give away what others can go on with: the clients are gone, the journal still writes."""
        ...

    async def leave(self) -> None:
        """Leave the store so that the next start knows exactly what was delivered; nothing writes any more."""
        ...

    async def close(self) -> None:
        """Let go of everything else, however this incarnation has ended."""
        ...


class NodeIncarnation:
    """The objects of one incarnation, built by hand."""

    def __init__(
        self,
        config: Configuration,
        node_id: str,
        store: RetryingStore,
        clock: Clock,
        company: Company,
        *,
        store_timeout: float,
    ) -> None:
        self.config = config
        self.clock = clock
        self.store = store
        self.vhosts: dict[str, VirtualHost] = {}
        self.topology = LiveTopology(self.vhosts, lambda name: self._new_vhost(name))
        self.registration: Registration
        self.ids: MessageIdGenerator
        self.journal: GroupCommitJournal
        self.broker: Broker
        self.health: StoreHealth | None = None
        self._node_id = node_id
        self._company = company
        self._store_timeout = store_timeout

    @property
    def queues(self) -> list[Queue]:
        """All queues of all virtual hosts."""
        return [queue for vhost in self.vhosts.values() for queue in vhost.queues.values()]

    def find_queue(self, queue_id: int) -> Queue | None:
        """Return the queue with this storage id, if there is one."""
        return self.topology.find_queue(queue_id)

    def on_fed(self, queue: Queue) -> None:
        """The queue has got messages, or slots to read them from."""
        self.broker.touched.add(queue)
        self.broker.dispatch()

    async def run(self, serve_clients: Callable[[AmqpServer, int], Awaitable[None]]) -> None:
        """Live until `serve_clients` returns, and end in order; it is told how many messages were found."""
        try:
            await self._run(serve_clients)
        finally:
            await self._company.close()

    async def _run(self, serve_clients: Callable[[AmqpServer, int], Awaitable[None]]) -> None:
        company = self._company
        async with asyncio.TaskGroup() as forever:
            self.registration = await company.register(forever)
            async with asyncio.TaskGroup() as tasks:
                server, loops = self._build(forever, tasks)
                messages = await self.restore(QueueLimits(window_size=self.config.performance_tuning.slots.window_size))
                loops += await company.enter(forever)
                try:
                    await serve_clients(server, messages)
                finally:
                    server.abort("the node ends or begins anew")
                loops.append(forever.create_task(self._give_up(), name="store timeout"))
            # All that connections had begun is done, with the help of the journal.
            await company.part()
            await self.journal.drain()
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)
            await company.leave()

    def _build(
        self, forever: asyncio.TaskGroup, tasks: asyncio.TaskGroup
    ) -> tuple[AmqpServer, list[asyncio.Task[None]]]:
        company, registration = self._company, self.registration
        pressure = BackPressure()
        timers = Timers(self.clock.monotonic)
        touched_confirms: set[Confirmable] = set()
        self.ids = MessageIdGenerator(registration.lane, registration.last_message_id)
        journal = self.journal = GroupCommitJournal(
            self.store,
            high_water=registration.last_message_id,
            touched_confirms=touched_confirms,
            on_settled=lambda: broker.flush_confirms(),
            on_full=pressure.on_journal_full,
            sleep=lambda seconds: health.pause(seconds),
        )
        health = self.health = StoreHealth(
            self.store,
            journal,
            self.clock,
            interval=self.config.persistence.store_health_check_interval,
            on_change=pressure.on_store_state,
        )

        company.meet(self)
        self.slot_reader = SlotReader(self.store, journal, tasks, self.on_fed, company.on_read)
        broker = self.broker = Broker(
            ids=self.ids,
            journal=journal,
            feed=self.slot_reader.wait,
            touched_confirms=touched_confirms,
            limits=client_limits(self.config),
            vhosts=self.vhosts,
            is_trusted=company.is_trusted,
            fetch=company.fetch,
            purge_elsewhere=company.purge_elsewhere,
        )
        shared = SharedContext(
            broker,
            built_in_users(self.config.user_mgt),
            OpenAccess(),
            server_properties(__version__, self._node_id, _platform()),
            _new_name,
            HandlerTasks(tasks).spawn,
            self.clock.monotonic,
            lambda: pressure.is_store_away,
        )
        server = AmqpServer(self.clock, shared, pressure, timers, give_back_freed_memory)
        return server, [
            forever.create_task(journal.run(), name="journal"),
            forever.create_task(timers.run(), name="timers"),
            forever.create_task(_resource_monitor(self.config, pressure).run(), name="resources"),
            forever.create_task(health.run(), name="store health"),
        ]

    async def _give_up(self) -> None:
        """End a node that is to stop and cannot finish, because its store does not come back."""
        while True:
            await asyncio.sleep(self._store_timeout)
            if self.health is not None and self.health.is_down:
                raise StoreUnavailable(
                    "it was away when the node was to stop: nothing confirmed is lost, what was not confirmed may be"
                )

    async def restore(self, queue_limits: QueueLimits) -> int:
        """Rebuild memory from the store; return how many messages wait there."""
        registration, company = self.registration, self._company
        topology = await company.load()
        queue_ids = QueueIds(self.store, registration.first_queue_id, registration.last_queue_id)
        lock = asyncio.Lock()
        client_lock = ClientLock(lock, lambda: self.health is not None and self.health.is_down)
        changes, duties = company.turns(client_lock, lock)
        new_queue = partial(
            Queue,
            lane=registration.lane,
            limits=queue_limits,
            journal=self.journal,
            read_slots=self.slot_reader.start,
            observer=company.observer,
        )

        def new_vhost(name: str) -> VirtualHost:
            return VirtualHost(
                name,
                recorder=company.recorder,
                apply=self.topology.apply,
                journal=self.journal,
                changes=changes,
                duties=duties,
                new_queue=new_queue,
                new_queue_id=queue_ids.take,
                max_queues=self.config.limits.max_queues_per_virtual_host,
                incarnation=company.incarnation,
                on_activity=self.broker.touched.add,
            )

        self._new_vhost = new_vhost
        for complaint in self.topology.restore(topology):
            _log.warning("topology in the store does not fit together", what=complaint)
        for name in DEFAULT_VHOSTS:
            while name not in self.vhosts:
                with suppress(TopologyMoved):
                    async with duties:
                        created = Put(VirtualHostRecord(name))
                        await company.recorder.record([created])
                        self.topology.apply(created)
        return self._recover(await company.backlog())

    def _recover(self, backlog: Sequence[Slot]) -> int:
        known = {queue.queue_id: queue for queue in self.queues}
        messages = 0
        for slot in backlog:
            queue = known.get(slot.queue_id)
            if queue is None:
                _log.error("messages of an unknown queue are left alone", queue_id=slot.queue_id, count=slot.count)
                continue
            slot.maybe_delivered |= not self.registration.clean
            messages += slot.count
            queue.recover(slot)
        return messages


def client_limits(config: Configuration) -> Limits:
    """Return what one client may ask for."""
    limits, qpid = config.limits, config.qpid
    return Limits(
        channel_max=qpid.maximum_channel_count,
        frame_max=qpid.advanced.frame_size_bytes,
        heartbeat=qpid.heartbeat.delay,
        heartbeat_timeout_factor=qpid.heartbeat.timeout_factor,
        handshake_timeout=limits.handshake_timeout,
        max_message_size=limits.max_message_size_bytes,
        max_consumers_per_channel=limits.max_consumers_per_channel,
        max_connections=limits.max_connections,
        max_uncommitted_bytes=config.transaction.max_uncommitted_bytes,
    )


def _resource_monitor(config: Configuration, pressure: BackPressure) -> ResourceMonitor:
    limits = config.limits
    path = config.store_url.path
    folder = path.absolute().parent if path is not None else Path.cwd()
    is_on_our_disk = config.store_url.engine == "sqlite"
    return ResourceMonitor(
        Thresholds(
            int(total_memory() * limits.memory_high_watermark),
            limits.disk_free_limit_bytes if is_on_our_disk else 0,
        ),
        partial(pressure.set_alarm, "resources"),
        resident=resident_octets,
        disk_free=lambda: disk_free_octets(folder),
    )


def _new_name(prefix: str) -> str:
    """Return `prefix` and 22 url-safe characters (contract Q2)."""
    return prefix + secrets.token_urlsafe(16)


def _platform() -> str:
    return f"Python {platform.python_version()}"
