"""What nodes tell of themselves when they call each other, and why one does not take another for a member (ADR 76).

Pure: records, their JSON, and a comparison.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from broker.machine.address import endpoint, ip_address
from broker.ports.cluster_rows import Incarnation

Address: TypeAlias = tuple[str, int]
"""Host and port."""

VERSION: Final = 1
MOST_ADDRESSES: Final = 256
"""That one node tells another."""
MOST_RANK: Final = 1 << 53
"""A higher place in the order is read by nobody."""
_MOST_TEXT: Final = 255
_MOST_KNOWN_OCTETS: Final = 49_152


@dataclass(frozen=True, slots=True)
class ClusterTerms:
    """What the nodes of one cluster must agree about."""

    domain: str
    minimum: int
    """minimumClusterSize, 1 where partitions are not detected."""
    database: str = ""
    """The database in words; the same one may be called differently."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a node tells of itself."""

    incarnation: Incarnation
    address: Address
    """Where its peers call it."""
    thrift: Address
    """Where its slot service is."""
    rank: int
    """Its place in the order in which the nodes have joined, the oldest first; 0 before it has one."""
    may_lead: bool
    """Does it reach the store, and see enough members?"""
    terms: ClusterTerms
    known: tuple[Address, ...] = ()
    """Where other members are."""
    silence: float = 0.0
    """Seconds after which a member that does not answer is gone for this node; 0 when it does not tell."""


def encode(greeting: Greeting) -> dict[str, Any]:
    """Return the greeting as JSON has it."""
    return {
        "version": VERSION,
        "node": greeting.incarnation.node_id,
        "incarnation": greeting.incarnation.id,
        "address": list(greeting.address),
        "thrift": list(greeting.thrift),
        "rank": greeting.rank,
        "mayLead": greeting.may_lead,
        "domain": greeting.terms.domain,
        "minimum": greeting.terms.minimum,
        "database": _readable(greeting.terms.database),
        "known": [list(address) for address in _fitting(greeting.known)],
        "silenceMs": round(greeting.silence * 1000),
    }


def decode(value: object) -> Greeting:
    """Read a greeting. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("a greeting is an object")
    if value.get("version") != VERSION:
        raise ValueError(f"version {value.get('version')!r:.20} of the protocol between peers; this node has {VERSION}")
    known = value.get("known")
    if not isinstance(known, list) or len(known) > MOST_ADDRESSES:
        raise ValueError("'known' is not a list of addresses")
    may_lead = value.get("mayLead")
    if not isinstance(may_lead, bool):
        raise ValueError("'mayLead' is not true or false")
    return Greeting(
        Incarnation(_text(value, "node"), _text(value, "incarnation")),
        _address(value.get("address"), "address"),
        _address(value.get("thrift"), "thrift"),
        _number(value, "rank"),
        may_lead,
        ClusterTerms(_text(value, "domain"), _number(value, "minimum"), _text(value, "database", 0)),
        tuple(_address(each, "known") for each in known),
        (_number(value, "silenceMs") if "silenceMs" in value else 0) / 1000,
    )


def _readable(text: str) -> str:
    """Return what other nodes take of a text that only people read."""
    return "".join(each if each.isprintable() else " " for each in text[:_MOST_TEXT])


def _fitting(known: Iterable[Address]) -> Iterable[Address]:
    """Return the first addresses, as many as a message has room for."""
    room = _MOST_KNOWN_OCTETS
    for host, port in known:
        room -= len(dump({"": [host, port]}))
        if room < 0:
            return
        yield host, port


def dump(message: Mapping[str, Any]) -> bytes:
    """Return a message as octets."""
    return json.dumps(message, separators=(",", ":")).encode()


def load(octets: bytes) -> Mapping[str, Any]:
    """Read a message. Raises ValueError."""
    try:
        message = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise ValueError("a message is not JSON") from error
    if not isinstance(message, dict):
        raise ValueError("a message is not an object")
    return message


def objection(own: Greeting, other: Greeting) -> str:
    """Return why the node of `own` does not take that of `other` for a member; empty when it does."""
    here, there = own.incarnation.node_id, other.incarnation.node_id
    if own.incarnation == other.incarnation:
        return ""
    if here == there:
        return (
            f"node id '{here}' is that of {endpoint(*own.address)}, incarnation {own.incarnation.id}, and of"
            f" {endpoint(*other.address)}, incarnation {other.incarnation.id}"
        )
    if own.terms.domain != other.terms.domain:
        return f"domain: '{other.terms.domain}' on node '{there}', '{own.terms.domain}' on node '{here}'"
    if own.terms.minimum != other.terms.minimum:
        return f"minimumClusterSize: {_minimum(other)} on node '{there}', {_minimum(own)} on node '{here}'"
    if own.thrift == other.thrift:
        return (
            f"thriftServerHost and port: nodes '{there}' and '{here}' both tell of {endpoint(*own.thrift)}; each must"
            " name an address of its own machine"
        )
    if other.address[0] != own.address[0] and _is_loopback(other.thrift[0]) and not _is_loopback(other.address[0]):
        return (
            f"thriftServerHost '{other.thrift[0]}' of node '{there}' is reached on its own machine only; node '{here}'"
            f" is at {endpoint(*own.address)}"
        )
    return ""


def _minimum(greeting: Greeting) -> str:
    return str(greeting.terms.minimum) if greeting.terms.minimum > 1 else "none (partitions are not detected)"


@lru_cache(MOST_ADDRESSES)
def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _text(value: Mapping[str, Any], name: str, least: int = 1) -> str:
    text = value.get(name)
    if not isinstance(text, str) or not least <= len(text) <= _MOST_TEXT or not text.isprintable():
        raise ValueError(f"'{name}' is not a text of up to {_MOST_TEXT} characters")
    return text


def _number(value: Mapping[str, Any], name: str) -> int:
    number = value.get(name)
    if type(number) is not int or not 0 <= number <= MOST_RANK:
        raise ValueError(f"'{name}' is not a number")
    return number


def _address(value: object, name: str) -> Address:
    match value:
        case [str() as host, int() as port] if 0 < len(host) <= _MOST_TEXT and host.isprintable() and 0 < port < 65536:
            return host, port
    raise ValueError(f"'{name}' is not a host and a port")
