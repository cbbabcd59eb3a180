"""The objects of a node, put together for tests in one place, as `broker.node.incarnation` puts them together.

Every test that needs a broker, a virtual host or a queue gets it here and says only in what it differs: the store, the
journal, what runs coroutines, the limits. Knows every constructor of the core; must not judge what the objects do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from itertools import count
from typing import Any

from broker.amqp.branches import Branches
from broker.amqp.connection import Connection
from broker.amqp.context import SharedContext
from broker.amqp.direct_reply import DirectReplies
from broker.amqp.handshake import Peer, server_properties
from broker.amqp.profile import CORDILLERA, Profile
from broker.amqp.publisher_flow import FlowLimits, PublisherFlow
from broker.auth.access import AccessControl, OpenAccess
from broker.auth.identity import Authenticator
from broker.broker import Broker, Confirmable, Limits
from broker.cache_budget import CacheBudget
from broker.clock import Clock
from broker.message import Message, MessageIdGenerator
from broker.node.queue_services import LiveServices
from broker.ports.cluster import Cluster, NoOtherNodes
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Reply
from broker.ports.records import Change
from broker.ports.slot import Slot
from broker.ports.store import DueKey, Store
from broker.queue.due_reader import DueReader
from broker.queue.group_reader import GroupReader
from broker.queue.making import make_queue
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue
from broker.queue.services import QueueServices
from broker.queue.settings import QueueLimits
from broker.queue.slot_reader import SlotReader
from broker.queue.stream_queue import StreamStorage
from broker.queue.stream_reader import StreamReader
from broker.server.timers import Timers
from broker.store.journal import GroupCommitJournal
from broker.store.journal_limits import JournalLimits
from broker.topology.apply import LiveTopology
from broker.topology.dead_letter_channels import DeadLetterChannels
from broker.topology.dead_letters import DeadLetters, ReusableWakeup
from broker.topology.dialect import PLAIN, WSO2
from broker.topology.exchange import ExchangeTypes
from broker.topology.firing import Firing
from broker.topology.recorder import Lock, Recorder, Wakeup
from broker.topology.redriving import Redrives
from broker.topology.schedules import Schedules
from broker.topology.stream_replay import StreamReplays
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget
from tests.support.bindings import EXCHANGE_TYPES
from tests.support.logins import public_user, users_of
from tests.support.stage import turn

GUEST = public_user("guest", "guest")

_NOTHING: Any = None
"""Stands for a part that a test never reaches."""


class NoServices:
    """Stands where no test asks, for queues in which nothing expires and nothing is dead-lettered."""

    lease_margin = 0

    def now_ms(self) -> int:
        return 0

    def watch(self, queue: Queue) -> None:
        """Nobody serves deadlines."""

    def read_due(self, queue: Queue) -> None:
        raise AssertionError("nothing is due")

    def read_groups(self, queue: Queue) -> None:
        raise AssertionError("nothing is in slots")

    def bury(self, queue: Queue, messages: Sequence[Message], outcome: Outcome) -> None:
        raise AssertionError("nothing is dead-lettered")

    def has_room(self, queue: Queue) -> bool:
        return True


class OneOfMany:
    """A cluster whose other nodes do nothing but what a test lets them: `record` gets all changes."""

    def __init__(
        self,
        incarnation: Incarnation,
        record: Callable[[Sequence[Change]], Awaitable[None]],
        recorded: Callable[[], int] = lambda: 0,
        announce: Callable[..., Awaitable[None]] | None = None,
    ) -> None:
        self.incarnation = incarnation
        self.purged_elsewhere = 0
        self.has_more_stored = False
        self._record = record
        self._recorded = recorded
        self._announce = announce

    @property
    def recorded(self) -> int:
        return self._recorded()

    def is_trusted(self) -> bool:
        return True

    def shares(self, queue: Queue) -> bool:
        return not queue.is_exclusive

    async def fetch(self, queue: Queue) -> bool:
        return False

    async def purge(self, queue: Queue) -> int:
        return self.purged_elsewhere

    async def has_unseen(self, queue: Queue) -> bool:
        return self.has_more_stored

    def on_read(self, queue: Queue, slot: Slot, messages: Sequence[Message], is_end: bool) -> None:
        """Nobody else has anything."""

    def rows_to_come(self, queue: Queue) -> Sequence[Slot]:
        return (Slot(queue.queue_id, queue.lane, 0, (1 << 63) - 1, 0),)

    records_all = True

    async def record(self, changes: Sequence[Change]) -> None:
        await self._record(changes)

    def send_reply(self, incarnation: str, reply: Reply, on_answer: Callable[[bool], None]) -> None:
        on_answer(False)

    async def awaits_reply(self, incarnation: str, vhost: str, address: str) -> bool:
        return False

    async def announce(self, event_id: int, *, is_certain: bool) -> None:
        if self._announce is not None:
            await self._announce(event_id, is_certain=is_certain)


def new_queue(
    name: str = "orders",
    queue_id: int = 7,
    *,
    vhost: str = "/",
    durable: bool = True,
    journal: Any = _NOTHING,
    read_slots: Callable[[Queue], object] = _NOTHING,
    **options: Any,
) -> Queue:
    """Return a queue on its own; `options` are further arguments of `Queue`."""
    options.setdefault("services", NoServices())
    options.setdefault("storage", _NOTHING)
    return make_queue(
        vhost,
        name,
        queue_id,
        durable=durable,
        journal=journal,
        read_slots=read_slots,
        **options,
    )


def new_vhost(
    name: str,
    *,
    journal: Any,
    read_slots: Callable[[Queue], object] = print,
    queue_limits: QueueLimits | None = None,
    lane: int = 0,
    exchange_types: ExchangeTypes = EXCHANGE_TYPES,
    services: QueueServices[Queue] | None = None,
    storage: StreamStorage = _NOTHING,
    **options: Any,
) -> VirtualHost:
    """Return a virtual host that gives its queues `journal`, `read_slots`, `queue_limits`, `lane`, `services` and
    `storage`.

    `options` are further arguments of `VirtualHost`.
    """
    new_queue = partial(
        make_queue,
        lane=lane,
        limits=queue_limits,
        journal=journal,
        read_slots=read_slots,
        services=services or NoServices(),
        storage=storage,
    )
    return VirtualHost(name, journal=journal, new_queue=new_queue, exchange_types=exchange_types, **options)


async def _no_pause(seconds: float) -> None:
    """Time passes only when a test says so."""


ENDLESS = 1 << 60
"""Steps of a turn that is never used up, for what runs without a loop."""


def new_broker(**parts: Any) -> Broker:
    """Return a broker without virtual hosts; `parts` are arguments of `Broker`, and the others are not there."""
    missing = {
        "ids": MessageIdGenerator(0),
        "journal": _NOTHING,
        "cluster": NoOtherNodes(_NOTHING, _NOTHING),
        "await_read": _NOTHING,
        "touched_confirms": set(),
        "limits": Limits(),
        "vhosts": {},
        "caches": CacheBudget(),
        "work": TurnBudget(ENDLESS),
    }
    return Broker(**{**missing, **parts})


def new_connection(
    shared: SharedContext,
    on_output: Callable[[], None],
    on_deadline: Callable[[], None] = lambda: None,
    now: float = 0.0,
    *,
    on_put_off: Callable[[], None] = lambda: None,
    host: str = "127.0.0.1",
    is_loopback: bool = True,
    profile: Profile = CORDILLERA,
    certificate_user: str = "",
) -> Connection:
    """Return the broker's end of a connection that has just been accepted from `host`."""
    peer = Peer(f"{host}:50000", is_loopback, host, certificate_user)
    return Connection(shared, peer, on_output, on_deadline, on_put_off, now, profile)


async def nothing_to_wait_for() -> None:
    """Return at once."""


def numbered(first: int = 1) -> Callable[[], Awaitable[int]]:
    """Return what hands out `first` and the numbers behind it as ids of queues."""
    numbers = count(first)

    async def new_queue_id() -> int:
        return next(numbers)

    return new_queue_id


class NodeParts:
    """The broker of one node, its journal, its reader of slots and its topology."""

    def __init__(
        self,
        store: Store,
        *,
        tasks: Any,
        new_journal: Callable[[set[Confirmable]], Any] | None = None,
        journal_limits: JournalLimits | None = None,
        await_read: Callable[[Queue], Awaitable[None]] | None = None,
        record: Callable[[Sequence[Change]], Awaitable[None]] | None = None,
        lock: Lock | None = None,
        new_event: Callable[[], ReusableWakeup] = asyncio.Event,
        wait_as_client: Callable[[Wakeup], Awaitable[None]] | None = None,
        ids: MessageIdGenerator | None = None,
        high_water: int = 0,
        limits: Limits | None = None,
        vhosts: dict[str, VirtualHost] | None = None,
        work: TurnBudget | None = None,
        next_turn: Callable[[], Awaitable[None]] = nothing_to_wait_for,
        clock: Clock | None = None,
        **vhost_options: Any,
    ) -> None:
        """`tasks` stands for a task group and runs what reads slots. `vhost_options` are arguments of `new_vhost`.

        The journal is a real one that nobody runs yet, unless `new_journal` makes another from the set of touched
        confirms. With a `clock`, `timers` serve the queues' deadlines and `dead_letters` carries letters, when run.
        `await_read` waits for a queue whose slots are being read, where `tasks` makes no tasks that can be
        awaited. `record` records topology instead of the store.
        """
        self.store = store
        self.ids = ids or MessageIdGenerator(0)
        touched_confirms: set[Confirmable] = set()
        if new_journal is None:
            self.journal: Any = GroupCommitJournal(
                store,
                high_water=high_water,
                touched_confirms=touched_confirms,
                on_settled=lambda: self.broker.flush_confirms(),
                on_full=lambda is_full: None,
                on_decided=lambda keyed: self.broker.admit(keyed),
                on_appended=lambda appends: self.broker.on_appended(appends),
                limits=journal_limits,
            )
        else:
            self.journal = new_journal(touched_confirms)
        self.cluster: Cluster[Queue] = NoOtherNodes(record or store.record, self.journal.forget)
        self.slot_reader = SlotReader(store, self.journal, tasks, self._on_read, self.cluster.on_read)
        self.stream_reader = StreamReader(store, tasks, wake=self._on_read, tells_length=lambda: True)
        self.broker = new_broker(
            ids=self.ids,
            journal=self.journal,
            cluster=self.cluster,
            await_read=await_read or self.slot_reader.wait,
            touched_confirms=touched_confirms,
            limits=limits or Limits(),
            vhosts={} if vhosts is None else vhosts,
            work=work or TurnBudget(ENDLESS),
        )
        self.live = LiveTopology(self.broker.vhosts, self._new_vhost)
        self._next_turn = next_turn
        self._lock = lock or asyncio.Lock()
        self._new_event = new_event
        self._client_wait = {} if wait_as_client is None else {"wait_as_client": wait_as_client}
        self.recorder = self._new_recorder(self.cluster)
        services = {}
        if clock is not None:
            self.services = self._new_services(clock, tasks)
            services["services"] = self.services
        self._vhost_options = {
            **services,
            "compile_selector": self.broker.selectors.get,
            "churn": self.broker.churn,
            "journal": self.journal,
            "on_activity": self.broker.touched.add,
            "put_copy": self.broker.put_copy,
            "new_queue_id": numbered(),
            "read_slots": self.slot_reader.start,
            "storage": self.stream_reader,
            **vhost_options,
        }

    def _new_services(self, clock: Clock, tasks: Any) -> LiveServices:
        async def delete_unused(queue: Queue) -> None:
            await self.broker.vhosts[queue.vhost].delete_expired(queue, clock.wall_ms)

        self.timers = Timers(clock.monotonic)
        services = LiveServices(
            clock,
            self.timers,
            wake=self._on_read,
            spawn=tasks.create_task,
            delete_unused=delete_unused,
            may_act=self.cluster.is_trusted,
            lease_margin=self.cluster.lease_margin,
        )
        self.dead_letters = services.dead_letters = DeadLetters(
            self.broker.vhosts,
            self.ids,
            self.journal,
            self.broker.work,
            read=self.store.read,
            touched=self.broker.touched,
            now_ms=clock.wall_ms,
            wakeup=self._new_event(),
            next_turn=self._next_turn,
            dispatch=self.broker.dispatch,
        )
        self.firing = services.firing = Firing(
            self.broker.vhosts,
            self.ids,
            self.journal,
            self.broker.work,
            touched=self.broker.touched,
            now_ms=clock.wall_ms,
            wakeup=self._new_event(),
            next_turn=self._next_turn,
            dispatch=self.broker.dispatch,
        )
        self.stream_replays = StreamReplays(
            self.broker.vhosts,
            self.store,
            self.ids,
            self.journal,
            now_ms=clock.wall_ms,
            write_places=self.stream_reader.write_places,
            next_turn=self._next_turn,
            touched=self.broker.touched,
            dispatch=self.broker.dispatch,
        )
        self.schedules = Schedules(
            self.broker.vhosts,
            self.ids,
            self.journal,
            read=self._read_stored,
            read_due=self._read_due,
            touched=self.broker.touched,
            now_ms=clock.wall_ms,
            pause=lambda seconds: turn(),
            next_turn=self._next_turn,
            dispatch=self.broker.dispatch,
        )
        self.dead_letter_channels = DeadLetterChannels(
            self.broker.vhosts,
            self.dead_letters,
            self.ids,
            read=self._read_stored,
            held_ids=self.broker.held_ids,
            touched=self.broker.touched,
            pause=lambda seconds: turn(),
            next_turn=self._next_turn,
            dispatch=self.broker.dispatch,
            now_ms=clock.wall_ms,
        )
        self.redrives = Redrives(
            self.broker.vhosts,
            self.dead_letter_channels,
            pause=lambda seconds: turn(),
            spawn=tasks.create_task,
        )
        services.due_reader = DueReader(
            self.store,
            self.journal,
            tasks,
            now_ms=clock.wall_ms,
            has_room=services.has_room,
            on_done=self._on_read,
        )
        services.group_reader = GroupReader(self.store, self.journal, tasks, on_done=self._on_read)
        return services

    async def _read_stored(self, queue: Queue, slot: Slot, limit: int, octets: int) -> Sequence[Message]:
        await self.journal.readable(slot)
        return await self.store.read(queue, slot, limit, octets)

    async def _read_due(
        self, queue: Queue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> Sequence[Message]:
        await self.journal.flushed()
        return await self.store.read_due(queue, until_ms, after, limit, limit_bytes)

    def add_vhost(self, name: str, **options: Any) -> VirtualHost:
        """Serve a virtual host that has nothing yet, instead of one of that name; `options` win over the node's."""
        vhost = self.broker.vhosts[name] = self._new_vhost(name, **options)
        return vhost

    def _new_vhost(
        self,
        name: str,
        cluster: Cluster[Queue] | None = None,
        **options: Any,
    ) -> VirtualHost:
        cluster = cluster or self.cluster
        recorder = self.recorder if cluster is self.cluster else self._new_recorder(cluster)
        dialect = WSO2 if name == "carbon" else PLAIN  # as the configuration has it
        options = {"dialect": dialect, **self._vhost_options, **options}
        return new_vhost(name, cluster=cluster, recorder=recorder, **options)

    def _new_recorder(self, cluster: Cluster[Queue]) -> Recorder:
        return Recorder(
            cluster,
            self.live.apply,
            self.journal.purge,
            lock=self._lock,
            new_event=self._new_event,
            work=self.broker.work,
            next_turn=self._next_turn,
            **self._client_wait,
        )

    def shared_context(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        users: Authenticator | None = None,
        access: AccessControl | None = None,
        version: str = "0",
        node_id: str = "node",
        platform: str = "test",
        monotonic: Callable[[], float] = lambda: 0.0,
        is_store_away: Callable[[], bool] = lambda: False,
        next_turn: Callable[[], Awaitable[None]] = nothing_to_wait_for,
        room: Callable[[], Awaitable[None]] = nothing_to_wait_for,
        flow: FlowLimits | None = None,
    ) -> SharedContext:
        """Return what connections share: guest may do everything, and names that clients leave open are counted."""
        names = count(1)

        def new_name(prefix: str) -> str:
            return f"{prefix}{next(names)}"

        return SharedContext(
            self.broker,
            users or users_of(GUEST),
            access or OpenAccess(),
            server_properties(version, node_id, platform),
            new_name,
            spawn,
            monotonic,
            is_store_away,
            next_turn,
            room,
            DirectReplies(self.cluster, new_name),
            self.store.read,
            self._new_branches(monotonic),
            self.store,
            _no_pause,
            flow=PublisherFlow(flow or FlowLimits(), self.journal, self.broker.ids, self.broker.touched_confirms),
        )

    def _new_branches(self, monotonic: Callable[[], float]) -> Branches:
        limits = self.broker.limits
        timers = getattr(self, "timers", None)
        return Branches(
            max_channels=limits.max_dtx_channels,
            max_octets=limits.max_uncommitted_bytes,
            monotonic=monotonic,
            watch=timers.watch if timers is not None else lambda branches: None,
            dispatch=self.broker.dispatch,
        )

    def _on_read(self, queue: Queue) -> None:
        self.broker.touched.add(queue)
        self.broker.dispatch()
