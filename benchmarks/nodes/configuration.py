"""The configuration folder of a node: WSO2's files, with what the nodes of tests, benchmarks and the demo differ in.

Knows the files of `conf/`; must not know processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.nodes.ports import HOST, quiet_port

_BROKER_XML = """\
<broker>
{coordination}\
  <transports>
    <amqp enabled="true">
      <bindAddress>{host}</bindAddress>
      <defaultConnection enabled="true" port="{port}"/>
    </amqp>
  </transports>
{tuning}\
  <management>
    <http enabled="{has_http}" port="{http_port}">{https}</http>
    <metrics enabled="{has_metrics}" port="{metrics_port}"/>
    <console enabled="{has_console}" port="{console_port}"/>
  </management>
</broker>
"""

_STANDALONE = """\
  <coordination><nodeID>{node_id}</nodeID></coordination>
"""

_CLUSTERED = """\
  <coordination>
    <nodeID>{node_id}</nodeID>
    <thriftServerHost>{host}</thriftServerHost>
    <thriftServerPort>{thrift_port}</thriftServerPort>
    <rdbmsBasedCoordination enabled="{meets_in_database}">
      <heartbeatInterval>{rhythm.heartbeat_interval}</heartbeatInterval>
      <coordinatorEntryCreationWaitTime>{rhythm.creation_wait}</coordinatorEntryCreationWaitTime>
      <eventPollingInterval>{rhythm.polling_interval}</eventPollingInterval>
    </rdbmsBasedCoordination>
    <rdbmsBasedClusterEventSynchronization enabled="{meets_in_database}">
      <eventSyncInterval>{rhythm.sync_interval}</eventSyncInterval>
    </rdbmsBasedClusterEventSynchronization>
  </coordination>
"""

_MINIMUM = """\
  <recovery>
    <networkPartitionsDetection enabled="true">
      <minimumClusterSize>{minimum}</minimumClusterSize>
    </networkPartitionsDetection>
  </recovery>
"""

_MEMBER = "<member><hostName>{host}</hostName><port>{port}</port></member>"

_TUNING = """\
  <performanceTuning><slots><windowSize>{window_size}</windowSize></slots></performanceTuning>
"""

_HTTPS = """
      <sslConnection enabled="true" port="{port}"><keyStore><location>{store}</location></keyStore></sslConnection>
    """

_CARBON_XML = """\
<Server xmlns="http://wso2.org/projects/carbon/carbon.xml"><Ports><Offset>{offset}</Offset></Ports></Server>
"""

_AXIS2_XML = """\
<axisconfig name="AxisJava2.0">
  <clustering class="org.wso2.carbon.core.clustering.hazelcast.HazelcastClusteringAgent" enable="{is_enabled}">
    <parameter name="membershipScheme">wka</parameter>
    <parameter name="localMemberHost">{host}</parameter>
    <parameter name="localMemberPort">{member_port}</parameter>
    <members>{members}</members>
  </clustering>
</axisconfig>
"""

_DATASOURCES_XML = """\
<datasources-configuration>
  <datasources>
    <datasource>
      <name>WSO2_MB_STORE_DB</name>
      <jndiConfig><name>WSO2MBStoreDB</name></jndiConfig>
      <definition type="RDBMS">
        <configuration>
          <url>{url}</url>
        </configuration>
      </definition>
    </datasource>
  </datasources>
</datasources-configuration>
"""

_USER_MGT_XML = """\
<UserManager>
  <Realm>
    <Configuration>
      <AdminUser><UserName>{name}</UserName><Password>{password}</Password></AdminUser>
    </Configuration>
  </Realm>
</UserManager>
"""

ADMINISTRATOR, ADMINISTRATOR_PASSWORD = "tester", "of the network"

MEMBER_PORT = 4000


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How fast a cluster notices things, in milliseconds and in the words of broker.xml."""

    heartbeat_interval: int = 5000
    creation_wait: int = 3000
    polling_interval: int = 4000
    sync_interval: int = 1000


SHIPPED = Rhythm()
FAST = Rhythm(500, 300, 400)
CALM = Rhythm(1500, 900, 1200, 500)
"""For nodes under load on a machine that they share with it and with the database."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a node of a cluster has beside what a standalone node has.

    `number` is its port offset. The ports of the node and of `thrift_port` are those of the node with offset 0.
    """

    number: int = 0
    thrift_port: int = field(default_factory=quiet_port)
    rhythm: Rhythm = SHIPPED
    is_enabled: bool = True
    """False: all is written, and `axis2.xml` turns clustering off."""
    peers: int = 0
    """Of how many nodes that meet as peers, and push events to each other, it is one; 0 where they meet in the
    database."""
    minimum: int = 0
    """minimumClusterSize; 0 where partitions are not detected."""
    member_port: int = MEMBER_PORT
    """Where the node with offset 0 meets its peers."""
    host: str = HOST
    """The address at which other nodes reach it."""


@dataclass(frozen=True, slots=True)
class NodeConfiguration:
    """What is written into a node's configuration folder; what is not said is as shipped."""

    store_url: str
    """The JDBC address of its store."""
    base_port: int = field(default_factory=quiet_port)
    """Where it listens for clients, but for the offset."""
    given_id: str = ""
    """Its node id; without one it is made of the member's port, as WSO2 does it."""
    window_size: int | None = None
    http_port: int = 0
    """Where it serves the HTTP API, but for the offset; 0 for nowhere."""
    https_port: int = 0
    """Where it serves the HTTP API with TLS, but for the offset; 0 for nowhere."""
    key_store: str = ""
    """The file of key and certificates for that."""
    metrics_port: int = 0
    """Where it serves metrics, but for the offset; 0 for nowhere."""
    console_port: int = 0
    """Where it serves the console with TLS, and without it beside the API; 0 for nowhere."""
    membership: Membership | None = None
    host: str = HOST
    """The address at which it listens for clients; beyond its own machine its administrator has a password."""

    @property
    def port(self) -> int:
        """Where it listens for clients."""
        return self.base_port + self.number

    @property
    def number(self) -> int:
        """Its port offset."""
        return self.membership.number if self.membership is not None else 0

    @property
    def node_id(self) -> str:
        """What it is called in the database and in logs."""
        first = MEMBER_PORT if self.membership is None else self.membership.member_port
        return self.given_id or f"NODE:{HOST}:{first + self.number}"

    def write(self, folder: Path) -> None:
        """Make `folder` and its files."""
        (folder / "datasources").mkdir(parents=True)
        for name, text in self._files().items():
            (folder / name).write_text(text)

    def _files(self) -> dict[str, str]:
        member = self.membership
        files = {
            "broker.xml": _BROKER_XML.format(
                host=self.host,
                port=self.base_port,
                coordination=self._coordination(),
                has_http=str(self.http_port > 0).lower(),
                http_port=self.http_port,
                https="" if not self.https_port else _HTTPS.format(port=self.https_port, store=escape(self.key_store)),
                has_metrics=str(self.metrics_port > 0).lower(),
                metrics_port=self.metrics_port,
                has_console=str(self.console_port > 0).lower(),
                console_port=self.console_port,
                tuning="" if self.window_size is None else _TUNING.format(window_size=self.window_size),
            ),
            "datasources/master-datasources.xml": _DATASOURCES_XML.format(url=escape(self.store_url)),
        }
        if self.host != HOST:
            files["user-mgt.xml"] = _USER_MGT_XML.format(name=ADMINISTRATOR, password=ADMINISTRATOR_PASSWORD)
        if member is not None:
            files["carbon.xml"] = _CARBON_XML.format(offset=member.number)
            files["axis2.xml"] = _AXIS2_XML.format(
                host=HOST,
                is_enabled=str(member.is_enabled).lower(),
                member_port=member.member_port + member.number,
                members="".join(
                    _MEMBER.format(host=HOST, port=member.member_port + number) for number in range(member.peers or 1)
                ),
            )
        return files

    def _coordination(self) -> str:
        member = self.membership
        if member is None:
            return _STANDALONE.format(node_id=self.given_id) if self.given_id else ""
        return _CLUSTERED.format(
            host=member.host,
            node_id=self.given_id or "default",
            thrift_port=member.thrift_port,
            rhythm=member.rhythm,
            meets_in_database=str(not member.peers).lower(),
        ) + (_MINIMUM.format(minimum=member.minimum) if member.minimum else "")
