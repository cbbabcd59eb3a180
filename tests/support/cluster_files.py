"""What a node of a test's cluster is made of: its configuration folder, its ports, and the hooks in its process.

Knows the files of `conf/` and where the broker can be hooked; must not know processes.
"""

from __future__ import annotations

import random
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
FORWARD, BACK = signal.SIGUSR1, signal.SIGUSR2

_BROKER_XML = """\
<broker>
  <coordination>
    <nodeID>{node_id}</nodeID>
    <thriftServerHost>127.0.0.1</thriftServerHost>
    <thriftServerPort>{thrift_port}</thriftServerPort>
    <rdbmsBasedCoordination enabled="true">
      <heartbeatInterval>{rhythm.heartbeat_interval}</heartbeatInterval>
      <coordinatorEntryCreationWaitTime>{rhythm.creation_wait}</coordinatorEntryCreationWaitTime>
      <eventPollingInterval>{rhythm.polling_interval}</eventPollingInterval>
    </rdbmsBasedCoordination>
    <rdbmsBasedClusterEventSynchronization enabled="true">
      <eventSyncInterval>{rhythm.sync_interval}</eventSyncInterval>
    </rdbmsBasedClusterEventSynchronization>
  </coordination>
  <transports>
    <amqp enabled="true">
      <bindAddress>127.0.0.1</bindAddress>
      <defaultConnection enabled="true" port="{amqp_port}"/>
    </amqp>
  </transports>
  <performanceTuning><slots><windowSize>{window_size}</windowSize></slots></performanceTuning>
</broker>
"""

_CARBON_XML = """\
<Server xmlns="http://wso2.org/projects/carbon/carbon.xml"><Ports><Offset>{offset}</Offset></Ports></Server>
"""

_AXIS2_XML = """\
<axisconfig name="AxisJava2.0">
  <clustering class="org.wso2.carbon.core.clustering.hazelcast.HazelcastClusteringAgent" enable="{is_clustered}">
    <parameter name="membershipScheme">wka</parameter>
    <parameter name="localMemberHost">127.0.0.1</parameter>
    <parameter name="localMemberPort">{member_port}</parameter>
    <members><member><hostName>127.0.0.1</hostName><port>4000</port></member></members>
  </clustering>
</axisconfig>
"""

# Calls to other nodes take a detour through a proxy of this pair of nodes, and two signals move the wall clock.
_HOOKS = """\
import signal, sys, time
from broker.clock import SystemClock
from broker.thrift.connection import ClientConnection
from broker.__main__ import main
detours, jumped, opened = {detours!r}, [0], ClientConnection.open.__func__
async def detoured(cls, host, port, *rest):
    return await opened(cls, host, detours.get(port, port), *rest)
ClientConnection.open = classmethod(detoured)
SystemClock.wall_ms = lambda self: time.time_ns() // 1_000_000 + jumped[0]
def jump(number, frame):
    jumped[0] += 3_600_000 if number == signal.SIGUSR1 else -3_600_000
signal.signal(signal.SIGUSR1, jump)
signal.signal(signal.SIGUSR2, jump)
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How fast a cluster notices things, in milliseconds and in the words of broker.xml."""

    heartbeat_interval: int = 5000
    creation_wait: int = 3000
    polling_interval: int = 4000
    sync_interval: int = 1000


SHIPPED = Rhythm()
FAST = Rhythm(500, 300, 400, 500)
CALM = Rhythm(1500, 900, 1200, 500)
"""For nodes under load on a machine that they share with it and with the database."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the node with offset 0; each other node adds its offset."""

    amqp: int
    thrift: int

    @classmethod
    def for_nodes(cls, count: int) -> Ports:
        """Return ports nobody listens on, with room for `count` offsets."""
        return cls(_quiet_range(count), _quiet_range(count))


def _quiet_range(count: int) -> int:
    """Return the first of `count` quiet ports below the range of outgoing connections (see `quiet_port`)."""
    while True:
        first = random.randrange(15_000, 30_000 - count)
        if all(_is_quiet(first + offset) for offset in range(count)):
            return first


def _is_quiet(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def write_configuration(
    folder: Path,
    ports: Ports,
    offset: int,
    rhythm: Rhythm,
    *,
    node_id: str = "default",
    window_size: int = 1000,
    is_clustered: bool = True,
) -> None:
    """Write what a node of a cluster has beside its datasource, which is there already."""
    broker_xml = _BROKER_XML.format(
        node_id=node_id, thrift_port=ports.thrift, amqp_port=ports.amqp, rhythm=rhythm, window_size=window_size
    )
    (folder / "broker.xml").write_text(broker_xml)
    (folder / "carbon.xml").write_text(_CARBON_XML.format(offset=offset))
    axis2 = _AXIS2_XML.format(is_clustered=str(is_clustered).lower(), member_port=4000 + offset)
    (folder / "axis2.xml").write_text(axis2)


def hooked(detours: dict[int, int]) -> tuple[str, ...]:
    """Return the command of a broker that calls `detours[port]` instead of another node's port.

    `FORWARD` and `BACK` move its wall clock by an hour.
    """
    return (sys.executable, "-c", _HOOKS.format(detours=detours))
