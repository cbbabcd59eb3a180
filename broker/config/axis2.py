"""`axis2.xml`: whether this node is in a cluster, and its members (andes.md §1.6).

Knows the `clustering` element of a file that configures a web service engine which this broker does not have.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, SecretStr

from broker.config.values import NO_SECRET, Boolean, CountOrZero, Name, Port, Section, VerbatimMap, one_of, xml

_HAZELCAST_AGENT = "org.wso2.carbon.core.clustering.hazelcast.HazelcastClusteringAgent"
_RANGE = re.compile(r"((?:\d{1,3}\.){3})(\d{1,3})-(\d{1,3})", re.ASCII)


def _host(value: object) -> str:
    text = str(value)
    if not text or " " in text:
        raise ValueError(f"'{text}' is not a host name, an address or a range such as 192.168.1.2-10")
    if (match := _RANGE.fullmatch(text)) and not int(match[2]) <= int(match[3]) <= 255:
        raise ValueError(f"'{text}' is not an ascending range of addresses")
    return text


class Member(Section):
    """A well-known member of the cluster, or a range of them."""

    host_name: Annotated[str, BeforeValidator(_host)] = xml("hostName", "127.0.0.1")
    port: Port = xml("port", 4000)

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts meant: the last octet of an address may be a range."""
        if match := _RANGE.fullmatch(self.host_name):
            return tuple(f"{match[1]}{octet}" for octet in range(int(match[2]), int(match[3]) + 1))
        return (self.host_name,)


class Members(Section):
    """The well-known members."""

    member: tuple[Member, ...] = xml("member", (Member(),))


class MemberProperties(Section):
    """What each member tells the others; `${hostName}` and `${httpsPort}` are filled in by its readers."""

    properties: VerbatimMap = xml("property[*]", {})


class ApplicationDomain(Section):
    """A domain this node manages."""

    name: str = xml("@name", "")
    description: str = xml("@description", "")
    agent: str = xml("@agent", "")
    sub_domain: str = xml("@subDomain", "")
    port: Port = xml("@port", 2222)


class GroupManagement(Section):
    """Unused by the broker."""

    enabled: Boolean = xml("@enable", False)
    application_domain: tuple[ApplicationDomain, ...] = xml("applicationDomain", ())


class Clustering(Section):
    """The cluster this node belongs to when it is enabled."""

    class_name: Name = xml("@class", _HAZELCAST_AGENT)
    enabled: Boolean = xml("@enable", False)
    avoid_initiation: Boolean = xml("parameter[AvoidInitiation]", True)
    membership_scheme: Annotated[Literal["multicast", "wka", "aws"], one_of("multicast", "wka", "aws")] = xml(
        "parameter[membershipScheme]", "multicast"
    )
    domain: Name = xml("parameter[domain]", "wso2.carbon.domain")
    password: SecretStr = xml("parameter[password]", NO_SECRET)
    mcast_address: Name = xml("parameter[mcastAddress]", "228.0.0.4")
    mcast_port: Port = xml("parameter[mcastPort]", 45564)
    mcast_ttl: CountOrZero = xml("parameter[mcastTTL]", 100)
    mcast_timeout: CountOrZero = xml("parameter[mcastTimeout]", 60)
    mcast_bind_address: Name = xml("parameter[mcastBindAddress]", "127.0.0.1")
    local_member_host: Name = xml("parameter[localMemberHost]", "127.0.0.1")
    local_member_port: Port = xml("parameter[localMemberPort]", 4000)
    local_member_bind_address: Name = xml("parameter[localMemberBindAddress]", "127.0.0.1")
    local_member_bind_port: Port = xml("parameter[localMemberBindPort]", 4001)
    properties: MemberProperties = xml("parameter[properties]", MemberProperties())
    members: Members = xml("members", Members())
    group_management: GroupManagement = xml("groupManagement", GroupManagement())


class Axis2(Section):
    """The whole file."""

    has_foreign_content: ClassVar[bool] = True

    clustering: Clustering = xml("clustering", Clustering())
