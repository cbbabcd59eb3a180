"""`axis2.xml`: whether this node is in a cluster, its node id, and where it meets its peers (andes §1.6).

Only the `clustering` element is read: the rest of the file configures a web service engine that this broker does not
have.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Self

from pydantic import BeforeValidator, model_validator

from broker.config.values import (
    Boolean,
    Domain,
    HostRange,
    Name,
    OtherPort,
    Port,
    Section,
    Unresolved,
    address,
    conflict,
    xml,
)

OWN_ADDRESS: Final = "default"
"""As localMemberHost: the address that this machine has."""
WELL_KNOWN: Final = "wka"
"""The membership scheme in which members are known by their addresses."""
MOST_WELL_KNOWN: Final = 256
_RANGE: Final = re.compile(r"((?:\d{1,3}\.){3})(\d{1,3})-(\d{1,3})", re.ASCII)


def _member_host(value: object) -> str:
    return OWN_ADDRESS if str(value).lower() == OWN_ADDRESS else address(value)


def _bind_address(value: object) -> str:
    return address(value) if value else ""


class WellKnownMember(Section):
    """A member, or a row of members on neighbouring addresses."""

    host_name: HostRange = xml("hostName", "127.0.0.1")
    port: OtherPort = xml("port", 4000)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where these members may be, in order."""
        if (match := _RANGE.fullmatch(self.host_name)) is None:
            return ((self.host_name, self.port),)
        return tuple((f"{match[1]}{octet}", self.port) for octet in range(int(match[2]), int(match[3]) + 1))


class WellKnownMembers(Section):
    """The members that a node asks who else is there."""

    member: tuple[WellKnownMember, ...] = xml("member", (WellKnownMember(),))

    @model_validator(mode="after")
    def _are_not_too_many(self) -> Self:
        if len(self.addresses) > MOST_WELL_KNOWN:
            conflict("member", f"{len(self.addresses)} addresses; at most {MOST_WELL_KNOWN} can be asked")
        return self

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where members may be, each once, in the order of the file."""
        return tuple(dict.fromkeys(address for each in self.member for address in each.addresses))


class Clustering(Section):
    """The cluster this node belongs to when it is enabled."""

    enabled: Boolean = xml("@enable", False)
    membership_scheme: Name = xml("parameter[membershipScheme]", "multicast")
    domain: Domain = xml("parameter[domain]", "wso2.carbon.domain")
    local_member_host: Annotated[str, BeforeValidator(_member_host), Unresolved(OWN_ADDRESS)] = xml(
        "parameter[localMemberHost]", "127.0.0.1"
    )
    local_member_port: Port = xml("parameter[localMemberPort]", 4000)
    local_member_bind_address: Annotated[str, BeforeValidator(_bind_address)] = xml(
        "parameter[localMemberBindAddress]", ""
    )
    """Empty for localMemberHost."""
    local_member_bind_port: Port = xml("parameter[localMemberBindPort]", 0)
    """0 for localMemberPort."""
    members: WellKnownMembers = xml("members", WellKnownMembers())


class Axis2(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    clustering: Clustering = xml("clustering", Clustering())
