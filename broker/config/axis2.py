"""`axis2.xml`: whether this node is in a cluster, and what its node id is made of (andes §1.6).

Only the `clustering` element is read: the rest of the file configures a web service engine that this broker does not
have.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator

from broker.config.values import Boolean, Port, Section, Unresolved, address, xml

OWN_ADDRESS: Final = "default"
"""As localMemberHost: the address that this machine has."""


def _member_host(value: object) -> str:
    return OWN_ADDRESS if str(value).lower() == OWN_ADDRESS else address(value)


class Clustering(Section):
    """The cluster this node belongs to when it is enabled."""

    enabled: Boolean = xml("@enable", False)
    local_member_host: Annotated[str, BeforeValidator(_member_host), Unresolved(OWN_ADDRESS)] = xml(
        "parameter[localMemberHost]", "127.0.0.1"
    )
    local_member_port: Port = xml("parameter[localMemberPort]", 4000)


class Axis2(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    clustering: Clustering = xml("clustering", Clustering())
