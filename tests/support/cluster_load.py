"""The confirmed load on all nodes of a cluster: clients that connect to any node again, whatever ends their session.

Knows the recording clients and which node each session was on; must not judge. The checker knows one broker: what a
fault of one node means for the sessions on it is written into the history here.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from benchmarks.nodes.process import BrokerProcess
from tests.support.clients import (
    ALL_QUEUES,
    RULES,
    Consumer,
    Habits,
    Publisher,
    Recorder,
    Transactor,
)
from tests.support.events import Event, Op, Outcome
from tests.support.load import HABITS, Client, Ending, Load, declare, ready_count
from tests.support.wire import Wire

RATE = 600.0  # messages a second of each publisher: the consumers keep up, so that what stays is stuck
BURST = 1 / 15  # of a second: what goes out at once
NODES = 3  # at most
CLUSTER_RULES = {  # each node keeps the length of what it has itself
    queue: rules if rules.max_length is None else replace(rules, max_length=NODES * rules.max_length)
    for queue, rules in RULES.items()
}
TIMEOUT = 8.0  # of one answer; a node that is frozen gives none
CHANNELS = "{name}/{session}"
ALL_HABITS = (*HABITS, Habits("load.d", prefetch=40, ack_every=5), Habits("load.tx.2", prefetch=20))


@dataclass(frozen=True, slots=True)
class Disturbance:
    """An incarnation of a node that ended: its sessions may have been over since `began`, when its trouble began.

    What a node had in its buffers when it was killed or frozen reaches its clients later: it was sent before.
    `silences` are the times from such a stop until it was over.
    """

    node: int
    began: float
    ended: float
    silences: tuple[tuple[float, float], ...] = ()


@dataclass(slots=True)
class Places:
    """Where each session of the load was connected."""

    nodes: list[BrokerProcess]
    random: random.Random
    of: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    next: dict[str, int] = field(default_factory=dict)
    """Where a client tries first when it connects the next time."""
    wires: dict[str, Wire] = field(default_factory=dict)
    """The last connection of each client."""

    def connect(self, name: str, session: Callable[[], int]) -> Wire:
        """Connect to any node; `session` says how many sessions `name` has had."""
        with self.lock:
            number = self.next.pop(name, None)
            node = self.random.choice(self.nodes) if number is None else self.nodes[number]
        wire = Wire(node.host, node.port, timeout=TIMEOUT)
        self.of[CHANNELS.format(name=name, session=session() + 1)] = node.number
        self.wires[name] = wire
        return wire


class ClusterLoad:
    """Publishers, a transactor and consumers with every habit, spread over the nodes by chance."""

    def __init__(
        self, nodes: list[BrokerProcess], seed: int, *, publishers: int = 3, window: int = 200, rate: float = RATE
    ) -> None:
        """`rate` is that of each publisher, in messages a second."""
        self.recorder = Recorder()
        self.disturbances: list[Disturbance] = []
        self._window = window
        self._rate = rate
        self._places = Places(nodes, random.Random(seed))
        self._stop_publishers = threading.Event()
        self._stop_consumers = threading.Event()
        self._publishers = [self._client(f"publisher{number}", self._publish) for number in range(publishers)]
        self._publishers.append(self._client("transactor", self._transact))
        self._consumers = [self._consumer(f"consumer{number}", habits) for number, habits in enumerate(ALL_HABITS)]

    def _client(self, name: str, session: Callable[[Wire, str], None]) -> Client:
        return self._any_node(name, session, self._stop_publishers)

    def _consumer(self, name: str, habits: Habits) -> Client:
        consumer = Consumer(name, habits, self.recorder, self._stop_consumers)
        return self._any_node(name, consumer.session, self._stop_consumers)

    def _any_node(self, name: str, session: Callable[[Wire, str], None], stopping: threading.Event) -> Client:
        client: Client

        def connect() -> Wire:
            return self._places.connect(name, lambda: client.sessions)

        client = Client(name, connect, self.recorder, session, stopping)
        return client

    def _publish(self, wire: Wire, channel: str) -> None:
        """One session is one publisher: between two of them, on two nodes, there is no order."""
        burst = max(1, round(BURST * self._rate))
        publisher = Publisher(
            name_of(channel), self.recorder, self._stop_publishers, window=self._window, burst=burst, rate=self._rate
        )
        publisher.session(wire, channel)

    def _transact(self, wire: Wire, channel: str) -> None:
        Transactor(name_of(channel), self.recorder, self._stop_publishers).session(wire, channel)

    def start(self) -> None:
        """Declare the topology and start every client."""
        wire = Wire(self._places.nodes[0].host, self._places.nodes[0].port)
        declare(wire)
        wire.close()
        for client in (*self._consumers, *self._publishers):
            client.thread.start()

    def stop_publishing(self, deadline: float = 90.0) -> None:
        """Stop the publishers, which wait for what they are owed; the consumers go on."""
        self._stop_publishers.set()
        join(self._publishers, deadline)

    def stop(self, deadline: float = 90.0) -> None:
        """Stop everything; a client that failed raises here."""
        self.stop_publishing(deadline)
        self._stop_consumers.set()
        join(self._consumers, deadline)

    def drain(self, node: BrokerProcess) -> int:
        """Fetch everything that is left through one node, and return how many messages that were."""
        load = Load(node.host, node.port)
        load.recorder = self.recorder
        others = [Wire(each.host, each.port) for each in self._places.nodes if each is not node]
        drained = load.drain(others)
        for wire in others:
            wire.close()
        return drained

    def waiting(self, node: BrokerProcess) -> int:
        """Return how many messages are ready in all queues of the load, as one node counts them."""
        wire = Wire(node.host, node.port)
        ready = sum(ready_count(wire, queue) for queue in ALL_QUEUES)
        wire.close()
        return ready

    def spread(self) -> None:
        """Let every node have a publisher again: end the session of each that is elsewhere, which connects anew."""
        for number, client in enumerate(self._publishers[: len(self._places.nodes)]):
            if self._places.of.get(CHANNELS.format(name=client.name, session=client.sessions)) != number:
                self._places.next[client.name] = number
                if client.name in self._places.wires:
                    self._places.wires[client.name].end()

    def node_of(self, channel: str) -> int:
        """Return the number of the node that a session was on."""
        return self._places.of[channel]

    @property
    def endings(self) -> list[Ending]:
        """The sessions of publishers that ended in another way than these wanted."""
        return [ending for client in self._publishers for ending in client.endings]

    def disturb(self, disturbance: Disturbance) -> None:
        """Note what has happened to a node."""
        self.disturbances.append(disturbance)

    def history(self) -> list[Event]:
        """Return the history as the checker is to see it."""
        return disturbed(list(self.recorder.events), self.disturbances, self._places.of)


def name_of(channel: str) -> str:
    """Return the name of the publisher of one session; a key's name must not hold a colon."""
    return channel.replace("/", ".")


def join(clients: Iterable[Client], deadline: float) -> None:
    for client in clients:
        client.thread.join(deadline)
        if client.thread.is_alive():
            raise TimeoutError(f"{client.name} still running {deadline} s after it was told to stop")
        if client.failure is not None:
            raise client.failure


def disturbed(events: list[Event], disturbances: list[Disturbance], nodes: dict[str, int]) -> list[Event]:
    """Return `events` with each session over that was on a node when a disturbance of it began.

    The store may end such a session when its client does not see it yet: its messages go to others from then on.
    """
    opened = {event.channel: event.t_inv for event in events if event.op is Op.OPEN}
    closed = {event.channel: event for event in events if event.op is Op.CLOSE}
    over: dict[str, Disturbance] = {}
    for disturbance in sorted(disturbances, key=lambda each: each.began):
        for channel, since in opened.items():
            close = closed.get(channel)
            is_open = since <= disturbance.ended and (close is None or close.t_inv >= disturbance.began)
            if nodes.get(channel) == disturbance.node and is_open and channel not in over:
                over[channel] = disturbance
    seen = [
        _seen(event, over[event.channel], opened[event.channel]) if event.channel in over else event for event in events
    ]
    return [
        *(_out_of_line(event) for event in seen),
        *(_end(channel, max(over[channel].began, opened[channel])) for channel in over if channel not in closed),
        *(Event(t_inv=each.began, t_ret=each.ended, process="", op=Op.NODE_ENDED) for each in disturbances),
    ]


def _seen(event: Event, disturbance: Disturbance, opened: float) -> Event:
    if event.op is Op.CLOSE:
        began = max(disturbance.began, opened)  # a session may have begun in the middle of it
        return replace(event, type=Outcome.INFO, t_inv=min(event.t_inv, began), t_ret=min(event.t_ret, began))
    if event.op is Op.DELIVER:
        for stopped, until in disturbance.silences:
            # What a client reads late was sent before the node fell silent; a session that began later has no such
            # buffer.
            if opened < stopped < event.t_inv <= until + 1.0:
                return replace(event, t_ret=stopped)  # what its client did meanwhile it did in this order
    return event


def _out_of_line(event: Event) -> Event:
    """What several nodes have given back comes out of a drain in no order; it is marked."""
    if event.op is Op.DRAIN and event.redelivered and event.key is not None:
        return replace(event, channel="{}/{}.{}".format(event.channel, *event.key))
    return event


def _end(channel: str, at: float) -> Event:
    process = channel.partition("/")[0]
    return Event(t_inv=at, t_ret=at, process=process, op=Op.CLOSE, channel=channel, type=Outcome.INFO)
