"""`carbon.xml`: the port offset of this server, and whether blanks around passwords count (andes §1.6).

The file configures all of WSO2's platform; only the elements `Ports` and `EnablePasswordTrim` are read.
"""

from __future__ import annotations

from typing import ClassVar

from broker.config.values import Boolean, Port, Section, xml


class Ports(Section):
    """The offset that is added to every port except axis2's `localMemberPort`."""

    has_foreign_content: ClassVar[bool] = True

    offset: Port = xml("Offset", 0)


class Carbon(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    ports: Ports = xml("Ports", Ports())
    enable_password_trim: Boolean = xml("EnablePasswordTrim", True)

    @property
    def offset(self) -> int:
        """The port offset. Port 0 stays 0: it means any free port."""
        return self.ports.offset
