"""The id of this node, and what to change when it is another's: a configuration that was copied from its machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.config.axis2 import OWN_ADDRESS
from broker.config.binding import origin_key
from broker.config.configuration import Configuration
from broker.config.files import AXIS2, BROKER_XML
from broker.config.place import Place
from broker.machine.address import endpoint
from broker.machine.own_address import own_address

_HOST: Final[Place] = ("clustering", "parameter[localMemberHost]")
_PORT: Final[Place] = ("clustering", "parameter[localMemberPort]")
_ID: Final[Place] = ("coordination", "nodeID")


def node_id(config: Configuration, own_address: Callable[[str], str] = own_address, *, port: int = 0) -> str:
    """Return the configured node id, or `NODE:<host>:<port>` of the local member (andes §1.2.1).

    `port` is where the node listens for its peers, if it does: localMemberPort may have been taken.
    """
    if config.coordination.node_id != "default":
        return config.coordination.node_id
    clustering = config.axis2.clustering
    host = clustering.local_member_host
    if host == OWN_ADDRESS:
        host = own_address(config.store_url.host)
    return f"NODE:{endpoint(host, port or clustering.local_member_port)}"


def what_to_change(config: Configuration, own_address: Callable[[str], str] = own_address) -> str:
    """Return what gives this node an id of its own, in one line, when a living node of the cluster has the same."""
    if config.coordination.node_id != "default":
        return f"change {_at(config, BROKER_XML.name, _ID, 'coordination/nodeID')}, or set it to 'default'"
    port = f"another {_at(config, AXIS2.name, _PORT, 'localMemberPort')}"
    given, own = config.axis2.clustering.local_member_host, own_address(config.store_url.host)
    if given in (OWN_ADDRESS, own):
        return f"both nodes are on this machine, {own}: give this one {port}"
    host = _at(config, AXIS2.name, _HOST, "localMemberHost")
    return f"its configuration is a copy: set {host} to this machine's address, {own}; on one machine take {port}"


def _at(config: Configuration, file: str, place: Place, name: str) -> str:
    return f"{name} ({config.origins.get(origin_key(file, place), file)})"
