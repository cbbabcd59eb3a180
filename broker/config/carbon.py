"""`carbon.xml`: the port offset and the names of this server (andes.md §1.6).

Knows the few elements a broker needs of a file that configures all of WSO2's platform.
"""

from __future__ import annotations

from typing import ClassVar

from broker.config.values import Name, Port, Section, xml


class Jmx(Section):
    """Ports of Carbon's JMX server."""

    rmi_registry_port: Port = xml("RMIRegistryPort", 9999)
    rmi_server_port: Port = xml("RMIServerPort", 11111)


class Ports(Section):
    """The offset of every port but axis2's `localMemberPort`."""

    has_foreign_content: ClassVar[bool] = True

    offset: Port = xml("Offset", 0)
    jmx: Jmx = xml("JMX", Jmx())


class Carbon(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    server_key: Name = xml("ServerKey", "MB")
    host_name: Name = xml("HostName", "localhost")
    mgt_host_name: Name = xml("MgtHostName", "localhost")
    ports: Ports = xml("Ports", Ports())

    @property
    def offset(self) -> int:
        """Added to every port except 0, which means any free one."""
        return self.ports.offset
