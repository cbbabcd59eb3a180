"""A broker whose users are in a database of WSO2's, which other products go on using."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import escape

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.process import BrokerProcess
from tests.support.carbon_database import Carbon, People, ServerCarbon
from tests.support.waiting import wait_until

SOURCES = """<datasources-configuration><datasources>
<datasource><name>WSO2_MB_STORE_DB</name><jndiConfig><name>WSO2MBStoreDB</name></jndiConfig><definition><configuration>
<url>jdbc:sqlite:{data}/mb.db</url></configuration></definition></datasource>
<datasource><name>WSO2UM_DB</name><jndiConfig><name>jdbc/WSO2UMDB</name></jndiConfig><definition><configuration>
<url>{url}</url></configuration></definition></datasource>
</datasources></datasources-configuration>"""
USERS = """<UserManager><Realm><Configuration>
<AddAdmin>true</AddAdmin><AdminRole>admin</AdminRole>
<AdminUser><UserName>admin</UserName><Password>opensesame</Password></AdminUser>
<EveryOneRoleName>everyone</EveryOneRoleName>
<Property name="dataSource">jdbc/WSO2UMDB</Property><Property name="userCacheSeconds">1</Property>
</Configuration></Realm></UserManager>"""


NO_REGISTRY = "<wso2registry/>"
REGISTRY = """<wso2registry>
<dbConfig name="gov"><dataSource>jdbc/WSO2UMDB</dataSource></dbConfig>
<remoteInstance url="https://localhost"><id>gov</id><dbConfig>gov</dbConfig></remoteInstance>
<mount path="/_system/governance" overwrite="true"><instanceId>gov</instanceId>
<targetPath>/_system/governance</targetPath></mount>
</wso2registry>"""


def people() -> People:
    return (
        People()
        .user("admin", "opensesame", "admin")
        .user("alice", "alice-1", "Internal/Q_orders")
        .user("carol", "carol-1")
        .role("Internal/everyone")
        .user("owner", "owner-1", "makers")
        .permit("admin", "/permission", "ui.execute")
        .permit("makers", "/permission/admin/manage/queue/add", "ui.execute")
        .permit("makers", "/permission/admin/manage/topic/add", "ui.execute")
        .permit("Internal/Q_orders", "event/queues/jms/orders", "consume", "publish", "changePermission")
    )


@pytest.fixture(params=["mariadb-latin1"])
def carbon(request: pytest.FixtureRequest) -> Iterator[Carbon]:
    kind, _, charset = request.param.partition("-")
    made = ServerCarbon(request.getfixturevalue(kind), charset or None)
    made.run(str(people()))
    yield made
    made.close()


@pytest.fixture(params=[NO_REGISTRY])
def broker(request: pytest.FixtureRequest, carbon: Carbon, tmp_path: Path) -> Iterator[BrokerProcess]:
    process = BrokerProcess(tmp_path)
    sources = process.config / "datasources" / "master-datasources.xml"
    sources.write_text(SOURCES.format(data=tmp_path / "data", url=escape(carbon.url)))
    (process.config / "user-mgt.xml").write_text(USERS)
    (process.config / "registry.xml").write_text(request.param)
    process.start()
    yield process
    print(process.log)
    if process.is_running():
        process.stop()


Connect = Callable[[str, str], BlockingChannel]


@pytest.fixture
def channel_of(broker: BrokerProcess) -> Iterator[Connect]:
    """Opens a channel on a connection of its own, which ends with the test."""
    connections: list[pika.BlockingConnection] = []

    def open_channel(user: str, password: str) -> BlockingChannel:
        credentials = pika.PlainCredentials(user, password)
        parameters = pika.ConnectionParameters("127.0.0.1", broker.port, "carbon", credentials, heartbeat=0)
        connections.append(pika.BlockingConnection(parameters))
        return connections[-1].channel()

    yield open_channel
    for connection in connections:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def test_users_and_roles_of_wso2_count_and_their_database_stays_as_it_is(carbon: Carbon, channel_of: Connect) -> None:
    before = carbon.dump()
    admin = channel_of("admin", "opensesame")
    admin.queue_declare("orders", durable=True)
    alice = channel_of("ALICE!carbon.super", "alice-1")
    alice.basic_publish("", "orders", b"1")
    assert alice.basic_get("orders", auto_ack=True)[2] == b"1"
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="configure access to queue 'mine'"):
        alice.queue_declare("mine")
    carol = channel_of("carol", "carol-1")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="read access to queue 'orders'"):
        carol.basic_get("orders")
    for user, password in (("alice", "wrong-1"), ("guest", "guest")):
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            channel_of(user, password)
    assert carbon.dump() == before


@pytest.mark.parametrize("carbon", ["postgresql"], indirect=True)
def test_a_role_that_is_given_or_taken_counts_for_open_connections(
    carbon: Carbon, broker: BrokerProcess, channel_of: Connect
) -> None:
    channel_of("admin", "opensesame").queue_declare("orders", durable=True)
    carol = channel_of("carol", "carol-1")
    carbon.run(
        "INSERT INTO UM_HYBRID_USER_ROLE (UM_USER_NAME, UM_ROLE_ID, UM_TENANT_ID, UM_DOMAIN_ID)"
        " SELECT 'carol', r.UM_ID, -1234, d.UM_DOMAIN_ID FROM UM_HYBRID_ROLE r, UM_DOMAIN d"
        " WHERE r.UM_ROLE_NAME = 'Q_orders' AND d.UM_DOMAIN_NAME = 'PRIMARY';"
    )
    connection = carol.connection

    def may_consume() -> bool:
        try:
            connection.channel().basic_consume("orders", lambda *_: None)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        return True

    wait_until(may_consume, 10.0, "carol may consume", [broker])
    carbon.run("DELETE FROM UM_HYBRID_USER_ROLE WHERE UM_USER_NAME = 'carol';")
    wait_until(lambda: not may_consume(), 10.0, "carol may not consume any more", [broker])


@pytest.mark.parametrize(("carbon", "broker"), [("mariadb-latin1", REGISTRY)], indirect=True)
def test_what_comes_and_goes_is_in_the_registry_and_its_creator_has_it(
    carbon: Carbon, broker: BrokerProcess, channel_of: Connect
) -> None:
    top = "/_system/governance/event"

    def collections() -> set[str]:
        rows = carbon.rows(
            "SELECT p.REG_PATH_VALUE FROM REG_PATH p JOIN REG_RESOURCE r ON r.REG_PATH_ID = p.REG_PATH_ID"
            f" WHERE p.REG_PATH_VALUE LIKE '{top}/%/%'"
        )
        return {path.removeprefix(top) for (path,) in rows}

    def granted() -> set[tuple[str, ...]]:
        return set(
            carbon.rows(
                "SELECT g.UM_ROLE_NAME, p.UM_RESOURCE_ID, p.UM_ACTION FROM UM_ROLE_PERMISSION g JOIN UM_PERMISSION p"
                " ON p.UM_ID = g.UM_PERMISSION_ID"
            )
        )

    def await_collection(path: str) -> None:
        # An answer waits for it for a second, which may not be enough on a busy machine.
        wait_until(lambda: path in collections(), 10.0, f"{path} is there", [broker])

    before = granted()
    owner = channel_of("owner", "owner-1")
    owner.queue_declare("Shop.Mine", durable=True)
    queue = "event/queues/jms/shop.mine"
    await_collection("/queues/jms/shop.mine")
    own = {("Q_shop-mine", queue, each) for each in ("consume", "publish", "changePermission")}
    wait_until(lambda: granted() - before == own, 10.0, "the creator has its queue", [broker])
    owner.basic_publish("", "Shop.Mine", b"1")
    assert owner.basic_get("Shop.Mine", auto_ack=True)[2] == b"1"
    owner.queue_bind("Shop.Mine", "amq.topic", "sport.cricket")
    await_collection("/topics/sport/cricket/jms.subscriptions/shop.mine")
    subscribes = ("T_sport-cricket", "event/topics/sport", "subscribe")
    wait_until(lambda: subscribes in granted(), 10.0, "the creator may subscribe", [broker])
    owner.basic_publish("amq.topic", "sport.cricket", b"2")
    assert owner.basic_get("Shop.Mine", auto_ack=True)[2] == b"2"

    admin = channel_of("admin", "opensesame")
    admin.queue_declare("plain", durable=True)
    await_collection("/queues/jms/plain")
    assert not {row for row in granted() if "plain" in row[1]}
    admin.queue_delete("Shop.Mine")
    wait_until(lambda: "/queues/jms/shop.mine" not in collections(), 10.0, "the collection is gone", [broker])
    wait_until(lambda: not {row for row in granted() if row[1] == queue}, 10.0, "the rows are gone", [broker])
    assert "/topics/sport/cricket" in collections()
    assert "/topics/sport/cricket/jms.subscriptions/shop.mine" not in collections()
