"""`carbon.xml`: the port offset of this server (andes.md §1.6).

Knows the one element a broker needs of a file that configures all of WSO2's platform.
"""

from __future__ import annotations

from typing import ClassVar

from broker.config.values import Port, Section, xml


class Ports(Section):
    """The offset of every port but axis2's `localMemberPort`."""

    has_foreign_content: ClassVar[bool] = True

    offset: Port = xml("Offset", 0)


class Carbon(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    ports: Ports = xml("Ports", Ports())

    @property
    def offset(self) -> int:
        """Added to every port except 0, which means any free one."""
        return self.ports.offset
