"""Commits of PostgreSQL whose wait for the synchronous standby is cancelled: nothing is taken for done before the
standby has it (ADR 91).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pika
import pytest
from structlog.testing import capture_logs

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerProcess
from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable
from broker.ports.records import Drop, GlobalParameterKey, GlobalParameterRecord, Put, VirtualHostRecord
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from tests.contract.cluster_calls import beat, renew
from tests.contract.nodes import Node, Nodes, messages, row, slot
from tests.support.databases import DatabaseMissing
from tests.support.standbys import DEADLINE, PostgreSQLPair
from tests.support.waiting import wait_until

Call = Callable[[Node, Nodes], Awaitable[object]]

# Ends what waits for the standby, as an administrator does who sees sessions that hang.
CANCEL = "SELECT {}(pid) FROM pg_stat_activity WHERE wait_event='SyncRep'"
PAUSE = 0.05
STARTED_WITHIN = 120.0  # on a machine that is busy
TOLD = "a commit did not wait for the synchronous standby, and is not taken for done"
QUEUES = 'SELECT count(*) FROM "MB_QUEUE"'
STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE sync_state='sync' AND state='streaming'"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def pair() -> Iterator[PostgreSQLPair]:
    try:
        servers = PostgreSQLPair(is_synchronous=True)
    except DatabaseMissing as error:
        pytest.skip(str(error))
    with servers:
        yield servers


@pytest.fixture
async def nodes(pair: PostgreSQLPair) -> AsyncIterator[Nodes]:
    name = pair.primary.create_database()
    url = pair.url.replace(f"/{pair.database}?", f"/{name}?")
    made = Nodes(lambda: server_store(PoolConfiguration(url=url), is_shared=True))
    yield made
    await made.close()


@asynccontextmanager
async def lonely(
    pair: PostgreSQLPair, function: str = "pg_cancel_backend", *, is_killed: bool = False
) -> AsyncIterator[None]:
    """The standby stands still, or it is killed, and whoever waits for it is cancelled; in the end it goes on."""
    place = {"host": str(pair.primary.socket.parent), "port": pair.primary.port}
    administrator = await asyncpg.connect(**place, user="postgres", database="postgres")

    async def cancel() -> None:
        while True:
            await administrator.execute(CANCEL.format(function))
            await asyncio.sleep(PAUSE)

    stop, go_on = (pair.standby.kill9, pair.standby.start) if is_killed else (pair.standby.suspend, pair.standby.resume)
    stop()
    cancelling = asyncio.get_running_loop().create_task(cancel())
    try:
        yield
    finally:
        cancelling.cancel()
        await asyncio.wait([cancelling])
        go_on()
        await administrator.close()
        await asyncio.to_thread(wait_until, lambda: pair.primary.sql(STREAMING) == "1", DEADLINE, "a standby")


async def declared(node: Node, _: Nodes) -> object:
    page = await node.store.events.events(0, 1)
    changes = [Put(VirtualHostRecord("somewhere"))]
    return await node.store.events.record(changes, b"{}", expected=page.last, token="t", incarnation=node.incarnation)


SOMETHING = GlobalParameterRecord("something")
A_BATCH = Batch(inserts=messages(0, 1))
CALLS: dict[str, Call] = {
    "a batch": lambda node, _: node.store.write(A_BATCH),
    "a declaration": declared,
    "a record of a standalone broker": lambda node, _: node.store.record([Put(GlobalParameterRecord("anything"))]),
    "queue ids": lambda node, _: node.store.reserve_queue_ids(10),
    "a beat": lambda node, _: beat(node.store.cluster, "a", node.incarnation.id),
    "a lease": lambda node, nodes: renew(node.store.cluster, nodes.fence.epoch, nodes.fence.term),
    "a slot": lambda node, _: node.give(slot(node.lane, 5, 6)),
    "an assignment": lambda node, nodes: node.store.slots.assign(
        [row(slot(node.lane, 3, 4))], node.incarnation, nodes.fence
    ),
    "a deletion, of which the second leaves nothing to write": lambda node, _: node.store.record(
        [Drop(GlobalParameterKey("something"))]
    ),
}


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
@pytest.mark.parametrize("what", CALLS)
async def test_what_a_standby_has_not_got_is_not_taken_for_done(
    pair: PostgreSQLPair, nodes: Nodes, what: str, how: str
) -> None:
    call = CALLS[what]
    node = await nodes.join("a")
    await nodes.coordinate(node)
    await node.insert(*messages(node.lane, 3, 4))
    await node.give(slot(node.lane, 3, 4))
    await node.store.record([Put(SOMETHING)])

    with capture_logs() as logs:
        async with lonely(pair, how):
            for _ in range(3):  # done again, it finds on this server what it has done, and writes nothing
                with pytest.raises(StoreUnavailable):
                    await call(node, nodes)

    assert (TOLD in [line["event"] for line in logs]) is (how == "pg_cancel_backend")
    await call(node, nodes)


@pytest.fixture
def broker(pair: PostgreSQLPair, tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker that confirms nothing while a setting can lose it."""
    process = BrokerProcess(tmp_path, NodeConfiguration(pair.url))
    settings = tmp_path / "conf" / "broker.xml"
    enforced = "<persistence><storeSafetyCheck>enforce</storeSafetyCheck></persistence></broker>"
    settings.write_text(settings.read_text().replace("</broker>", enforced))
    process.start(STARTED_WITHIN)
    yield process
    process.close()


async def test_a_client_is_told_of_a_queue_when_the_standby_has_it_and_publishers_wait(
    pair: PostgreSQLPair, broker: BrokerProcess
) -> None:
    publisher = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = publisher.channel()
    channel.queue_declare("before", durable=True)
    declarer = pika.BlockingConnection(pika.URLParameters(broker.url)).channel()
    told: list[str] = []
    publisher.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
    publisher.add_on_connection_unblocked_callback(lambda *_: told.append("go on"))

    async def until(number: int) -> None:
        """Go on publishing until so many answers have come: a client is blocked at its next publish."""
        async with asyncio.timeout(DEADLINE):
            while len(told) < number:
                if not told:
                    channel.basic_publish("", "before", b"m", pika.BasicProperties(delivery_mode=2))
                await asyncio.to_thread(publisher.process_data_events, 0.1)

    with ThreadPoolExecutor(1) as thread:
        async with lonely(pair, is_killed=True):
            answer = asyncio.get_running_loop().run_in_executor(thread, declarer.queue_declare, "during", False, True)
            await until(1)
            assert "no such standby is connected" in told[0]
            assert pair.primary.sql(QUEUES, pair.database) == "2"
            assert not answer.done()
        await asyncio.wait_for(answer, DEADLINE)
        await until(2)
    declarer.connection.close()
    publisher.close()
    assert TOLD in broker.log
    assert told[1:] == ["go on"]
    assert pair.standby.sql(QUEUES, pair.database) == "2"
