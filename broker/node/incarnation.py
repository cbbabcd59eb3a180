"""One incarnation of a node: every object between the store and the clients, from registration until the node stops.

A `Lifecycle` holds what differs between a standalone and a clustered node. An evicted node ends its incarnation with
everything in it and starts another. This is composition: it connects the parts and does none of their work.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.contextvars import bound_contextvars

from broker import __version__
from broker.amqp.branches import Branches
from broker.amqp.context import SharedContext
from broker.amqp.direct_reply import DirectReplies
from broker.amqp.handshake import server_properties
from broker.amqp.publisher_flow import PublisherFlow
from broker.auth.access import AccessControl
from broker.auth.hashing_threads import HashingThreads
from broker.auth.identity import Authenticator
from broker.auth.recorded_access import RecordedAccess
from broker.auth.users import User
from broker.broker import Broker, Confirmable
from broker.cache_budget import CacheBudget
from broker.clock import Clock
from broker.config.configuration import Configuration
from broker.errors import AdministrationError, StoreUnavailable
from broker.management.figures.view import NodeView
from broker.message import STORED, Message, MessageIdGenerator
from broker.node.admin_password import create_first_users
from broker.node.allocator import give_back_freed_memory
from broker.node.definitions_file import load_definitions
from broker.node.descriptors import rooms
from broker.node.lifecycle import Lifecycle, SeenMember
from broker.node.logins import USERS_ELSEWHERE, checked_passwords, hash_password, hashing_threads, logins, open_carbon
from broker.node.message_administration import MessageAdministration
from broker.node.queue_services import LiveServices
from broker.node.settings import client_limits, dialect_of, flow_limits, openings, resource_monitor, thresholds
from broker.node.token_logins import WithTokens
from broker.node.watching import new_view
from broker.ports.cluster_rows import MembershipChange
from broker.ports.slot import Slot
from broker.ports.store import Registration
from broker.queue.due_reader import DueReader
from broker.queue.group_reader import GroupReader
from broker.queue.making import make_queue
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits, QueueType
from broker.queue.slot_reader import SlotReader
from broker.queue.stream_queue import StreamQueue
from broker.queue.stream_reader import StreamReader
from broker.queue.stream_upkeep import StreamUpkeep
from broker.server.back_pressure import BackPressure
from broker.server.handler_tasks import HandlerTasks
from broker.server.listener import AmqpServer
from broker.server.relief import Relief
from broker.server.timers import Timers
from broker.server.turns import Turns
from broker.store.health import StoreHealth
from broker.store.journal import GroupCommitJournal
from broker.store.key_upkeep import KeyUpkeep
from broker.store.queue_ids import QueueIds
from broker.store.retrying import ClientTimeout, RetryingStore
from broker.store.time_keeper import TimeKeeper
from broker.topology.administration import Administration
from broker.topology.apply import LiveTopology
from broker.topology.dead_letters import DeadLetters
from broker.topology.exchange import ExchangeTypes, NewOwnRouter
from broker.topology.exchange_types.recent_history import Kept
from broker.topology.firing import Firing
from broker.topology.first_start import first_start
from broker.topology.recorder import Recorder
from broker.topology.schedules import ScheduleChange
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget

if TYPE_CHECKING:
    from broker.node.carbon import CarbonDatabases

_log = structlog.get_logger(__name__)

STOP_TIMEOUT: Final = 3.0
_RETRY_LETTERS: Final = 1.0
"""Seconds between two tries for dead letters that have no queue to go to."""
_UNFINISHED_SHARE: Final = 4
"""One part in so many of the memory watermark is what clients may hold unfinished while an alarm stands for long."""


class NodeIncarnation:
    """The objects of one incarnation, wired by hand."""

    def __init__(
        self,
        config: Configuration,
        node_id: str,
        store: RetryingStore,
        clock: Clock,
        time_keeper: TimeKeeper,
        lifecycle: Lifecycle[NodeIncarnation],
        *,
        store_timeout: float,
        own_exchange_types: Mapping[str, NewOwnRouter],
        password_path: Path | None = None,
        with_tokens: WithTokens | None = None,
        unsafe: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """At the first start a password for the administrator is generated if it can be kept in `password_path`.
        `with_tokens` adds logins by tokens.
        """
        self.config = config
        self.clock = clock
        self.store = store
        self.vhosts: dict[str, VirtualHost] = {}
        self.topology_lock = asyncio.Lock()
        """Held during a change of topology, whether this node or another decided it."""
        self.topology = LiveTopology(self.vhosts, lambda name: self._new_vhost(name))
        self.administration: Administration
        self.registration: Registration
        self.ids: MessageIdGenerator
        self.journal: GroupCommitJournal
        self.broker: Broker
        self.turns: Turns
        self.replies: DirectReplies
        self.services: LiveServices
        self.view: NodeView
        """What operators see of the node."""
        self.hashing: HashingThreads
        self.carbon: CarbonDatabases | None = None
        """Databases of WSO2's, if the configuration names any."""
        self.health: StoreHealth | None = None
        self.tasks: asyncio.TaskGroup
        """Ends with the connections."""
        self._is_serving = self._is_waking = False
        self.messages_left = 0
        """Messages of this node that are in the store when it has stopped."""
        self.unsafe = unsafe
        """Returns the settings of the database under which a commit can be lost."""
        self.node_id = node_id
        self._time_keeper = time_keeper
        self._lifecycle = lifecycle
        self._store_timeout = store_timeout
        self._own_exchange_types = own_exchange_types
        self._password_path = password_path
        self._with_tokens = with_tokens
        self._handlers: HandlerTasks

    async def timeline(self, limit: int) -> Sequence[MembershipChange]:
        """Return what has happened to the members last, the newest first. Raises `StoreUnavailable`."""
        return await self._lifecycle.timeline(limit)

    async def hand_over(self) -> None:
        """Give other nodes what this one has, when its clients are gone. Raises `StoreUnavailable`."""
        for queue in self.levels:
            queue.end_delays()
        await self.journal.flushed()
        await self._lifecycle.hand_over()

    @property
    def epoch(self) -> int:
        """How often the coordinator has changed, as far as this node knows."""
        return self._lifecycle.epoch

    @property
    def members(self) -> Sequence[SeenMember]:
        """The living nodes that share the store, this one among them, by id."""
        return self._lifecycle.members()

    @property
    def queues(self) -> list[Queue]:
        """All queues of all virtual hosts."""
        return [queue for vhost in self.vhosts.values() for queue in vhost.queues.values()]

    @property
    def levels(self) -> list[Queue]:
        """All queues in which messages lie: of one with priorities, its levels; the schedules, too."""
        schedules = [vhost.schedule for vhost in self.vhosts.values() if vhost.schedule is not None]
        return [*(level for queue in self.queues for level in queue.levels), *schedules]

    def find_level(self, storage_id: int) -> Queue | None:
        """Return the queue, or the level of one, with this storage id, if there is one."""
        return self.topology.find_level(storage_id)

    def wake(self, queue: Queue) -> None:
        """Let the consumers of a queue have what has come: messages, or slots to read them from."""
        self.broker.touched.add(queue)
        self.broker.dispatch()

    async def run(self, serve_clients: Callable[[AmqpServer, int], Awaitable[None]]) -> None:
        """Run until `serve_clients` returns, then end in order.

        `serve_clients` gets the server and the number of messages found in the store.
        """
        try:
            self.carbon = await open_carbon(self.config)
            await self._run(serve_clients)
        finally:
            if self.carbon is not None:
                await self.carbon.close()
            await self._lifecycle.close()

    async def _run(self, serve_clients: Callable[[AmqpServer, int], Awaitable[None]]) -> None:
        lifecycle = self._lifecycle
        self.store.end_reason = ""
        async with asyncio.TaskGroup() as forever:
            self.registration = await lifecycle.register(forever)
            await self._time_keeper.wait_until_past(self.registration.last_message_id)
            async with asyncio.TaskGroup() as tasks:
                server, loops = self._build(forever, tasks)
                messages = await self.restore(QueueLimits(window_size=self.config.performance_tuning.slots.window_size))
                loops += await lifecycle.start(forever)
                self._is_serving = True
                try:
                    await serve_clients(server, messages)
                finally:
                    server.abort(self.store.end_reason or "the node ends or begins anew")
                    self.hashing.close()
                loops.append(forever.create_task(self._give_up(), name="store timeout"))
            # The connections have finished what they had begun, for which they needed the journal.
            for queue in self.levels:
                queue.end_delays()
            await self.services.firing.drain()
            await self.services.dead_letters.drain()
            if self.carbon is not None:
                await self.carbon.drain()
            await self.journal.drain()  # what waits for its keys is in its queue then
            await self.stream_reader.write_places()
            await lifecycle.hand_off()
            await self.journal.drain()
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)
            self.messages_left = sum(map(_stored_messages, self.levels))
            await lifecycle.leave()

    def _build(
        self, forever: asyncio.TaskGroup, tasks: asyncio.TaskGroup
    ) -> tuple[AmqpServer, list[asyncio.Task[None]]]:
        lifecycle, registration = self._lifecycle, self.registration
        self.tasks = tasks
        pressure = BackPressure()
        timers = Timers(self.clock.monotonic)
        touched_confirms: set[Confirmable] = set()
        self.ids = MessageIdGenerator(registration.lane, registration.last_message_id)
        keys = KeyUpkeep(self.store, now_ms=self.clock.wall_ms)
        journal = self.journal = GroupCommitJournal(
            self.store,
            high_water=registration.last_message_id,
            touched_confirms=touched_confirms,
            on_settled=lambda: on_stored(),
            on_full=pressure.on_journal_full,
            on_decided=lambda keyed: broker.admit(keyed),
            on_keyed=keys.on_keyed,
            on_appended=lambda appends: broker.on_appended(appends),
            sleep=lambda seconds: health.pause(seconds),
        )
        health = self.health = StoreHealth(
            self.store,
            journal,
            self.clock,
            interval=self.config.persistence.store_health_check_interval,
            on_change=pressure.on_store_state,
        )

        lifecycle.attach(self)
        cluster = lifecycle.cluster
        self.stream_reader = StreamReader(self.store, tasks, wake=self.wake, tells_length=lifecycle.tells_length)
        self.slot_reader = SlotReader(self.store, journal, tasks, self.wake, cluster.on_read)
        broker = self.broker = Broker(
            ids=self.ids,
            journal=journal,
            cluster=cluster,
            await_read=self.slot_reader.wait,
            touched_confirms=touched_confirms,
            limits=client_limits(self.config),
            vhosts=self.vhosts,
            caches=CacheBudget(),
            work=TurnBudget(),
        )
        flow = PublisherFlow(flow_limits(self.config), journal, self.ids, touched_confirms)

        def on_stored() -> None:
            broker.flush_confirms()
            flow.on_stored()

        turns = self.turns = Turns(broker.work)
        self.replies = DirectReplies(cluster, _new_name)
        self._handlers = HandlerTasks(tasks)
        spawn = self.spawn
        services = self.services = LiveServices(
            self.clock,
            timers,
            wake=self.wake,
            spawn=spawn,
            delete_unused=self._delete_unused,
            may_act=cluster.is_trusted,
            lease_margin=cluster.lease_margin,
        )
        letters, firing = services.dead_letters, services.firing = self._dead_letters(), self._firing()
        services.due_reader = DueReader(
            self.store, journal, tasks, now_ms=services.now_ms, has_room=services.has_room, on_done=self.wake
        )
        services.group_reader = GroupReader(self.store, journal, tasks, on_done=self.wake)
        self.hashing = hashing_threads()
        if self.carbon is not None:
            self.carbon.attach(self.vhosts.get, broker)
        users, access = self._users()
        if self._with_tokens is not None:
            users, access = self._with_tokens(users, access)
        shared = SharedContext(
            broker,
            users,
            access,
            server_properties(__version__, self.node_id, _platform()),
            _new_name,
            spawn,
            self.clock.monotonic,
            lambda: pressure.is_store_away,
            turns.next,
            pressure.room,
            self.replies,
            self.read_stored,
            self._new_branches(timers),
            self.store,
            asyncio.sleep,
            flow,
            openings(self.config),
            *(() if self.carbon is None else (self.carbon.settled,)),
        )
        limits = thresholds(self.config)
        monitor = resource_monitor(self.config, limits, pressure)
        parameters = self.topology.global_parameters
        self.view, sampler = new_view(
            self.config, self.node_id, broker, self.clock, limits, pressure, journal, parameters
        )
        server = AmqpServer(
            self.clock,
            shared,
            pressure,
            timers,
            turns,
            tasks,
            give_back_freed_memory,
            room=rooms(self.config).clients,
            on_intake=monitor.sample,
            relief=Relief(limits.memory // _UNFINISHED_SHARE),
        )
        return server, [
            forever.create_task(journal.run(), name="journal"),
            forever.create_task(letters.run(), name="dead letters"),
            forever.create_task(firing.run(), name="delayed messages"),
            forever.create_task(_retry(letters), name="dead letters without a queue"),
            forever.create_task(timers.run(), name="timers"),
            forever.create_task(sampler.run(asyncio.sleep, turns.next), name="samples"),
            forever.create_task(monitor.run(), name="resources"),
            forever.create_task(health.run(), name="store health"),
            forever.create_task(keys.run(), name="keys of de-duplication"),
            forever.create_task(self.build_stream_upkeep().run(), name="streams"),
            forever.create_task(self._time_keeper.run(), name="store time"),
            *(self.carbon.tasks(forever, broker) if self.carbon is not None else ()),
        ]

    @property
    def streams(self) -> list[StreamQueue]:
        """All streams of all virtual hosts."""
        return [queue for queue in self.queues if isinstance(queue, StreamQueue)]

    def build_stream_upkeep(self) -> StreamUpkeep:
        """Build what looks after streams; it runs with the journal."""
        upkeep = self.stream_upkeep = StreamUpkeep(
            self.store,
            self.stream_reader,
            streams=lambda: self.streams,
            wake=self.wake,
            now_ms=self.clock.wall_ms,
            is_shared=self._lifecycle.cluster.records_all,
            tells_length=self._lifecycle.tells_length,
        )
        return upkeep

    def _users(self) -> tuple[Authenticator, AccessControl]:
        """Return who may log in, and for what."""
        recorded, monotonic = RecordedAccess(self.topology.directory), self.clock.monotonic
        users = None if self.carbon is None else self.carbon.users
        if users is not None:
            return users.users(checked_passwords(self.hashing, monotonic)), users.access(recorded)
        directory = self.topology.directory
        return logins(self.config.user_mgt, directory, self.hashing, monotonic, self._renew_hash), recorded

    def _dead_letters(self) -> DeadLetters:
        return DeadLetters(
            self.vhosts,
            self.ids,
            self.journal,
            self.broker.work,
            read=self.store.read,
            touched=self.broker.touched,
            now_ms=self.clock.wall_ms,
            wakeup=asyncio.Event(),
            next_turn=self.turns.next,
            dispatch=self.broker.dispatch,
        )

    def _firing(self) -> Firing:
        return Firing(
            self.vhosts,
            self.ids,
            self.journal,
            self.broker.work,
            touched=self.broker.touched,
            now_ms=self.clock.wall_ms,
            wakeup=asyncio.Event(),
            next_turn=self.turns.next,
            dispatch=self.broker.dispatch,
        )

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run the rest of something beside what goes on; the incarnation waits for it at its end."""
        self._handlers.spawn(coroutine)

    @cached_property
    def message_administration(self) -> MessageAdministration:
        """What administrators do with messages and consumers, once the node serves."""
        return MessageAdministration(self)

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int) -> Mapping[int, ScheduleChange]:
        """Change delayed messages that other nodes hold: `Lifecycle.change_delayed`."""
        return await self._lifecycle.change_delayed(vhost, ids, due)

    async def _delete_unused(self, queue: Queue) -> None:
        vhost = self.vhosts.get(queue.vhost)
        if vhost is not None:
            await vhost.delete_expired(queue, self.clock.wall_ms)

    async def _give_up(self) -> None:
        """End a stopping node that cannot finish, because its store does not come back."""
        while True:
            await asyncio.sleep(self._store_timeout)
            if self.health is not None and self.health.is_down:
                raise StoreUnavailable(
                    "it was away when the node was to stop: nothing confirmed is lost, what was not confirmed may be"
                )

    async def restore(self, queue_limits: QueueLimits) -> int:
        """Rebuild memory from the store; return how many messages are in it."""
        registration, lifecycle = self.registration, self._lifecycle
        topology = await lifecycle.load()
        queue_ids = QueueIds(self.store, registration.first_queue_id, registration.last_queue_id)
        cluster = lifecycle.cluster
        recorder = Recorder(
            cluster,
            self.topology.apply,
            self.journal.purge,
            lock=self.topology_lock,
            new_event=asyncio.Event,
            work=self.broker.work,
            next_turn=self.turns.next,
            wait_as_client=ClientTimeout(lambda: self.health is not None and self.health.is_down),
            on_change=None if self.carbon is None else self.carbon.on_change,
        )
        new_queue = partial(
            make_queue,
            lane=registration.lane,
            limits=queue_limits,
            journal=self.journal,
            read_slots=self.slot_reader.start,
            observer=lifecycle.observer,
            services=self.services,
            storage=self.stream_reader,
        )

        exchange_types = ExchangeTypes(Random().randrange, self._own_exchange_types)

        def put_copy(queue: Queue, kept: Kept) -> None:
            self.ids.advance(self.clock.wall_ms())  # its time to live begins now, on whatever node the queue was bound
            self.broker.put_copy(queue, kept)

        def new_vhost(name: str) -> VirtualHost:
            return VirtualHost(
                name,
                cluster=cluster,
                recorder=recorder,
                journal=self.journal,
                new_queue=new_queue,
                new_queue_id=queue_ids.take,
                max_queues=self.config.limits.max_queues_per_virtual_host,
                default_queue_type=QueueType(self.config.virtual_hosts.default_queue_type_of(name)),
                dialect=dialect_of(self.config, name),
                on_activity=self._wake_later,
                exchange_types=exchange_types,
                put_copy=put_copy,
                compile_selector=self.broker.selectors.get,
                churn=self.broker.churn,
            )

        self._new_vhost = new_vhost
        has_own_users = self.carbon is None or self.carbon.users is None
        self.administration = Administration(
            self.topology, recorder, users_elsewhere="" if has_own_users else USERS_ELSEWHERE
        )
        for complaints in self.topology.restoring(topology):
            for complaint in complaints:
                _log.warning("topology in the store does not fit together", what=complaint)
            await asyncio.sleep(0)  # beats, other nodes and signals: a large topology takes long
        if self.config.management.load_definitions:
            await load_definitions(self.administration, self.config.management.load_definitions)
        if has_own_users:
            await create_first_users(
                self.administration,
                self.config.user_mgt,
                self._password_path,
                self.node_id,
                lambda password: hash_password(self.hashing, password),
            )
        else:
            await first_start(self.administration, ())
        self.topology.directory.on_change = self._on_user_changed
        self.topology.go_on = lambda steps: self.spawn(self._go_on(steps))
        self.topology.on_vhost_dropped = lambda name: self.broker.close_connections(
            f"vhost '{name}' is deleted", vhost=name
        )
        for configured in self.config.virtual_hosts.virtual_host:
            if configured.name not in self.vhosts:
                _log.warning("a virtual host that is configured is not there", vhost=configured.name)
        messages = self._recover(await lifecycle.backlog())
        await self.stream_upkeep.look(self.streams)
        messages += sum([stream.bounds.count for stream in self.streams])
        for queue_id, due in (await self.store.earliest_due()).items():
            queue = self.find_level(queue_id)
            if queue is not None:
                queue.set_due_in_slots(due, (0, 0))
        return messages

    def _new_branches(self, timers: Timers) -> Branches:
        limits = self.broker.limits
        return Branches(
            max_channels=limits.max_dtx_channels,
            max_octets=limits.max_uncommitted_bytes,
            monotonic=self.clock.monotonic,
            watch=timers.watch,
            dispatch=self.broker.dispatch,
        )

    async def read_stored(self, queue: Queue, slot: Slot, limit: int, octets: int) -> Sequence[Message]:
        """Read messages of a slot from the store, when it has what was appended before. Raises `StoreUnavailable`."""
        await self.journal.readable(slot)
        return await self.store.read(queue, slot, limit, octets)

    def _wake_later(self, queue: Queue) -> None:
        """Consumers of a queue may have messages from now on, by a change of the topology. Not every change comes from
        a client, for whom queues are dispatched when its input was handled.
        """
        self.broker.touched.add(queue)
        if self._is_serving and not self._is_waking:
            self._is_waking = True
            self.turns.call(self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        self.broker.dispatch()

    async def _go_on(self, steps: Iterator[None]) -> None:
        """Apply the rest of a change of the topology, and let the queues that it concerns act on it."""
        for _ in steps:
            self.broker.dispatch()
            await self.turns.next()
        self.broker.dispatch()

    def _renew_hash(self, user: User, password_hash: str) -> None:
        """A user has logged in by a hash that is weaker than new ones."""

        async def renew() -> None:
            with suppress(AdministrationError, StoreUnavailable), bound_contextvars(by="a login"):
                await self.administration.change_user(
                    user.name,
                    lambda known: (
                        replace(known, password_hash=password_hash)
                        if known.password_hash == user.password_hash
                        else known
                    ),
                )

        self.spawn(renew())

    def _on_user_changed(self, user: str) -> None:
        if self.topology.directory.user(user) is None:
            self.broker.close_connections(f"user '{user}' is deleted", user=user)
        else:
            self.broker.on_user_changed(user)

    def _recover(self, backlog: Sequence[Slot]) -> int:
        known = {queue.queue_id: queue for queue in self.levels}
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


async def _retry(letters: DeadLetters) -> None:
    while True:
        await asyncio.sleep(_RETRY_LETTERS)
        letters.retry()


def _stored_messages(queue: Queue) -> int:
    return queue.ready_count - sum(message.state != STORED for message in queue.ready)


def _new_name(prefix: str) -> str:
    """Return `prefix` and 22 url-safe characters (contract Q2)."""
    return prefix + secrets.token_urlsafe(16)


def _platform() -> str:
    return f"Python {platform.python_version()}"
