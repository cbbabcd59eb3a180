"""Judges what a node needs whose cluster meets among peers: well-known members, an address, and a secret (ADR 76)."""

from __future__ import annotations

from typing import Final

from broker.config.axis2 import OWN_ADDRESS, WELL_KNOWN
from broker.config.binding import Reading, spell
from broker.config.configuration import Configuration
from broker.config.place import Place
from broker.machine.address import EVERY_ADDRESS, is_beyond_loopback

_CLUSTERING: Final[Place] = ("clustering", "@enable")
_SCHEME: Final[Place] = ("clustering", "parameter[membershipScheme]")
_HOST: Final[Place] = ("clustering", "parameter[localMemberHost]")
_SECRET: Final[Place] = ("coordination", "clusterSecret")
_MINIMUM: Final[Place] = ("recovery", "networkPartitionsDetection", "minimumClusterSize")
_WILDCARDS: Final = (EVERY_ADDRESS, "0.0.0.0")


def judge_peers(config: Configuration, broker_xml: Reading, axis2: Reading) -> None:
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


def _is_open(config: Configuration) -> bool:
    """Can other machines reach the address where this node listens for its peers?"""
    clustering = config.axis2.clustering
    hosts = (clustering.local_member_host, clustering.local_member_bind_address)
    return any(host in (OWN_ADDRESS, *_WILDCARDS) or is_beyond_loopback(host) for host in hosts)


def _judge_size(config: Configuration, broker_xml: Reading) -> None:
    clustering, minimum = config.axis2.clustering, config.minimum_cluster_size
    own = (clustering.local_member_host, clustering.local_member_port)
    known = len(dict.fromkeys((own, *clustering.members.addresses)))
    if minimum < 2:
        return
    line = broker_xml.lines.get(_MINIMUM, 1)
    if minimum > known:
        broker_xml.warn(
            line, f"{spell(_MINIMUM)}: {minimum} are more than the {known} members that axis2.xml and this node name"
        )
    elif minimum <= known // 2:
        broker_xml.warn(
            line,
            f"{spell(_MINIMUM)}: {minimum} of {known} known members: two parts of the cluster may serve at once;"
            f" {known // 2 + 1} is more than half",
        )
