"""`axis2.xml`: whether this node is in a cluster, and what its node id is made of (andes §1.6).

Only the `clustering` element is read: the rest of the file configures a web service engine that this broker does not
have.
"""

from __future__ import annotations

from typing import ClassVar

from broker.config.values import Address, Boolean, Port, Section, xml


class Clustering(Section):
    """The cluster this node belongs to when it is enabled."""

    enabled: Boolean = xml("@enable", False)
    local_member_host: Address = xml("parameter[localMemberHost]", "127.0.0.1")
    local_member_port: Port = xml("parameter[localMemberPort]", 4000)


class Axis2(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    clustering: Clustering = xml("clustering", Clustering())
