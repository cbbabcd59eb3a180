"""A whole broker without a socket, a loop or a clock, and clients connected to it.

Everything is the real thing but the edges: coroutines run on a `Stage`, the journal commits when told to, names are
counted, time stands still. What the AMQP edge does between a connection and its socket is done here in a few lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from broker.amqp.context import SharedContext
from broker.amqp.profile import CORDILLERA, Profile
from broker.amqp.publisher_flow import FlowLimits
from broker.auth.access import AccessControl
from broker.auth.identity import Authenticator
from broker.broker import Limits
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicPublish,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTune,
    ConnectionTuneOk,
)
from broker.codec.properties import BasicProperties
from broker.message import MessageIdGenerator
from broker.ports.records import Change, Put, QueueRecord, Topology, VirtualHostRecord
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits, QueueType
from broker.store.memory.state import MemoryState
from broker.store.memory.store import MemoryStore
from broker.topology.exchange import ExchangeTypes
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TURN, TurnBudget
from tests.support.bindings import EXCHANGE_TYPES
from tests.support.clock import FakeClock
from tests.support.composition import NodeParts, new_connection, numbered
from tests.support.fake_journal import FakeJournal
from tests.support.logins import public_user, users_of
from tests.support.peer import Content, Peer
from tests.support.stage import Event, Gate, LoopTurns, Stage, Turns, drive, turn

GUEST = b"\0guest\0guest"
ALL_CAPABILITIES = (
    "publisher_confirms",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "authentication_failure_close",
)


class GatedTopology:
    """Records in `store`, but not while the gate is shut; `failure` is raised once if set."""

    def __init__(self, store: MemoryStore, gate: Gate) -> None:
        self._store = store
        self._gate = gate
        self.failure: Exception | None = None

    async def record(self, changes: Sequence[Change]) -> None:
        await self._gate.passed()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        await self._store.record(changes)


class Harness:
    """One node. `gate` holds back whatever waits for the store while it is shut."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        queue_limits: QueueLimits | None = None,
        max_queues: int = 100,
        default_queue_type: QueueType = QueueType.CLASSIC,
        exchange_types: ExchangeTypes = EXCHANGE_TYPES,
        users: Authenticator | None = None,
        access: AccessControl | None = None,
        turn: int = TURN,
        flow: FlowLimits | None = None,
        clock: FakeClock | None = None,
        state: MemoryState | None = None,
    ) -> None:
        """`users` and `access` say who may log in, and what for: otherwise guest and admin, for everything. `turn` is
        how many steps of work a turn of the loop may take. With a `state`, the node starts on what another one, which
        is gone, has left in the store.
        """
        self.turns = LoopTurns(TurnBudget(turn))
        self.clock = clock or FakeClock()
        self.gate = Gate()
        self.is_store_away = False
        self.stage = Stage()
        self.store = MemoryStore(state)
        drive(self.store.open())
        registration = None if state is None else drive(self.store.register("node-a"))
        left = drive(self.store.load())
        self.topology = GatedTopology(self.store, self.gate)
        self.parts = NodeParts(
            self.store,
            tasks=self.stage,
            new_journal=lambda touched_confirms: FakeJournal(self.store, touched_confirms, self.gate),
            await_read=self._read_done,
            limits=limits or Limits(heartbeat=60),
            record=self.topology.record,
            lock=Turns(),
            new_event=Event,
            queue_limits=queue_limits,
            max_queues=max_queues,
            default_queue_type=default_queue_type,
            exchange_types=exchange_types,
            work=self.turns.work,
            next_turn=self.turns.next,
            clock=self.clock,
            ids=None if registration is None else MessageIdGenerator(registration.lane, registration.last_message_id),
            new_queue_id=numbered(1 + max((row.queue_id for row in left if isinstance(row, QueueRecord)), default=0)),
        )
        self.broker, self.live = self.parts.broker, self.parts.live
        self.journal: FakeJournal = self.parts.journal
        self.journal.on_decided = self.broker.admit
        self.journal.on_appended = self.broker.on_appended
        for name in ("/", "carbon"):
            self.live.apply(Put(VirtualHostRecord(name)))
        if registration is not None:
            self._restore(left)
        self.shared = self.parts.shared_context(
            self.stage.spawn,
            users=users or users_of(public_user("guest", "guest", loopback_only=True), public_user("admin", "secret")),
            access=access,
            version="0.1.0",
            node_id="NODE:1",
            platform="Python 3.11",
            monotonic=self.clock.monotonic,
            is_store_away=lambda: self.is_store_away,
            next_turn=self.turns.next,
            flow=flow,
        )
        self._clients: list[Client] = []

    def _restore(self, topology: Topology) -> None:
        """Rebuild memory from the store, as a node does when it starts."""
        for complaints in self.live.restoring(topology):
            assert not complaints
        vhosts = self.broker.vhosts.values()
        queues = {
            level.queue_id: level for vhost in vhosts for queue in vhost.queues.values() for level in queue.levels
        }
        queues |= {vhost.schedule.queue_id: vhost.schedule for vhost in vhosts if vhost.schedule is not None}
        for slot in drive(self.store.backlog()):
            queues[slot.queue_id].recover(slot)
        for queue_id, due in drive(self.store.earliest_due()).items():
            queues[queue_id].set_due_in_slots(due, (0, 0))

    @property
    def vhost(self) -> VirtualHost:
        return self.broker.vhosts["/"]

    def connect(self, *, is_loopback: bool = True, profile: Profile = CORDILLERA, certificate_user: str = "") -> Client:
        """Return a client that has a socket and has said nothing yet, to a listener with `profile`.

        `certificate_user` is whom its verified certificate names.
        """
        client = Client(self, self.shared, is_loopback, profile, certificate_user)
        self._clients.append(client)
        return client

    def peer(
        self,
        capabilities: Sequence[str] = ALL_CAPABILITIES,
        *,
        heartbeat: int = 0,
        frame_max: int = 0,
        login: bytes = GUEST,
        vhost: str = "/",
        profile: Profile = CORDILLERA,
    ) -> Client:
        """Return a client with an open connection, and channel 1 open on it."""
        client = self.connect(profile=profile)
        client.send_raw(PROTOCOL_HEADER)
        client.send(0, start_ok(capabilities, response=login))
        client.send(0, ConnectionTuneOk(0, frame_max, heartbeat))
        client.send(0, ConnectionOpen(vhost))
        client.send(1, ChannelOpen())
        kinds = [type(method) for _, method in client.received()]
        assert kinds == [ConnectionStart, ConnectionTune, ConnectionOpenOk, ChannelOpenOk]
        return client

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and do what is due then."""
        self.clock.advance(seconds)
        self.parts.timers.run_due(self.clock.monotonic())
        self.run()

    def commit(self) -> None:
        """Let the store commit what the journal has taken."""
        self.journal.commit()
        self.broker.flush_confirms()
        if self.shared.flow is not None:
            self.shared.flow.on_stored()
        self.run()

    def run(self) -> None:
        """Let everything go on until nothing moves: coroutines, deliveries, sockets."""
        while True:
            is_busy = self.stage.run()
            if self.parts.dead_letters.is_waiting:
                self.stage.spawn(self.parts.dead_letters.carry())
                is_busy = True
            if self.parts.firing.is_waiting:
                self.stage.spawn(self.parts.firing.carry())
                is_busy = True
            self.broker.dispatch()
            for client in self._clients:
                is_busy |= client.flush()
            is_busy |= self.turns.begin()
            if not is_busy:
                return

    async def _read_done(self, queue: Queue) -> None:
        await turn()
        while queue.slots.is_reading:
            await turn()


class Client:
    """The far end of one connection."""

    def __init__(
        self,
        harness: Harness,
        shared: SharedContext,
        is_loopback: bool,
        profile: Profile,
        certificate_user: str = "",
    ) -> None:
        self._harness = harness
        self._peer = Peer(self._deliver)
        self._has_output = self._has_asked = False
        host = "127.0.0.1" if is_loopback else "192.0.2.7"
        now = harness.clock.monotonic()
        self.connection = new_connection(
            shared,
            self._on_output,
            self._on_deadline,
            now,
            on_put_off=self._ask_for_turn,
            host=host,
            is_loopback=is_loopback,
            profile=profile,
            certificate_user=certificate_user,
        )
        self._on_deadline()
        self.reads = True
        """False: the client has stopped reading, and what is written to it stays in the output buffer."""
        self.is_closed = False
        """Has the broker closed the socket?"""

    def send(
        self, channel: int, method: Method, properties: BasicProperties | None = None, body: bytes | None = None
    ) -> None:
        self._peer.send(channel, method, properties, body)

    def send_raw(self, data: bytes) -> None:
        self._peer.send_raw(data)

    def publish(
        self,
        routing_key: str,
        *bodies: bytes,
        exchange: str = "",
        channel: int = 1,
        mandatory: bool = False,
        properties: BasicProperties | None = None,
    ) -> None:
        """Publish `bodies`, each in a read of its own."""
        for body in bodies:
            self.send(channel, BasicPublish(0, exchange, routing_key, mandatory), properties, body)

    def received(self) -> list[tuple[int, Method]]:
        """Return `(channel, method)` of everything since the last call."""
        return self._peer.received()

    def contents(self) -> list[Content]:
        """Return every complete content since the last call."""
        return self._peer.received_content()

    def bodies(self) -> list[bytes]:
        """Return the bodies of the contents since the last call."""
        return [content.body for content in self.contents()]

    def call(self, channel: int, method: Method) -> Method:
        """Send `method` and return the one answer."""
        self.received()
        self.send(channel, method)
        ((answered, answer),) = self.received()
        assert answered == channel
        return answer

    @property
    def heartbeats(self) -> int:
        return self._peer.heartbeats

    @property
    def protocol_header(self) -> bytes:
        return self._peer.protocol_header

    def tick(self, *, may_expire: bool = True) -> bool:
        """Let the connection do what is due; return whether the socket must be closed at once.

        As the timers do, this asks for another deadline when the last one has come, or the connection says that it has
        come nearer.
        """
        now = self._harness.clock.monotonic()
        must_close = self.deadline <= now and self.connection.on_time(
            now, may_expire=may_expire, has_unread=not self.reads
        )
        self._on_deadline()
        self._harness.run()
        return must_close

    def lose(self) -> None:
        """Cut the connection."""
        if not self.is_closed:
            self.is_closed = True
            self.connection.on_lost()
            self._harness.run()

    def flush(self) -> bool:
        """Move output to the peer as the socket's edge does; return whether there was any."""
        connection = self.connection
        if not self.reads:
            connection.output.block()
            return False
        if not self._has_output and not connection.output.is_blocked:
            return False
        self._has_output = False
        output, _ = connection.output.take(self._harness.clock.monotonic())
        if not self.is_closed:
            self._peer.feed(b"".join(output))
        if connection.is_finished and not self.is_closed:
            self.is_closed = True
            connection.on_lost()
            return True
        if connection.output.is_blocked:
            connection.unblock_output()
        return True

    def _ask_for_turn(self) -> None:
        if not self._has_asked:
            self._has_asked = True
            self._harness.turns.call(self._go_on)

    def _go_on(self) -> None:
        self._has_asked = False
        self.connection.go_on()
        if self.is_closed and self.connection.is_put_off:
            self._ask_for_turn()

    def _on_deadline(self) -> None:
        deadline = self.connection.next_deadline()
        self.deadline = inf if deadline is None else deadline

    def _on_output(self) -> None:
        assert not self._has_output, "told of output twice before it was taken"
        self._has_output = True

    def _deliver(self, data: bytes) -> None:
        if not self.is_closed:
            self._harness.broker.ids.advance(self._harness.clock.wall_ms())
            self.connection.receive(data, self._harness.clock.monotonic())
            self._harness.run()


def start_ok(capabilities: Sequence[str] = (), mechanism: str = "PLAIN", response: bytes = GUEST) -> ConnectionStartOk:
    """Return the start-ok of a client with these capabilities."""
    table = FieldTable.of({"capabilities": dict.fromkeys(capabilities, True)})
    return ConnectionStartOk(table, mechanism, response)
