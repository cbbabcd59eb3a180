"""Judges what a node needs whose cluster meets among peers: well-known members, an address, and a secret (ADR 76)."""

from __future__ import annotations

from typing import Final

from broker.config.axis2 import MOST_WELL_KNOWN, OWN_ADDRESS, WELL_KNOWN, Clustering
from broker.config.binding import Reading, spell
from broker.config.configuration import Configuration
from broker.config.place import Place
from broker.machine.address import EVERY_ADDRESS, ip_address, is_beyond_loopback, is_name

_CLUSTERING: Final[Place] = ("clustering", "@enable")
_SCHEME: Final[Place] = ("clustering", "parameter[membershipScheme]")
_HOST: Final[Place] = ("clustering", "parameter[localMemberHost]")
_SECRET: Final[Place] = ("coordination", "clusterSecret")
_MINIMUM: Final[Place] = ("recovery", "networkPartitionsDetection", "minimumClusterSize")
_SILENCE: Final[Place] = ("hazelcast.max.no.heartbeat.seconds",)
_SHORT_SILENCE: Final = 4
"""Seconds: calls to a member are then a second apart."""
_WILDCARDS: Final = (EVERY_ADDRESS, "0.0.0.0")


def judge_peers(config: Configuration, broker_xml: Reading, axis2: Reading, hazelcast: Reading) -> None:
    """Report every setting that does not allow this node to meet its peers, and warn of what is of no use."""
    clustering = config.axis2.clustering
    scheme, host = clustering.membership_scheme, clustering.local_member_host
    if scheme.lower() != WELL_KNOWN:
        axis2.refuse(
            _SCHEME if _SCHEME in axis2.lines else _CLUSTERING,
            f"the membership scheme '{scheme}' is not served; set parameter membershipScheme to {WELL_KNOWN} and name"
            " the nodes in members, or set coordination/rdbmsBasedCoordination/@enabled of broker.xml to true",
        )
    if host in _WILDCARDS:
        axis2.refuse(_HOST, f"'{host}' cannot be reached by other nodes; name one address of this machine")
    elif not config.coordination.cluster_secret.get_secret_value() and _is_open(config):
        broker_xml.refuse(
            _SECRET,
            f"localMemberHost '{host}' is not loopback, so the nodes need a shared secret; set it here or in the"
            " environment variable BROKER_CLUSTER_SECRET, the same on all nodes",
        )
    _judge_size(config, broker_xml)
    _judge_silence(config, hazelcast)


def _is_open(config: Configuration) -> bool:
    """Can other machines reach the address where this node listens for its peers?"""
    clustering = config.axis2.clustering
    hosts = (clustering.local_member_host, clustering.local_member_bind_address)
    return any(host in (OWN_ADDRESS, *_WILDCARDS) or is_beyond_loopback(host) for host in hosts)


def _judge_size(config: Configuration, broker_xml: Reading) -> None:
    minimum = config.minimum_cluster_size
    if minimum < 2:
        return
    fewest, most = _known(config.axis2.clustering)
    line = broker_xml.lines.get(_MINIMUM, 1)
    if minimum > most:
        broker_xml.warn(
            line, f"{spell(_MINIMUM)}: {minimum} are more than the {most} members that axis2.xml and this node name"
        )
    elif minimum <= fewest // 2:
        broker_xml.warn(
            line,
            f"{spell(_MINIMUM)}: {minimum} of {fewest} known members: two parts of the cluster may serve at once;"
            f" {fewest // 2 + 1} is more than half",
        )


def _known(clustering: Clustering) -> tuple[int, int]:
    """Return how many members the files name at least and at most, this node among them.

    A member that is spelt in two ways is one; a single name may have the addresses of all. Whether a name is that of
    this node is known when it is resolved.
    """
    host, port = _one_spelling(clustering.local_member_host), clustering.local_member_port
    members = {(_one_spelling(each), at) for each, at in clustering.members.addresses}
    if (host, port) in members:
        return len(members), len(members)
    if len(members) == 1 and is_name(next(iter(members))[0]):
        return 1, MOST_WELL_KNOWN  # that of a headless service has the addresses of all members
    may_be_this = any(at == port and (is_name(host) or is_name(each)) for each, at in members)
    return len(members) + (not may_be_this), len(members) + 1


def _one_spelling(host: str) -> str:
    """Return the same text for all spellings of one address."""
    name = host.lower().rstrip(".")
    if name == "localhost":
        return "127.0.0.1"
    return name if is_name(name) else str(ip_address(name))


def _judge_silence(config: Configuration, hazelcast: Reading) -> None:
    seconds = config.hazelcast.max_no_heartbeat
    if seconds < _SHORT_SILENCE:
        hazelcast.warn(
            hazelcast.lines.get(_SILENCE, 1),
            f"{spell(_SILENCE)}: after {seconds} s a member counts as gone although it may only be busy; set at least"
            f" {_SHORT_SILENCE}, the same on all nodes",
        )
