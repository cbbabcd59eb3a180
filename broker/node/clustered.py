"""A clustered node: what one incarnation of it has in addition to a standalone node.

This is composition: it builds the parts of the cluster (agent, slots, replicator, coordinator), connects them, and
passes calls on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Final

import structlog

from broker.clock import Clock
from broker.config.configuration import Configuration
from broker.coordination.contact_calls import ContactCalls
from broker.coordination.membership.agent import ClusterAgent, new_id
from broker.coordination.membership.contacts import Contacts
from broker.coordination.membership.own_row import DuplicateNodeId
from broker.coordination.membership.partition_detector import PartitionDetector
from broker.coordination.membership.terms import TermsDiffer
from broker.coordination.peers import Peers
from broker.coordination.replication.orphans import remove_orphans, remove_own_orphans
from broker.coordination.replication.replicator import Replicator
from broker.coordination.replies import ReplyIntake, ReplySender
from broker.coordination.service import NodeServices, PeerCalls
from broker.coordination.slots.coordinator import SlotManager
from broker.coordination.slots.count_exchange import LEASE_MARGIN, CountExchange
from broker.coordination.slots.runner import SlotRunner
from broker.errors import ConfigError, Evicted, StoreUnavailable
from broker.machine.faults import MachineFaults
from broker.management.figures import subscriptions
from broker.management.figures.pages import page
from broker.management.http import found_messages
from broker.management.operations import Operations
from broker.message import Message
from broker.node.descriptors import rooms
from broker.node.distant_messages import DistantMessages
from broker.node.figures_elsewhere import FiguresElsewhere
from broker.node.incarnation import NodeIncarnation
from broker.node.lifecycle import SeenMember
from broker.node.member_port import MemberPort
from broker.node.operated_nodes import AskedNodes
from broker.node.own_id import what_to_change
from broker.node.peering import Peering, terms_of
from broker.node.schedules_elsewhere import SchedulesElsewhere
from broker.node.standalone import mark_what_was_delivered
from broker.ports.cluster import Cluster
from broker.ports.cluster_rows import Incarnation, MembershipChange, NodeRow, NodeState
from broker.ports.names import SCHEDULE
from broker.ports.peer_calls import Fence, FiguresPage, Reply
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.store import Registration
from broker.queue.queue import Queue
from broker.queue.services import QueueObserver
from broker.server.handler_tasks import HandlerTasks
from broker.store.retrying import Retry, RetryingStore
from broker.store.server.store import ServerStore
from broker.thrift.secret import SharedSecret
from broker.thrift.server import ThriftServer
from broker.topology.schedules import ScheduleChange
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

_DEMAND_SIZE: Final = 2000
"""Messages of a queue that are demanded at a time: the read-ahead of one slot."""
_ORPHANS_INTERVAL: Final = 1.0
_HOUSEKEEPING_INTERVAL: Final = 60.0
_LAST_ID: Final = (1 << 63) - 1
_FIRST: Final = (0, 0)
"""The place before all messages that expire by a time of their own."""
_DUE_AT_ONCE: Final = 1000
_DUE_OCTETS: Final = 4 * 1024 * 1024


_name_of: Final = attrgetter("node_id")


class Clustered:
    """The lifecycle of a clustered node for one incarnation, and the `Cluster` that its core uses."""

    def __init__(
        self,
        config: Configuration,
        store: RetryingStore,
        node_id: str,
        clock: Clock,
        start_retry: Retry,
        member_port: MemberPort | None = None,
    ) -> None:
        """With a `member_port` the nodes of the cluster find out among themselves who lives."""
        assert isinstance(store.store, ServerStore), "loading refuses a cluster without a server"
        self._config = config
        self._store = store
        self._shared: ServerStore = store.store
        self._clock = clock
        self._start_retry = start_retry
        self._loops: asyncio.TaskGroup
        self._parts: NodeIncarnation
        self._coordinating: asyncio.Task[None] | None = None
        coordination = config.coordination
        rdbms = coordination.rdbms_based_coordination
        secret = coordination.cluster_secret.get_secret_value()
        self._secret = SharedSecret(secret) if secret else None
        self._agent = ClusterAgent(
            self._shared.cluster,
            clock,
            node_id=node_id,
            address=(coordination.thrift_server_host, config.thrift_port),
            heartbeat_interval=rdbms.heartbeat_interval_ms / 1000,
            creation_wait=rdbms.coordinator_entry_creation_wait_time_ms / 1000,
            polling_interval=rdbms.event_polling_interval_ms / 1000,
            coordinator_address=self._shared.members.coordinator_address,
            listener=self,
            connect_beats=self._shared.cluster_beside,
            answers=lambda row: self._peers.answers(row),
            terms=terms_of(config, is_loopback=member_port is None or member_port.is_loopback, secret=self._secret),
        )
        self._services = NodeServices(node_id)
        self._peers = Peers(
            self._agent,
            self._services,
            clock,
            pool_size=config.performance_tuning.slots.thrift_client_pool_size,
            reconnect_timeout=coordination.thrift_server_reconnect_timeout,
            secret=self._secret,
        )
        self._peering: Peering | None = None
        if member_port is not None:
            database = self._shared.describe()
            self._peering = Peering(config, member_port, self._agent, clock, secret=self._secret, database=database)
            self._agent.may_lead = config.minimum_cluster_size <= 1
        self._contacts = Contacts(rdbms.heartbeat_interval_ms / 1000)
        self._calls_to_members = self._contact_calls()
        self._partition = PartitionDetector(config.minimum_cluster_size)
        self._is_started = False
        self._has_looked = asyncio.Event()
        """Have the rows of all nodes been read?"""
        self._contacts_task: asyncio.Task[None]
        self._manager: SlotManager
        self._replicator: Replicator
        self._thrift: ThriftServer | None = None
        self._slots_task: asyncio.Task[None]
        self._slots: SlotRunner
        self._distant: DistantMessages
        self._replies: ReplySender

    # For the incarnation

    @property
    def incarnation(self) -> Incarnation:
        if self._agent.incarnation is None:
            raise LookupError("there is no incarnation before register")
        return self._agent.incarnation

    @property
    def observer(self) -> QueueObserver[Queue]:
        return self._slots

    def members(self) -> Sequence[SeenMember]:
        agent, now = self._agent, self._clock.monotonic()
        beats, power = agent.last_beats(), agent.coordinator
        coordinator = agent.address if agent.fence is not None else None if power is None else power[:2]
        seen = [SeenMember(agent.node_id, *agent.address, agent.address == coordinator)]
        for row in agent.members.values():
            age = now - beats.get(row.node_id, now)
            seen.append(SeenMember(row.node_id, row.host, row.port, (row.host, row.port) == coordinator, age))
        return sorted(seen, key=lambda member: member.node_id)

    @property
    def epoch(self) -> int:
        agent = self._agent
        return (agent.fence or agent.known_fence).epoch

    def tells_length(self) -> bool:
        return self._agent.fence is not None

    async def timeline(self, limit: int) -> Sequence[MembershipChange]:
        return await self._shared.cluster.timeline(limit)

    # For the core: `Cluster`, and the lifecycle

    @property
    def cluster(self) -> Cluster[Queue]:
        return self

    @property
    def recorded(self) -> int:
        return self._replicator.recorded

    @property
    def lease_margin(self) -> int:
        return LEASE_MARGIN

    @property
    def records_all(self) -> bool:
        return True

    async def record(self, changes: Sequence[Change]) -> None:
        await self._replicator.record(changes)

    async def announce(self, event_id: int, *, is_certain: bool) -> None:
        await self._replicator.announce(event_id, is_certain=is_certain)

    def send_reply(self, incarnation: str, reply: Reply, on_answer: Callable[[bool], None]) -> None:
        self._replies.send(incarnation, reply, on_answer)

    async def awaits_reply(self, incarnation: str, vhost: str, address: str) -> bool:
        return await self._replies.awaits(incarnation, vhost, address)

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int) -> Mapping[int, ScheduleChange]:
        return await SchedulesElsewhere(self._peers.others, self._peers.caller).change(vhost, ids, due)

    def shares(self, queue: Queue) -> bool:
        return not queue.is_exclusive

    def rows_to_come(self, queue: Queue) -> Sequence[Slot]:
        return (Slot(queue.queue_id, queue.lane, 0, _LAST_ID, 0),)

    def is_trusted(self) -> bool:
        return self._agent.is_trusted()

    async def fetch(self, queue: Queue) -> bool:
        return await self._distant.fetch(queue)

    async def purge(self, queue: Queue) -> int:
        return await self._distant.purge(queue)

    async def has_unseen(self, queue: Queue) -> bool:
        return await self._distant.has_unseen(queue)

    def _first_unexpired(self, queue_id: int) -> int:
        """Return an id of which all older messages of a queue have expired."""
        queue = self._find_level(queue_id)
        return 0 if queue is None else queue.settings.first_unexpired(self._clock.wall_ms())

    async def _find_due(self, queue_id: int) -> tuple[Sequence[int], int | None]:
        """Return which stored messages of a queue have expired by a time of their own, and when the first one has."""
        queue = self._find_level(queue_id)
        due = None if queue is None else await self._store.next_due(queue, _FIRST)
        now = self._clock.wall_ms()
        if queue is None or due is None or due > now:
            return (), due
        queue.expect_due()
        messages = await self._store.read_due(queue, now, _FIRST, _DUE_AT_ONCE, _DUE_OCTETS)
        return [message.id for message in messages], due

    def on_read(self, queue: Queue, slot: Slot, messages: Sequence[Message], is_end: bool) -> None:
        self._slots.on_read(queue, slot, messages, is_end)

    async def register(self, loops: asyncio.TaskGroup) -> Registration:
        try:
            await self._agent.register()
        except DuplicateNodeId as error:
            raise ConfigError(f"{error}; {what_to_change(self._config)}") from error
        except TermsDiffer as error:
            raise ConfigError(str(error)) from error
        self._loops = loops
        if self._peering is not None:
            self._peering.begin(self.incarnation, loops)
        loops.create_task(self._run_agent(), name="cluster agent")
        if self._peering is not None:
            try:
                await self._peering.first_round()
            except ConfigError:
                await self._agent.leave()
                raise
        return await self._start_retry.until_done(lambda: self._shared.members.join(self.incarnation))

    async def _run_agent(self) -> None:
        try:
            await self._agent.run()
        except Evicted as error:
            why: Evicted = error
            with suppress(StoreUnavailable):
                why = await self._shared.why_ended(error)
            if why is error:
                raise
            self._store.end_reason = str(why)
            raise why from error

    def attach(self, parts: NodeIncarnation) -> None:
        """Build the parts that this incarnation has in addition to a standalone node's."""
        self._parts = parts
        config, lane = self._config, parts.registration.lane
        window_size = config.performance_tuning.slots.window_size
        store = self._shared.slots
        self._slots = SlotRunner(
            store,
            self.incarnation,
            lane,
            parts.ids,
            clock=self._clock,
            journal=parts.journal,
            read=self._store.read,
            mark_redelivered=self._store.mark_redelivered,
            held_ids=lambda queue: parts.broker.held_ids(queue),
            window_size=window_size,
            demand_size=_DEMAND_SIZE,
            coordinator=self._peers.coordinator,
            caller=self._peers.caller,
            new_request_id=new_id,
            queues=lambda: [level for level in parts.levels if not level.is_stream],
            find_queue=self._find_level,
            consumers_elsewhere=self._consumers_elsewhere,
            is_kept_elsewhere=self._is_kept_elsewhere,
            see_to_end=self._see_to_end,
            next_due=lambda queue: self._store.next_due(queue, _FIRST),
            cut_off=self._cut_off,
            on_adopted=parts.wake,
        )
        self._replies = ReplySender(
            self._peers.members,
            self._peers.caller,
            HandlerTasks(self._loops).spawn,
            lambda: parts.broker.flush_confirms(),
        )
        self._manager = SlotManager(
            store,
            self._clock,
            others=self._peers.everybody,
            caller=self._peers.caller,
            window_size=window_size,
            on_fenced=self._agent.on_fenced,
            expired=self._first_unexpired,
            keeper=lambda queue_id: self._keeper(self._find_level(queue_id)),
            due=self._find_due,
        )
        self._replicator = Replicator(
            self._shared.events,
            self.incarnation,
            topology=parts.topology,
            lock=parts.topology_lock,
            on_applied=self._on_applied,
            purge=parts.journal.purge,
            on_wanted=self._slots.on_wanted,
            peers=self._peers.members,
            apart=lambda: self._agent.apart,
            is_trusted=self._agent.is_trusted,
            caller=self._peers.caller,
            apply_timeout=3 * config.coordination.rdbms_based_coordination.heartbeat_interval_ms / 1000,
            interval=config.coordination.rdbms_based_cluster_event_synchronization.event_sync_interval_ms / 1000,
            new_token=new_id,
            is_cut_off=None
            if config.coordination.rdbms_based_cluster_event_synchronization.enabled
            else self._is_cut_off,
        )
        self._distant = DistantMessages(
            parts,
            self._shared,
            self._slots,
            self._replicator,
            self._agent,
            self._peers,
            self._clock,
            self._start_retry,
            is_cut_off=self._is_cut_off,
        )

    async def load(self) -> Topology:
        await self._open_to_members()
        return await self._replicator.load()

    async def _open_to_members(self) -> None:
        """Let the other nodes reach this one while it starts, and find out whether it reaches them."""
        coordination = self._config.coordination
        replies = self._parts.replies
        intake = ReplyIntake(replies.deliver, replies.is_awaited, lambda: self._agent.living)
        parts = self._parts
        operations = Operations(
            parts.view, lambda vhost, each: parts.message_administration.subscription_list.close_here(vhost, each)
        )
        self._services.begin(
            self._agent,
            self._manager,
            PeerCalls(
                self._replicator.push_events,
                lambda queue, messages: self._slots.release(queue.queue_id, messages),
                self._distant.purge_here,
                self._on_contact,
                intake.deliver_replies,
                intake.awaits_reply,
                self._figures,
                lambda vhost, ids, due: self._parts.message_administration.schedules.change_for(vhost, ids, due),
                operations.carry_out,
            ),
        )
        self._parts.view.others = FiguresElsewhere(self._peers.others, self._peers.caller)
        self._parts.view.operated = AskedNodes(self._peers.others, self._peers.caller)
        self._thrift = ThriftServer(
            self._services,
            self._loops,
            secret=self._secret,
            idle_timeout=coordination.thrift_so_timeout_ms / 1000,
            max_connections=coordination.thrift_server_max_worker_threads,
            room=rooms(self._config).nodes,
        )
        await self._thrift.listen(coordination.thrift_server_host, self._config.thrift_port)
        self._contacts_task = self._loops.create_task(self._calls_to_members.run(), name="contacts")

    def _on_contact(self, member: Incarnation, is_served: bool, last_event_id: int) -> None:
        self._contacts.on_call(member, self._clock.monotonic(), is_served=is_served)
        self._replicator.on_contact(last_event_id)

    async def _figures(self, kind: str, start: int) -> FiguresPage:
        parts = self._parts
        if kind.startswith(subscriptions.KIND):
            return await subscriptions.consumers_page(parts.message_administration.subscription_list, kind, start)
        if kind.startswith(found_messages.KIND):
            return await found_messages.seen_page(parts.view, kind, parts.turns.next)
        return await page(parts.view, kind, start, parts.turns.next)

    async def backlog(self) -> Sequence[Slot]:
        parts = self._parts
        size = self._config.performance_tuning.slots.window_size
        backlog = await self._start_retry.until_done(
            lambda: self._shared.slots.window(parts.registration.lane, size),
        )
        self._slots.begin(backlog)
        return backlog

    async def start(self, loops: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        parts = self._parts
        self._manager.set_living(self._agent.living)
        self._services.start()
        counts = CountExchange(
            queues=lambda: parts.levels,
            find_queue=self._find_level,
            coordinator=self._peers.coordinator,
            caller=self._peers.caller,
            is_cut_off=self._is_cut_off,
            read_stored=self._store.backlog,
            consumers_elsewhere=self._consumers_elsewhere,
            limited=lambda: self._slots.balancer.limited,
            monotonic=self._clock.monotonic,
        )
        await remove_own_orphans(lambda: self._vhosts.values(), self.incarnation)
        self._slots_task = loops.create_task(self._slots.run(), name="slots")
        self._is_started = True
        if self._agent.fence is not None:
            self.on_elected(self._agent.fence)
        await self._become_known()
        if self._partition.reason:
            self._take_or_refuse_clients()
        return [
            self._slots_task,
            loops.create_task(self._replicator.run(), name="topology"),
            loops.create_task(counts.run(), name="counts"),
            self._contacts_task,
        ]

    async def _become_known(self) -> None:
        """Return when this node may serve clients: others wait for it now when they change topology, and what they
        changed before is applied (invariant I71).
        """
        await self._has_looked.wait()
        await self._replicator.show()
        rdbms = self._config.coordination.rdbms_based_coordination
        await self._calls_to_members.introduce(rdbms.event_polling_interval_ms / 1000)
        await self._replicator.catch_up()

    def _contact_calls(self) -> ContactCalls:
        return ContactCalls(
            self._contacts,
            self._clock,
            address=self._agent.address,
            members=self._peers.members,
            last_beats=self._agent.last_beats,
            is_served=lambda: self._slots.demand.failing_since is None,
            last_event=lambda: self._replicator.applied,
            caller=self._peers.caller,
            note=lambda member, is_reached: self._shared.members.note_contact(
                member, is_reached, self.incarnation.node_id
            ),
            interval=self._config.coordination.rdbms_based_coordination.heartbeat_interval_ms / 2000,
        )

    async def hand_over(self) -> None:
        if self._agent.members:
            await self._slots.give_all()

    async def hand_off(self) -> None:
        self._slots.stop()
        await asyncio.wait((self._slots_task,))
        if len(self._agent.living) > 1:
            await self._slots.leave()

    async def leave(self) -> None:
        self.on_stepped_down()
        await mark_what_was_delivered(self._parts)  # of what could not be handed off, whatever the reason
        fence = await self._agent.leave()
        if self._peering is not None:
            self._peering.close()
        await self._peers.hint_resigned(fence)

    async def close(self) -> None:
        self._services.end()
        if self._peering is not None:
            self._peering.close()
        self._peers.close()
        if self._thrift is not None:
            await self._thrift.stop()

    # Events of the agent

    def on_members(self, members: Mapping[str, NodeRow]) -> None:
        self._peers.on_members(members)
        self._contacts.on_members(members, self._clock.monotonic())
        self._has_looked.set()
        if self._is_started:
            self._manager.set_living(self._agent.living)
        self._count_members()

    def on_elected(self, fence: Fence) -> None:
        if self._is_started and self._coordinating is None:
            self._coordinating = self._loops.create_task(self._coordinate(fence), name="coordinator")
            self._slots.look()

    def on_stepped_down(self) -> None:
        if self._coordinating is not None:
            self._coordinating.cancel()
            self._coordinating = None

    def on_trust(self, is_trusted: bool) -> None:
        self._count_members()
        if is_trusted and self._is_started:
            self._parts.broker.dispatch()

    def _count_members(self) -> None:
        """Take clients, and lead among peers, only while this node sees enough members of the cluster."""
        has_changed = self._partition.on_size(self._agent.size)
        if self._peering is not None:
            self._agent.may_lead = not self._partition.reason
        if has_changed and self._is_started:
            self._take_or_refuse_clients()

    def _take_or_refuse_clients(self) -> None:
        partition, broker = self._partition, self._parts.broker
        if not partition.reason:
            _log.info("Enough members are seen: clients are taken again", members=self._agent.size)
            broker.take_clients()
        else:
            if not broker.refusal:
                _log.warning("Too few members are seen: no clients are taken", reason=partition.reason)
            broker.refuse_clients(partition.reason)

    async def _coordinate(self, fence: Fence) -> None:
        async with asyncio.TaskGroup() as tasks:
            orphans = tasks.create_task(self._keep_tidy(), name="orphans")
            await self._manager.run(fence)
            orphans.cancel()

    async def _keep_tidy(self) -> None:
        """Remove orphans at short intervals, and old events at longer ones."""
        housekeep_at = self._clock.monotonic()
        faults = MachineFaults("orphans")
        while True:
            with faults, suppress(StoreUnavailable):
                if await remove_orphans(lambda: self._vhosts.values(), self._read_living):
                    _log.info("removed what nodes that are gone have left")
                if self._clock.monotonic() >= housekeep_at:
                    housekeep_at = self._clock.monotonic() + _HOUSEKEEPING_INTERVAL
                    await self._replicator.housekeep()
            await asyncio.sleep(_ORPHANS_INTERVAL)

    async def _read_living(self) -> set[Incarnation]:
        rows = await self._shared.cluster.nodes()
        return {Incarnation(row.node_id, row.incarnation) for row in rows if row.state is NodeState.UP}

    # For the parts

    @property
    def _vhosts(self) -> dict[str, VirtualHost]:
        return self._parts.vhosts

    def _find_level(self, storage_id: int) -> Queue | None:
        return self._parts.find_level(storage_id)

    def _on_applied(self) -> None:
        self._parts.broker.dispatch()

    def _keeper(self, queue: Queue | None) -> Incarnation | None:
        """Return the node that keeps the length of `queue` (ADR 67), or gives out its messages (ADR 84), None if any
        node does: the first that has consumers, as for a single active consumer, and while there are none the living
        node whose name is the first. That one gets what nodes that are gone have left in a schedule, too.
        """
        if queue is None or not self.shares(queue.whole):
            return None
        living = self._agent.living
        if queue.name == SCHEDULE:  # nobody asks for what waits there
            return min(living, default=None, key=_name_of)
        settings = queue.whole.settings
        if not (settings.has_length or settings.is_given_by_one_node):
            return None
        subscribers = self._vhosts[queue.vhost].consumers.subscribers(queue.whole)
        return next((each for each in subscribers if each in living), min(living, default=None, key=_name_of))

    def _is_kept_elsewhere(self, queue: Queue) -> bool:
        return self._keeper(queue) not in (None, self._agent.incarnation)

    def _see_to_end(self, queue: Queue) -> None:
        consumers = self._vhosts[queue.vhost].consumers
        if queue.settings.is_given_by_one_node and consumers.ends(queue):
            HandlerTasks(self._loops).spawn(consumers.unsubscribe(queue))

    def _consumers_elsewhere(self, queue: Queue) -> Sequence[Incarnation]:
        return self._vhosts[queue.vhost].consumers.elsewhere(queue.whole)

    def _is_cut_off(self) -> bool:
        """Can somebody not be asked: the coordinator by this node, or a member by it or the coordinator?"""
        is_served = self._slots.demand.failing_since is None
        return not is_served or bool(self._cut_off())

    def _cut_off(self) -> frozenset[Incarnation]:
        """Return the living nodes of whose demand this one cannot know."""
        return self._contacts.cut_off(self._agent.last_beats()) | self._agent.apart
