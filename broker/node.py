"""One node: every object built by hand, started and stopped in order.

The only place that knows all the parts. What they do is none of its business.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from broker import __version__
from broker.alarms import Alarms, Thresholds, disk_free_octets, resident_octets, total_memory
from broker.allocator import give_back_freed_memory
from broker.amqp.connection import Surroundings
from broker.amqp.fields import EMPTY_TABLE, FieldTable
from broker.amqp.handshake import server_properties
from broker.auth.built_in import built_in_users
from broker.broker import Broker, Confirmable, Limits
from broker.clock import SystemClock
from broker.config.configuration import Configuration
from broker.coordination.feed import Feed
from broker.coordination.slots import LocalSlotCoordinator
from broker.errors import ConfigError, StoreUnavailable
from broker.message import STORED, MessageIdGenerator
from broker.ports import Registration, Store
from broker.queue import Queue, QueueLimits
from broker.server import AmqpServer
from broker.slot import Slot
from broker.store.health import StoreHealth, StoreState
from broker.store.journal import Journal
from broker.store.patience import ClientTurns, Patience, PatientStore
from broker.store.queue_ids import QueueIds
from broker.tls import server_context
from broker.topology import VirtualHostCreated
from broker.vhost import VirtualHost

_log = structlog.get_logger(__name__)

DEFAULT_VHOSTS: Final = ("/", "carbon")
_STOP_PATIENCE: Final = 3.0
_STORE_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Started:
    """What the banner shows of a node that is up."""

    node_id: str
    store: str
    store_seconds: float
    unsafe: Sequence[str]
    """The settings of the database under which a committed message can be lost."""
    addresses: dict[str, str]
    queues: int
    messages: int
    seconds: float


class Node:
    """A broker process without its command line."""

    def __init__(
        self,
        config: Configuration,
        store: Store,
        *,
        started_at: float | None = None,
        store_patience: float = _STORE_PATIENCE,
    ) -> None:
        """Serve with `store`, which `run` opens and closes. `started_at` is when the process began (monotonic).

        A node that is to stop and whose store is away waits for `store_patience` seconds.
        """
        self._config = config
        self._store = store
        self._patient_store = PatientStore(store)
        self._store_patience = store_patience
        self._start_patience = Patience("waiting for the store", delay=0.5, delay_max=5.0)
        self._started_at = time.monotonic() if started_at is None else started_at
        self._stop = asyncio.Event()
        self._start: asyncio.Timeout | None = None
        self._clock = SystemClock()
        self._health: StoreHealth | None = None
        self._unsafe: Sequence[str] = ()
        self.node_id = node_id(config)

    @property
    def store_state(self) -> StoreState:
        """What is known of the store. Raises LookupError until the node has got that far."""
        if self._health is None:
            raise LookupError("the node has not started")
        return self._health.state

    def stop(self) -> None:
        """Ask the node to stop in order; one that has not started yet, perhaps for want of its store, stops at once."""
        self._stop.set()
        start, self._start = self._start, None
        if start is not None:
            start.reschedule(asyncio.get_running_loop().time())

    async def run(self, on_started: Callable[[Started], None]) -> None:
        """Serve until `stop` is called; raises what made it impossible to start or to go on."""
        start = asyncio.timeout(None)
        try:
            async with start:
                if not self._stop.is_set():
                    self._start = start
                    await self._run(on_started)
        except TimeoutError:
            if not start.expired():
                raise
            _log.info("stopped before the start was complete", node=self.node_id)

    async def _run(self, on_started: Callable[[Started], None]) -> None:
        await self._start_patience.until_done(self._store.open)
        try:
            await self._check_safety()
            registration = await self._start_patience.until_done(lambda: self._store.register(self.node_id))
            async with asyncio.TaskGroup() as forever:
                async with asyncio.TaskGroup() as tasks:
                    loops, broker, journal = await self._serve(forever, tasks, registration, on_started)
                # All that connections had begun is done, with the help of the journal.
                await journal.drain()
                for loop in loops:
                    loop.cancel()
                await asyncio.wait(loops)
                await self._resign(broker)
        finally:
            await self._store.close()

    async def _check_safety(self) -> None:
        """Tell, or refuse to start, when a commit of the database does not mean what it must (reliability.md §2.8)."""
        self._unsafe = await self._start_patience.until_done(self._store.check_safety)
        if self._unsafe and self._config.persistence.store_safety_check == "enforce":
            raise ConfigError(
                f"the database can lose what it has committed: {'; '.join(self._unsafe)};"
                " mend that, or set persistence/storeSafetyCheck to warn"
            )
        for line in self._unsafe:
            _log.warning("the database can lose what it has committed", setting=line)

    async def _serve(
        self,
        forever: asyncio.TaskGroup,
        tasks: asyncio.TaskGroup,
        registration: Registration,
        on_started: Callable[[Started], None],
    ) -> tuple[list[asyncio.Task[None]], Broker, Journal]:
        """Serve clients until the node is to stop; their work is in `tasks`, what never ends by itself in `forever`."""
        server = AmqpServer(self._clock, tasks, give_back_freed_memory)
        touched_confirms: set[Confirmable] = set()
        ids = MessageIdGenerator(registration.lane, registration.last_message_id)
        slots = LocalSlotCoordinator()
        journal = Journal(
            self._patient_store,
            high_water=registration.last_message_id,
            touched_confirms=touched_confirms,
            on_settled=lambda: broker.flush_confirms(),
            on_full=server.on_journal_full,
            sleep=lambda seconds: health.pause(seconds),
        )
        health = self._health = StoreHealth(
            self._patient_store,
            journal,
            self._clock,
            interval=self._config.persistence.store_health_check_interval,
            on_change=server.on_store_state,
        )

        def on_fed(queue: Queue) -> None:
            broker.touched.add(queue)
            broker.dispatch()

        feed = Feed(self._patient_store, journal, slots, tasks, on_fed)
        broker = Broker(
            ids=ids, journal=journal, feed=feed.wait, touched_confirms=touched_confirms, limits=self._limits()
        )
        new_queue = partial(
            Queue,
            lane=registration.lane,
            limits=QueueLimits(window_size=self._config.performance_tuning.slots.window_size),
            journal=journal,
            slots=slots,
            on_hungry=feed.start,
        )
        messages = await self._restore(broker, registration, slots, new_queue)
        server.surroundings = Surroundings(
            broker,
            built_in_users(self._config.user_mgt),
            server_properties(__version__, self.node_id, _platform()),
            _new_name,
            server.spawn,
        )
        loops = [
            forever.create_task(journal.run(), name="journal"),
            forever.create_task(server.tick_forever(), name="heartbeats"),
            forever.create_task(self._alarms(server).run(), name="alarms"),
            forever.create_task(health.run(), name="store health"),
        ]
        store_seconds = await self._start_patience.until_done(self._store.probe)
        try:
            await self._serve_clients(server, broker, messages, store_seconds, on_started)
        finally:
            server.abort()
        loops.append(forever.create_task(self._give_up(health), name="store patience"))
        return loops, broker, journal

    async def _serve_clients(
        self,
        server: AmqpServer,
        broker: Broker,
        messages: int,
        store_seconds: float,
        on_started: Callable[[Started], None],
    ) -> None:
        """Listen until the node is to stop; then tell the clients."""
        addresses = await self._listen(server)
        self._start = None
        on_started(
            Started(
                self.node_id,
                self._store.describe(),
                store_seconds,
                self._unsafe,
                addresses,
                sum(len(vhost.queues) for vhost in broker.vhosts.values()),
                messages,
                time.monotonic() - self._started_at,
            )
        )
        _log.info("Server startup complete", node=self.node_id)
        await self._stop.wait()
        _log.info("stopping", node=self.node_id)
        await server.stop("shutdown", _STOP_PATIENCE)

    async def _give_up(self, health: StoreHealth) -> None:
        """End a node that is to stop and cannot finish, because its store does not come back."""
        while True:
            await asyncio.sleep(self._store_patience)
            if health.is_down:
                raise StoreUnavailable(
                    "it was away when the node was to stop: nothing confirmed is lost, what was not confirmed may be"
                )

    async def _restore(
        self,
        broker: Broker,
        registration: Registration,
        slots: LocalSlotCoordinator,
        new_queue: Callable[..., Queue],
    ) -> int:
        """Rebuild memory from the store; return how many messages wait there."""
        store = self._patient_store
        topology = await store.load()
        missing = [name for name in DEFAULT_VHOSTS if name not in topology.vhosts]
        if missing:
            await store.record([VirtualHostCreated(name) for name in missing])
        queue_ids = QueueIds(store, registration.first_queue_id, registration.last_queue_id)
        lock = asyncio.Lock()
        changes = ClientTurns(lock, lambda: self._health is not None and self._health.is_down)
        for name in [*topology.vhosts, *missing]:
            vhost = broker.vhosts[name] = VirtualHost(
                name,
                topology=store,
                journal=broker.journal,
                changes=changes,
                duties=lock,
                new_queue=new_queue,
                new_queue_id=queue_ids.take,
                no_arguments=EMPTY_TABLE,
                max_queues=self._config.limits.max_queues_per_virtual_host,
            )
            for complaint in vhost.restore(topology, FieldTable):
                _log.warning("topology in the store does not fit together", vhost=name, what=complaint)
        known = {queue.queue_id: queue for vhost in broker.vhosts.values() for queue in vhost.queues.values()}
        messages = 0
        for slot in await store.backlog():
            queue = known.get(slot.queue_id)
            if queue is None:
                _log.error("messages of an unknown queue are left alone", queue_id=slot.queue_id, count=slot.count)
                continue
            slot.maybe_delivered |= not registration.clean
            messages += slot.count
            queue.recover(slot)
        return messages

    async def _resign(self, broker: Broker) -> None:
        """Leave the store so that the next start knows exactly what was delivered."""
        queues = [queue for vhost in broker.vhosts.values() for queue in vhost.queues.values()]
        redelivered = [
            message for queue in queues for message in queue.ready if message.redelivered and message.state == STORED
        ]
        if redelivered:
            await self._store.mark_redelivered(redelivered)
        for queue in queues:
            for slot in (queue.open_slot, *queue.slots.forget(queue.queue_id)):
                if slot is not None and slot.maybe_delivered:
                    await self._mark_redelivered(queue, slot)
        await self._store.resign()

    async def _mark_redelivered(self, queue: Queue, slot: Slot) -> None:
        """Keep what is known of a slot that a crash has left: each of its messages may have been delivered."""
        while messages := await self._store.read(queue, slot, queue.limits.read_ahead, queue.limits.read_ahead_bytes):
            await self._store.mark_redelivered(messages)
            slot.start = messages[-1].id + 1

    async def _listen(self, server: AmqpServer) -> dict[str, str]:
        """Open the configured listeners; return their addresses by protocol."""
        amqp = self._config.transports.amqp
        addresses = {}
        if amqp.enabled and amqp.default_connection.enabled:
            port = await self._open(server, self._config.amqp_port, "defaultConnection", None)
            addresses["amqp"] = f"amqp://{amqp.bind_address}:{port}"
        if amqp.enabled and amqp.ssl_connection.enabled:
            context = server_context(amqp.ssl_connection)
            port = await self._open(server, self._config.amqps_port, "sslConnection", context)
            addresses["amqps"] = f"amqps://{amqp.bind_address}:{port}"
        return addresses

    async def _open(self, server: AmqpServer, port: int, element: str, tls: ssl.SSLContext | None) -> int:
        host = self._config.transports.amqp.bind_address
        try:
            return await server.listen(host, port, tls)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port} for AMQP: {error.strerror or error};"
                f" stop what uses the port or change transports/amqp/{element}/@port"
            ) from error

    def _limits(self) -> Limits:
        limits, qpid = self._config.limits, self._config.qpid
        return Limits(
            channel_max=qpid.maximum_channel_count,
            frame_max=qpid.advanced.frame_size_bytes,
            heartbeat=qpid.heartbeat.delay,
            heartbeat_timeout_factor=qpid.heartbeat.timeout_factor,
            handshake_timeout=limits.handshake_timeout,
            max_message_size=limits.max_message_size_bytes,
            max_consumers_per_channel=limits.max_consumers_per_channel,
            max_connections=limits.max_connections,
            max_uncommitted_bytes=self._config.transaction.max_batch_size_kb * 1024,
        )

    def _alarms(self, server: AmqpServer) -> Alarms:
        limits = self._config.limits
        path = self._config.store_url.path
        folder = path.absolute().parent if path is not None else Path.cwd()
        is_on_our_disk = self._config.store_url.engine == "sqlite"
        return Alarms(
            Thresholds(
                int(total_memory() * limits.memory_high_watermark),
                limits.disk_free_limit_bytes if is_on_our_disk else 0,
            ),
            partial(server.set_alarm, "resources"),
            resident=resident_octets,
            disk_free=lambda: disk_free_octets(folder),
        )


def node_id(config: Configuration) -> str:
    """Return the configured node id, or `NODE:<host>:<port>` of the local member (andes.md §1.2.1)."""
    if config.coordination.node_id != "default":
        return config.coordination.node_id
    clustering = config.axis2.clustering
    return f"NODE:{clustering.local_member_host}:{clustering.local_member_port}"


def open_store(config: Configuration) -> Store:
    """Return the store the configuration names, not open yet. Raises ConfigError when its driver is not installed."""
    url = config.store_url
    if url.engine == "sqlite" and url.path is not None:
        from broker.store.sql.sqlite import SqliteStore

        return SqliteStore(url.path)
    if url.engine == "memory":
        from broker.store.memory import MemoryStore

        return MemoryStore()
    from broker.store.sql.opening import server_store

    return server_store(config.datasource)


def _new_name(prefix: str) -> str:
    """Return `prefix` and 22 url-safe characters (contract Q2)."""
    return prefix + secrets.token_urlsafe(16)


def _platform() -> str:
    return f"Python {platform.python_version()}"
