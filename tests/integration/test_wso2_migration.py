"""What a database of WSO2's message broker holds is moved, killed in the midst of it, and consumed here."""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import lz4.block
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerProcess
from broker.config.configuration import Configuration
from broker.config.loading import load
from broker.errors import ConfigError, StoreLocked
from broker.node import migrate_command
from broker.node.migration import Migration, Report
from broker.store.server.opening import server_store
from broker.store.wso2 import progress
from broker.store.wso2.database import Database
from broker.store.wso2.liveness import other_sessions
from tests.support.databases import DatabaseServer
from tests.support.wso2_database import Wso2Database, jms_headers, message_id

ORDERS = 250
LARGE = bytes(range(256)) * 800
COMPRESSED = b"many words of one kind, " * 20_000
LONG = "q" * 300
FUTURE_MS = int(time.time() * 1000) + 3_600_000
PAST_MS = 1_600_000_000_000


def fill(database: Wso2Database) -> None:
    """Write what a cluster of two nodes may leave."""
    database.first_start()
    database.queue("orders")
    database.queue("audit")
    database.subscription("mine", "news.sports")
    database.queue("amqp_topic_news_node", durable=False, bound_to=("amq.topic", "news"))
    for number in range(ORDERS):
        properties = jms_headers(number=number)
        database.message(message_id(number, 1 + number % 2), "orders", b"o%d" % number, properties=properties)
    database.message(message_id(1001), "audit", LARGE)
    database.message(message_id(1002), "audit", b"")
    block = lz4.block.compress(COMPRESSED, store_size=False)
    database.message(message_id(1003), "audit", COMPRESSED, stored=block, compressed=True)
    database.message(message_id(1004), "audit", b"old", compressed=None)
    database.message(message_id(1005), "audit", b"expires later", expires_ms=FUTURE_MS)
    database.message(message_id(1006), "audit", b"has expired", expires_ms=PAST_MS)
    for number in (2001, 2002, 2003):
        database.message(message_id(number), "carbon:mine", b"n%d" % number, exchange="amq.topic", key="news.sports")
    database.message(message_id(3001), "orders", b"dead", dead=True)
    database.message(message_id(3002), "carbon:mine", b"dead, too", dead=True, exchange="amq.topic", key="news.sports")
    database.message(message_id(4001), "orders", b"", octets=b"\2of MQTT")
    database.message(message_id(4002), "orders", LARGE, stored=LARGE[:70_000])
    database.message(message_id(4003), "amqp_topic_news_node", b"for a subscriber", exchange="amq.topic", key="news")
    database.message(message_id(4004), LONG, b"of a name that AMQP has no room for", key="long")
    database.add("MB_RETAINED_METADATA", 1, "news", message_id(5001), b"\2")
    database.add("MB_QUEUE_TO_LAST_ASSIGNED_ID", "orders", message_id(9, 2))
    database.fill()


def config_of(folder: Path) -> Configuration:
    return load(folder, {}).config


def migrate(config: Configuration, *arguments: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed."""
    options: argparse.Namespace = migrate_command.parser().parse_args(["--from-wso2", *arguments])
    with redirect_stdout(io.StringIO()) as printed:
        code = migrate_command.run(options, config)
    return code, printed.getvalue()


async def at_once(_: float) -> None:
    await asyncio.sleep(0.05)


def killed(config: Configuration, arrange: Callable[[], None] = lambda: None) -> int:
    """Import in a process of its own that kills itself; return the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            arrange()
            migration = Migration(config, say=lambda _: None, show=lambda *_: kill(), sleep=at_once)
            asyncio.run(migration.run())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_before_commit() -> None:
    """Let the next part be written, but not committed."""
    write = progress.write

    def write_and_die(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        kill()

    progress.write = write_and_die


def start(database: Wso2Database) -> str:
    """Open the store as a start does; return why it is refused."""

    async def attempt() -> None:
        store = server_store(database.datasource)
        await store.open()
        await store.close()

    try:
        asyncio.run(attempt())
    except ConfigError as error:
        return str(error)
    return ""


@dataclass
class Consumed:
    """What clients find in a queue: bodies in order, and properties by body."""

    bodies: list[bytes] = field(default_factory=list)
    properties: dict[bytes, pika.BasicProperties] = field(default_factory=dict)
    redelivered: list[bytes] = field(default_factory=list)
    routing: dict[bytes, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Moved:
    """One import with all that came before and after it."""

    database: Wso2Database
    dry: tuple[int, str]
    signals: list[int]
    refusals: list[str]
    last: tuple[int, str]
    again: tuple[int, str]
    queues: dict[str, Consumed]
    tables: set[str]


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def moved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    server: DatabaseServer = request.getfixturevalue(request.param)
    database = Wso2Database(server)
    fill(database)
    broker = BrokerProcess(tmp_path_factory.mktemp("broker") / "node", NodeConfiguration(database.url))
    config = config_of(broker.config)
    tables = database.tables()
    dry = migrate(config, "--dry-run")
    assert database.tables() == tables
    refusals = [start(database)]
    signals = [killed(config)]
    refusals.append(start(database))
    signals.append(killed(config, kill_before_commit))
    last = migrate(config)
    again = migrate(config)
    refusals.append(start(database))
    broker.start()
    try:
        with pika.BlockingConnection(parameters(broker)) as connection:
            channel = connection.channel()
            channel.basic_publish("amq.topic", "news.sports", b"new")
            channel.basic_publish("amq.direct", "orders", b"new")
            names = ("orders", "audit", "carbon:mine", "deadletterchannel")
            queues = {name: drained(channel, name) for name in names}
    finally:
        broker.stop()
    yield Moved(database, dry, signals, refusals, last, again, queues, database.tables())
    database.close()


def parameters(broker: BrokerProcess) -> pika.ConnectionParameters:
    credentials = pika.PlainCredentials("guest", "guest")
    return pika.ConnectionParameters("127.0.0.1", broker.port, "carbon", credentials, heartbeat=0)


def drained(channel: BlockingChannel, queue: str) -> Consumed:
    found = Consumed()
    for _ in range(ORDERS * 2):
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            break
        found.bodies.append(body)
        found.properties[body] = properties
        found.routing[body] = (method.exchange, method.routing_key)
        if method.redelivered:
            found.redelivered.append(body)
    return found


def test_two_kills_lose_and_repeat_nothing(moved: Moved) -> None:
    assert moved.signals == [-signal.SIGKILL, -signal.SIGKILL]
    assert moved.queues["orders"].bodies == [b"o%d" % number for number in range(ORDERS)] + [b"new"]


def test_a_start_is_refused_before_the_import_and_in_the_midst_of_it(moved: Moved) -> None:
    before, midst, after = moved.refusals
    assert "2 queues, 1 durable subscription, 265 messages (of them 2 dead), 1 retained message" in before
    assert "moved here only in part: run 'python -m broker migrate --from-wso2" in midst
    assert after == ""


def test_bodies_of_all_kinds_come_as_they_were(moved: Moved) -> None:
    assert moved.queues["audit"].bodies == [LARGE, b"", COMPRESSED, b"old", b"expires later"]


def test_properties_and_headers_come_as_they_were(moved: Moved) -> None:
    found = moved.queues["orders"].properties[b"o7"]
    assert (found.content_type, found.delivery_mode) == ("text/plain", 2)
    assert found.headers["number"] == 7
    assert moved.queues["audit"].properties[b"expires later"].expiration == str(FUTURE_MS)


def test_only_what_was_in_a_slot_counts_as_delivered_before(moved: Moved) -> None:
    assert moved.queues["orders"].redelivered == [b"o%d" % number for number in range(10)]


def test_a_durable_subscription_has_its_messages_and_its_topic(moved: Moved) -> None:
    found = moved.queues["carbon:mine"]
    assert found.bodies == [b"n2001", b"n2002", b"n2003", b"new"]
    assert found.routing[b"n2001"] == ("amq.topic", "news.sports")


def test_dead_letters_are_in_the_channel_and_say_where_they_died(moved: Moved) -> None:
    found = moved.queues["deadletterchannel"]
    assert found.bodies == [b"dead", b"dead, too"]
    headers = [found.properties[body].headers for body in found.bodies]
    assert [each["x-last-death-queue"] for each in headers] == ["orders", "carbon:mine"]
    assert {each["x-last-death-reason"] for each in headers} == {"unknown"}
    assert found.routing[b"dead, too"] == ("amq.topic", "news.sports")


def test_what_cannot_be_read_is_listed_and_left(moved: Moved) -> None:
    code, printed = moved.last
    assert code == 1
    assert f"left: the message {message_id(4001)} of the queue 'orders': it is of MQTT" in printed
    assert f"left: the message {message_id(4002)} of the queue 'orders': its body has 70000 octets" in printed
    assert f"left: the message {message_id(4004)} of the queue '{LONG}': there is no such queue here" in printed
    low = moved.database.kind == "postgresql"
    assert {name for name in moved.tables if "METADATA" in name.upper() and name.upper().startswith("WSO2_")} == (
        {"wso2_mb_metadata", "wso2_mb_retained_metadata"} if low else {"WSO2_MB_METADATA", "WSO2_MB_RETAINED_METADATA"}
    )
    assert moved.database.rows("SELECT COUNT(*) FROM WSO2_MB_METADATA") == [["265"]]


def test_the_summary_counts_everything_whatever_was_killed(moved: Moved) -> None:
    _, printed = moved.last
    first, *others = printed.splitlines()[-4:]
    assert first.endswith("0 new bindings, 259 messages, 2 dead letters")
    assert others == [
        "not moved: 1 message of topics for subscribers that did not last",
        "not moved: 1 retained message of MQTT",
        "not moved: 3 messages that cannot be read",
    ]


def test_a_dry_run_reads_everything_and_says_what_would_be_moved(moved: Moved) -> None:
    code, printed = moved.dry
    assert code == 1
    assert "would be moved: 3 new queues, 1 new durable subscription, 0 new exchanges, 3 new bindings, 259" in printed


def test_another_run_moves_nothing_again(moved: Moved) -> None:
    assert moved.again[1].splitlines()[1] == "everything had been moved before"


# Who may be there, and other databases


@pytest.fixture
def source(database_server: DatabaseServer) -> Iterator[Wso2Database]:
    made = Wso2Database(database_server).first_start()
    made.queue("orders")
    made.message(message_id(1), "orders", b"one")
    made.message(message_id(2), "orders", b"two")
    yield made.fill()
    made.close()


def configured(folder: Path, url: str) -> Configuration:
    NodeConfiguration(url).write(folder)
    return config_of(folder)


async def imported(config: Configuration, sleep: Callable[[float], object] = at_once, **more: object) -> Report:
    return await Migration(config, say=lambda _: None, sleep=sleep, **more).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("database_server", ["mariadb"], indirect=True)
async def test_a_node_of_wso2_that_beats_is_noticed(source: Wso2Database, tmp_path: Path) -> None:
    source.add("MB_NODE_HEARTBEAT", "NODE:a:4100", 1_000, 0, "127.0.0.1", 4100)
    source.fill()
    before = source.tables()

    async def beat(_: float) -> None:
        source.run("UPDATE MB_NODE_HEARTBEAT SET LAST_HEARTBEAT = 6000")

    with pytest.raises(ConfigError, match="the node 'NODE:a:4100' of WSO2's broker is alive"):
        await imported(configured(tmp_path, source.url), beat)

    assert source.tables() == before


@pytest.mark.parametrize("database_server", ["mariadb"], indirect=True)
async def test_a_node_of_wso2_that_beats_no_more_does_not_count(source: Wso2Database, tmp_path: Path) -> None:
    source.add("MB_NODE_HEARTBEAT", "NODE:a:4100", int(time.time() * 1000), 0, "127.0.0.1", 4100)
    source.fill()

    assert (await imported(configured(tmp_path, source.url))).progress.moved == 2


async def test_other_connections_to_the_database_are_noticed(source: Wso2Database, tmp_path: Path) -> None:
    config, other = configured(tmp_path, source.url), Database(source.datasource)
    await other.open()
    await other.run(other_sessions)

    with pytest.raises(ConfigError, match=r"is in use by broker@.*--ignore-connections"):
        await imported(config)

    assert (await imported(config, ignores_sessions=True)).progress.moved == 2
    await other.close()


@pytest.mark.parametrize("database_server", ["mariadb"], indirect=True)
async def test_a_broker_of_this_kind_that_is_there_is_noticed(
    source: Wso2Database, database_server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.store.server.store._LOCK_TIMEOUT", 0.2)
    name = database_server.create_database()
    config = configured(tmp_path, database_server.jdbc_url(name))
    store = server_store(config.datasource)
    await store.open()

    with pytest.raises(StoreLocked, match="in use by another broker"):
        await imported(config, source=source.datasource)

    await store.close()
    database_server.drop_database(name)


@pytest.mark.parametrize("database_server", ["mariadb"], indirect=True)
async def test_another_database_is_read_and_never_changed(
    source: Wso2Database, database_server: DatabaseServer, tmp_path: Path
) -> None:
    name = database_server.create_database()
    config, tables = configured(tmp_path, database_server.jdbc_url(name)), source.tables()

    first = await imported(config, source=source.datasource)
    second = await imported(config, source=source.datasource)

    assert (first.progress.moved, first.was_done, second.progress.moved, second.was_done) == (2, False, 2, True)
    assert source.tables() == tables
    store = server_store(config.datasource)
    await store.open()
    assert [(slot.count, slot.lane) for slot in await store.backlog()] == [(2, 255)]
    await store.close()
    database_server.drop_database(name)


@pytest.mark.parametrize("database_server", ["mariadb"], indirect=True)
async def test_a_message_whose_id_is_taken_gets_the_next_one(
    source: Wso2Database, database_server: DatabaseServer, tmp_path: Path
) -> None:
    name = database_server.create_database()
    config = configured(tmp_path, database_server.jdbc_url(name))
    store = server_store(config.datasource)
    await store.open()
    await store.close()
    first, second = (message_id(number, 255) + 1 for number in (1, 2))
    values = f"{first}, 999, 0, '', ''"
    columns = "MESSAGE_ID, QUEUE_ID, REDELIVERED, MESSAGE_METADATA, MESSAGE_CONTENT"
    database_server.sql(f"INSERT INTO MB_METADATA ({columns}) VALUES ({values})", name)

    await imported(config, source=source.datasource)

    ids = database_server.sql("SELECT MESSAGE_ID FROM MB_METADATA WHERE QUEUE_ID <> 999 ORDER BY 1", name).split()
    assert ids == [str(first + 1), str(second)]
    database_server.drop_database(name)


@pytest.mark.parametrize("given", ["jdbc:h2:./repository/database/WSO2MB_DB", "jdbc:sqlite:/tmp/mb.db"])
def test_a_source_that_cannot_be_read_is_refused(given: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path, "jdbc:mysql://127.0.0.1:1/none?user=a&password=b")

    assert migrate(config, "--source", given)[0] == 78
    assert "MariaDB, MySQL and PostgreSQL" in capfd.readouterr().err.replace("or", "and")


def test_a_source_that_is_no_datasource_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path, "jdbc:mysql://127.0.0.1:1/none?user=a&password=b")

    assert migrate(config, "--source", "WSO2Other")[0] == 78
    assert "no datasource has the JNDI name 'WSO2Other'" in capfd.readouterr().err
