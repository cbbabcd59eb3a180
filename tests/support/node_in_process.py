"""A whole node without sockets and without a clock: the parts of a broker and its connections on the running loop.

Composes the parts as a node does, but hands out clients that read and write octets directly, waits until nothing
moves any more, and can be crashed. Knows every part; must not judge what clients see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from broker.amqp.context import SharedContext
from broker.backoff import Backoff
from broker.broker import Broker
from broker.clock import StoreClock, SystemClock
from broker.codec import methods as amqp
from broker.codec.method import Method
from broker.codec.properties import BasicProperties
from broker.config.configuration import Configuration
from broker.message import Message, MessageIdGenerator
from broker.node.incarnation import NodeIncarnation
from broker.node.logins import hashing_threads
from broker.node.standalone import Standalone
from broker.ports.store import Batch, Store
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits
from broker.server.turns import Turns
from broker.store.journal import GroupCommitJournal
from broker.store.journal_limits import JournalLimits
from broker.store.retrying import Retry, RetryingStore
from broker.store.time_keeper import TimeKeeper
from broker.topology.administration import Administration
from tests.support.composition import NodeParts, new_connection, new_queue
from tests.support.peer import Content, Peer

START_MS = 1_700_000_000_000
FRAME_MAX = 4096


class UnhurriedStore:
    """A store whose writes begin and end some turns of the loop later, so that much can happen in between."""

    def __init__(self, store: Store, turns: int = 2) -> None:
        self._store = store
        self._turns = turns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, batch: Batch) -> None:
        await turns(self._turns)
        await self._store.write(batch)
        await turns(self._turns)


async def turns(number: int) -> None:
    """Let everything that is ready run, `number` times."""
    for _ in range(number):
        await asyncio.sleep(0)


class Tasks:
    """What stands for the node's task group: an error in a task comes out when somebody waits.

    Clients are driven while the loop stands still, so it must be given.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()

    def create_task(self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        task = self._loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        return task

    async def wait(self) -> bool:
        """Wait for one of the tasks that are under way; return whether there was one."""
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            task.result()
        if self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            return True
        return False

    async def cancel(self) -> None:
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Client:
    """A connection that is open on "/", with the frames it sends and gets."""

    def __init__(self, node: NodeInProcess, shared: SharedContext) -> None:
        self._node = node
        self._has_output = False
        self._connection = new_connection(shared, self._on_output)
        self._peer = Peer(self._deliver, FRAME_MAX)
        self._peer.send_raw(b"AMQP\x00\x00\x09\x01")
        self.send(0, amqp.ConnectionStartOk(response=b"\0guest\0guest"))
        self.send(0, amqp.ConnectionTuneOk(0, FRAME_MAX, 0))
        self.send(0, amqp.ConnectionOpen("/"))
        assert self.receive()[-1] == (0, amqp.ConnectionOpenOk(), None)

    def _on_output(self) -> None:
        self._has_output = True

    def _deliver(self, data: bytes) -> None:
        self._node.ids.advance(self._node.wall_ms())
        self._node.broker.work.begin_turn()
        self._connection.receive(data, 0.0)
        self._take_turns()
        self._node.broker.dispatch()

    def _take_turns(self) -> None:
        """Go on at once with what was put off because a turn of the loop was used up."""
        while self._connection.is_put_off:
            self._node.broker.work.begin_turn()
            self._connection.go_on()
            self._node.broker.dispatch()

    def send(
        self, channel: int, method: Method, properties: BasicProperties | None = None, body: bytes | None = None
    ) -> None:
        self._peer.send(channel, method, properties, body)

    def receive(self) -> list[tuple[int, Method, Content | None]]:
        """Return everything that has come, in order."""
        self._take_turns()
        while self._has_output:
            self._has_output = False
            output, _ = self._connection.output.take(0.0)
            self._peer.feed(b"".join(output))
            if self._connection.output.is_blocked:
                self._connection.unblock_output()
                self._node.broker.dispatch()
        contents = iter(self._peer.received_content())
        received = self._peer.received()
        return [(channel, method, next(contents) if method.has_content else None) for channel, method in received]

    def lose(self) -> None:
        """The socket is gone."""
        self._connection.on_lost()

    def close(self) -> None:
        """The node closes the connection because it stops."""
        self._connection.force_close("shutdown")
        self._connection.on_lost()


class NodeInProcess:
    """One incarnation of a node over `store`."""

    broker: Broker
    ids: MessageIdGenerator
    journal: GroupCommitJournal

    def __init__(
        self,
        store: Store,
        *,
        queue_limits: QueueLimits,
        journal_limits: JournalLimits,
        clock: count[int],
        config: Configuration | None = None,
        password_path: Path | None = None,
    ) -> None:
        """`clock` counts the milliseconds, over all incarnations. With a `password_path` the first start generates the
        administrator's password.
        """
        self.store = store
        self._has_passwords = password_path is not None
        self._queue_limits = queue_limits
        self._journal_limits = journal_limits
        self._clock = clock
        retrying_store, retry = RetryingStore(store), Retry("waiting for the store", Backoff(0.0, 0.0))
        self._lifecycle = Standalone(retrying_store, "node-a", retry)
        self._incarnation = NodeIncarnation(
            config or Configuration(origins={}),
            "node-a",
            retrying_store,
            clock := StoreClock(SystemClock()),
            TimeKeeper(retrying_store, clock),
            self._lifecycle,
            store_timeout=0.0,
            own_exchange_types={},
            password_path=password_path,
        )

    def monotonic(self) -> float:
        return 0.0

    def wall_ms(self) -> int:
        return START_MS + next(self._clock)

    async def open(self) -> None:
        """Open and register the store; until `start`, nothing but the store is there."""
        self._tasks = Tasks(asyncio.get_running_loop())
        self._loops = Tasks(asyncio.get_running_loop())
        await self.store.open()
        self._registration = await self.store.register("node-a")

    async def start(self) -> None:
        """Build the node as `NodeIncarnation.run` does."""
        incarnation, registration = self._incarnation, self._registration
        self.ids = MessageIdGenerator(registration.lane, registration.last_message_id)
        parts = NodeParts(
            self.store,
            tasks=self._tasks,
            journal_limits=self._journal_limits,
            ids=self.ids,
            high_water=registration.last_message_id,
            vhosts=incarnation.vhosts,
            clock=self,
        )
        self.dead_letters = parts.dead_letters
        incarnation.services = parts.services
        self.broker, self.journal = parts.broker, parts.journal
        incarnation.registration, incarnation.ids, incarnation.journal = registration, self.ids, self.journal
        self._lifecycle.attach(incarnation)
        incarnation.broker, incarnation.slot_reader = self.broker, parts.slot_reader
        incarnation.stream_reader = parts.stream_reader
        incarnation.build_stream_upkeep()
        incarnation.turns = Turns(self.broker.work)
        if self._has_passwords:
            incarnation.hashing = hashing_threads()
        await incarnation.restore(self._queue_limits)
        self._loops.create_task(self.journal.run())
        self._loops.create_task(self.dead_letters.run())
        self._shared = parts.shared_context(self._tasks.create_task, node_id="node-a")

    @property
    def administration(self) -> Administration:
        return self._incarnation.administration

    def connect(self) -> Client:
        return Client(self, self._shared)

    @property
    def queues(self) -> Mapping[str, Queue]:
        return self.broker.vhosts["/"].queues

    async def step(self) -> bool:
        """Wait for something that is under way; return False when nothing is."""
        if await self._tasks.wait():
            return True
        if not self.dead_letters.is_idle:
            await turns(1)
            return True
        if not self.journal.is_idle:
            waiting = asyncio.get_running_loop().create_task(_wait(self.journal))
            loops = self._loops._tasks
            await asyncio.wait({waiting, *loops}, return_when=asyncio.FIRST_COMPLETED)
            for loop in loops:
                if loop.done():
                    loop.result()
            return True
        return False

    async def stored(self) -> dict[int, list[Message]]:
        """Return what the store holds, by queue id."""
        messages: dict[int, list[Message]] = {}
        for slot in await self.store.backlog():
            queue = new_queue("any", slot.queue_id)
            messages[slot.queue_id] = await self.store.read(queue, slot, 1_000_000, 1 << 40)
        return messages

    async def crash(self) -> None:
        """Leave everything as it is; only what the store has committed remains."""
        await self._tasks.cancel()
        await self._loops.cancel()
        await self.store.close()

    async def stop(self, clients: list[Client]) -> None:
        """Stop in order, as `NodeIncarnation.run` does."""
        for client in clients:
            client.close()
        while await self._tasks.wait():
            pass
        while not self.dead_letters.is_idle:
            await turns(1)
        await self.journal.drain()
        await self._loops.cancel()
        await self._lifecycle.leave()
        await self.store.close()


async def _wait(journal: GroupCommitJournal) -> None:
    await journal.flushed()
