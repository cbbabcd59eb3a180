"""A database that holds tables of WSO2's message broker: used when nothing would be lost, left alone otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from broker.errors import ConfigError
from broker.store.server.opening import server_store
from broker.store.sql.schema import metadata
from tests.support.databases import DatabaseServer
from tests.support.wso2_database import Wso2Database, message_id

Add = Callable[[Wso2Database], None]


@pytest.fixture
def database(database_server: DatabaseServer) -> Iterator[Wso2Database]:
    made = Wso2Database(database_server)
    yield made
    made.close()


async def start(database: Wso2Database) -> None:
    """Open the store as a start does, or as `--setup` does."""
    store = server_store(database.datasource)
    await store.open()
    await store.close()


def set_aside(names: set[str]) -> set[str]:
    return {name for name in names if name.upper().startswith("WSO2_")}


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name in metadata.tables}


async def test_the_tables_that_the_script_makes_are_set_aside_and_the_database_is_used(database: Wso2Database) -> None:
    before = database.tables()

    await start(database)

    after = database.tables()
    assert {name.upper() for name in set_aside(after)} == {f"WSO2_{name.upper()}" for name in before}
    assert ours(after) == set(metadata.tables)
    await start(database)
    assert database.tables() == after


async def test_what_a_first_start_of_wso2_makes_is_nothing_that_could_be_lost(database: Wso2Database) -> None:
    database.first_start().fill()

    await start(database)

    assert ours(database.tables()) == set(metadata.tables)


def with_a_queue(database: Wso2Database) -> None:
    database.queue("orders")


def with_a_subscription(database: Wso2Database) -> None:
    database.subscription("mine", "news.sports")


def with_a_message(database: Wso2Database) -> None:
    database.message(message_id(1), "amqp_topic_news_1", b"x")


def with_an_exchange(database: Wso2Database) -> None:
    database.add("MB_EXCHANGE", "mine", "messageRouterName=mine,type=fanout,autoDelete=false")


def with_a_retained_message(database: Wso2Database) -> None:
    database.add("MB_RETAINED_METADATA", 1, "news", message_id(1), b"\2")


def with_a_prepared_transaction(database: Wso2Database) -> None:
    database.add("MB_DTX_XID", 1, "node", 1, b"g", b"b")


@pytest.mark.parametrize(
    ("database_server", "add", "found"),
    [
        ("mariadb", with_a_queue, "1 queue, 0 durable subscriptions, 0 messages"),
        ("mariadb", with_a_subscription, "0 queues, 1 durable subscription, 0 messages"),
        ("postgresql", with_a_queue, "1 queue, 0 durable subscriptions, 0 messages"),
        ("mariadb", with_a_message, "0 queues, 0 durable subscriptions, 1 message"),
        ("mariadb", with_an_exchange, "0 queues, 0 durable subscriptions, 1 exchange, 0 messages"),
        ("mariadb", with_a_retained_message, "0 queues, 0 durable subscriptions, 0 messages, 1 retained message"),
        (
            "mariadb",
            with_a_prepared_transaction,
            "0 queues, 0 durable subscriptions, 0 messages, 1 prepared transaction",
        ),
    ],
    indirect=["database_server"],
)
async def test_a_database_from_which_something_would_be_lost_is_refused_and_left_as_it_is(
    database: Wso2Database, add: Add, found: str
) -> None:
    database.first_start()
    add(database)
    database.fill()
    before = database.tables()

    with pytest.raises(ConfigError, match=f"message broker with {found}: .*python -m broker migrate --from-wso2"):
        await start(database)

    assert database.tables() == before


async def test_tables_that_were_set_aside_with_messages_are_still_looked_at(database: Wso2Database) -> None:
    await start(database)
    data = "queueName=q,queueOwner=a,isExclusive=false,isDurable=true"
    database.run(f"INSERT INTO WSO2_MB_QUEUE VALUES ('q', '{data}')")

    with pytest.raises(ConfigError, match="with 1 queue"):
        await start(database)


@pytest.mark.parametrize("database_server", ["mariadb"], indirect=True)
async def test_a_start_goes_on_where_a_crash_ended_the_renaming(database: Wso2Database) -> None:
    database.run("RENAME TABLE MB_MSG_STORE_STATUS TO WSO2_MB_MSG_STORE_STATUS, MB_CONTENT TO WSO2_MB_CONTENT")

    await start(database)

    assert len(set_aside(database.tables())) == 26
    assert ours(database.tables()) == set(metadata.tables)


@pytest.mark.parametrize("database_server", ["mariadb"], indirect=True)
async def test_a_name_that_is_taken_is_not_overwritten(database: Wso2Database) -> None:
    database.run("CREATE TABLE WSO2_MB_QUEUE (X INTEGER)")

    with pytest.raises(ConfigError, match="WSO2_MB_QUEUE: rename or drop"):
        await start(database)


@pytest.mark.parametrize("database_server", ["mariadb"], indirect=True)
async def test_a_part_of_the_tables_is_refused(database: Wso2Database) -> None:
    database.run("DROP TABLE MB_CONTENT")

    with pytest.raises(ConfigError, match="but not MB_CONTENT"):
        await start(database)


async def test_a_database_of_this_broker_stays_one_when_the_script_is_run_in_it_again(database: Wso2Database) -> None:
    await start(database)
    both = "MB_QUEUE_MAPPING (QUEUE_ID INTEGER, QUEUE_NAME VARCHAR(512))"
    database.run(f"CREATE TABLE {both}")

    await start(database)

    assert ours(database.tables()) == set(metadata.tables)
