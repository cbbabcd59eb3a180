"""The steps of WSO2's guide to a cluster, with the elements of its own files: two nodes, and a third that is a copy.

Knows the files as an administrator of WSO2 has them; what is not said in them is this broker's default.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from benchmarks.nodes.ports import HOST, quiet_port
from benchmarks.nodes.process import BrokerProcess
from tests.cluster.clients import consume, numbered, publish
from tests.cluster.conftest import ChannelOf
from tests.support.databases import PASSWORD, USER, DatabaseServer
from tests.support.waiting import wait_until

BEAT = 1.5
STARTED_WITHIN = 60.0

BROKER_XML = """\
<broker>
    <coordination>
        <nodeID>default</nodeID>
        <thriftServerHost>{host}</thriftServerHost>
        <thriftServerPort>{thrift_port}</thriftServerPort>
        <thriftSOTimeout>0</thriftSOTimeout>
        <thriftServerReconnectTimeout>5</thriftServerReconnectTimeout>
        <rdbmsBasedCoordination enabled="{in_database}">
            <heartbeatInterval>1500</heartbeatInterval>
            <coordinatorEntryCreationWaitTime>900</coordinatorEntryCreationWaitTime>
            <eventPollingInterval>1200</eventPollingInterval>
        </rdbmsBasedCoordination>
        <rdbmsBasedClusterEventSynchronization enabled="{in_database}">
            <eventSyncInterval>1000</eventSyncInterval>
        </rdbmsBasedClusterEventSynchronization>
    </coordination>
    <transports>
        <amqp enabled="true">
            <bindAddress>{host}</bindAddress>
            <defaultConnection enabled="true" port="{amqp_port}"/>
            <sslConnection enabled="false" port="8672"/>
        </amqp>
        <mqtt enabled="false"/>
    </transports>
    <persistence>
        <messageStore class="org.wso2.andes.store.rdbms.RDBMSMessageStoreImpl">
            <property name="dataSource">WSO2MBStoreDB</property>
        </messageStore>
        <contextStore class="org.wso2.andes.store.rdbms.RDBMSAndesContextStoreImpl">
            <property name="dataSource">WSO2MBStoreDB</property>
        </contextStore>
    </persistence>
    <management>
        <http enabled="false" port="0"/><metrics enabled="false" port="0"/><console enabled="false" port="0"/>
    </management>
</broker>
"""

AXIS2_XML = """\
<axisconfig name="AxisJava2.0">
    <clustering class="org.wso2.carbon.core.clustering.hazelcast.HazelcastClusteringAgent" enable="true">
        <parameter name="AvoidInitiation">true</parameter>
        <parameter name="membershipScheme">wka</parameter>
        <parameter name="domain">wso2.mb.domain</parameter>
        <parameter name="localMemberHost">{host}</parameter>
        <parameter name="localMemberPort">{member_port}</parameter>
        <members>
            <member><hostName>{host}</hostName><port>{first}</port></member>
            <member><hostName>{host}</hostName><port>{second}</port></member>
        </members>
        <groupManagement enable="false"/>
    </clustering>
</axisconfig>
"""

CARBON_XML = """\
<Server xmlns="http://wso2.org/projects/carbon/carbon.xml"><Ports><Offset>{offset}</Offset></Ports></Server>
"""

DATASOURCES_XML = """\
<datasources-configuration xmlns:svns="http://org.wso2.securevault/configuration">
    <providers><provider>org.wso2.carbon.ndatasource.rdbms.RDBMSDataSourceReader</provider></providers>
    <datasources>
        <datasource>
            <name>WSO2_MB_STORE_DB</name>
            <description>The store of the message broker</description>
            <jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
            <definition type="RDBMS">
                <configuration>
                    <url>{url}</url>
                    <username>{user}</username>
                    <password>{password}</password>
                    <driverClassName>com.mysql.jdbc.Driver</driverClassName>
                    <maxActive>50</maxActive>
                    <maxWait>60000</maxWait>
                    <testOnBorrow>true</testOnBorrow>
                    <validationQuery>SELECT 1</validationQuery>
                    <validationInterval>30000</validationInterval>
                    <defaultAutoCommit>false</defaultAutoCommit>
                </configuration>
            </definition>
        </datasource>
    </datasources>
</datasources-configuration>
"""

HAZELCAST_PROPERTIES = """\
hazelcast.shutdownhook.enabled=false
hazelcast.logging.type=log4j
hazelcast.max.no.heartbeat.seconds=600
"""


@dataclass(frozen=True, slots=True)
class GuideNode:
    """The folder of one node of the guide."""

    number: int
    files: dict[str, str]
    base_port: int
    member_port: int

    @property
    def port(self) -> int:
        """Where it listens for clients."""
        return self.base_port + self.number

    @property
    def node_id(self) -> str:
        """What it is called, as long as its member's port is free."""
        return f"NODE:{HOST}:{self.member_port}"

    def write(self, folder: Path) -> None:
        """Make the files, in WSO2's places."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@dataclass(frozen=True, slots=True)
class CopyOf:
    """The folder of a node, copied and changed in a few places."""

    number: int
    original: GuideNode
    folder: Path
    changes: Sequence[tuple[str, str, str]]
    member_port: int

    @property
    def port(self) -> int:
        return self.original.base_port + self.number

    @property
    def node_id(self) -> str:
        return f"NODE:{HOST}:{self.member_port}"

    def write(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder)
        for name, old, new in self.changes:
            text = (folder / name).read_text()
            assert text.count(old) == 1
            (folder / name).write_text(text.replace(old, new))


def guide_nodes(url: str, *, in_database: bool) -> list[GuideNode]:
    amqp, thrift, member = quiet_port(3), quiet_port(3), quiet_port(3)
    common = {
        "broker.xml": BROKER_XML.format(
            host=HOST, amqp_port=amqp, thrift_port=thrift, in_database=str(in_database).lower()
        ),
        "datasources/master-datasources.xml": DATASOURCES_XML.format(url=escape(url), user=USER, password=PASSWORD),
        "hazelcast.properties": HAZELCAST_PROPERTIES,
    }
    return [
        GuideNode(
            number,
            {
                **common,
                "carbon.xml": CARBON_XML.format(offset=number),
                "axis2/axis2.xml": AXIS2_XML.format(
                    host=HOST, member_port=member + number, first=member, second=member + 1
                ),
            },
            amqp,
            member + number,
        )
        for number in range(2)
    ]


def all_say(word: str, of: str, nodes: Sequence[BrokerProcess], deadline: float) -> None:
    """Return when every console of `nodes` has a line with this word and the id of a node."""
    wait_until(
        lambda: all(node.output.events(word, member=of) for node in nodes), deadline, f"{word}: {of}", list(nodes)
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("in_database", [True, False], ids=["database", "peers"])
def test_the_steps_of_the_guide_make_a_cluster_and_a_copied_folder_is_its_third_node(
    mariadb: DatabaseServer, tmp_path: Path, channel_of: ChannelOf, in_database: bool
) -> None:
    database = mariadb.create_database()
    url = mariadb.jdbc_url(database).partition("?")[0].replace("jdbc:mariadb:", "jdbc:mysql:")
    first, second = guide_nodes(url, in_database=in_database)
    nodes = [BrokerProcess(tmp_path / f"node{each.number + 1}", each) for each in (first, second)]  # type: ignore[arg-type]
    try:
        for node in nodes:
            node.start(STARTED_WITHIN)
        all_say("Member joined", second.node_id, nodes[:1], 8 * BEAT)
        all_say("Member joined", first.node_id, nodes[1:], 8 * BEAT)

        # On one machine a copy needs its own offset. As a peer it takes the next port for members by itself.
        changes = [("carbon.xml", "<Offset>1<", "<Offset>2<")]
        own_port = f'localMemberPort">{second.member_port}<', f'localMemberPort">{second.member_port + 1}<'
        changes += [("axis2/axis2.xml", *own_port)] if in_database else []
        copy = CopyOf(2, second, nodes[1].config, changes, second.member_port + 1)
        nodes.append(BrokerProcess(tmp_path / "node3", copy))  # type: ignore[arg-type]
        nodes[2].start(STARTED_WITHIN)
        all_say("Member joined", copy.node_id, nodes[:2], 8 * BEAT)
        for each in (first, second):
            all_say("Member joined", each.node_id, nodes[2:], 8 * BEAT)

        channel_of(nodes[0]).queue_declare("guide", durable=True)
        publish(channel_of(nodes[0]), "guide", numbered(100))
        taking = consume(channel_of(nodes[2]), "guide", prefetch=10)
        taking.wait(100, 30.0)
        assert sorted(taking.first_time) == sorted(numbered(100))

        assert nodes[1].stop() == 0
        all_say("Member left", second.node_id, (nodes[0], nodes[2]), 4 * BEAT)
        nodes[2].kill9()
        all_say("Member left", copy.node_id, nodes[:1], 8 * BEAT)
    finally:
        for node in nodes:
            print(f"--- {node}", node.log, sep="\n")
            node.close()
        mariadb.drop_database(database)
