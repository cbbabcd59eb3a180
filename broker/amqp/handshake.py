"""From the protocol header to connection.open: who the client is, and what both sides agree on (contract C1 to C12).

Each step takes what the client sent and returns the answer, or raises what refuses it. Knows users, limits and virtual
hosts; sends nothing, and keeps no phase: the connection asks for the steps in order.
"""

from __future__ import annotations

from typing import Any, Final

from broker.auth.sasl import MECHANISMS, credentials
from broker.auth.users import Users
from broker.broker import PRODUCT, Broker
from broker.codec import methods as amqp
from broker.codec.constants import FRAME_MIN_SIZE, PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.errors import LoginRefused, NotAllowed
from broker.topology.vhost import VirtualHost

_LEGACY_HEADER: Final = b"AMQP\x01\x01\x00\x09"

CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "authentication_failure_close",
    "per_consumer_qos",
)
"""What connection.start tells clients that this broker serves; a feature that clients look for adds its line."""


class Handshake:
    """What is known of one client, growing with every step."""

    __slots__ = (
        "_broker",
        "_capabilities",
        "_header",
        "_is_loopback",
        "_users",
        "channel_max",
        "client_properties",
        "frame_max",
        "heartbeat",
        "user",
    )

    def __init__(self, broker: Broker, users: Users, *, is_loopback: bool) -> None:
        self._broker = broker
        self._users = users
        self._is_loopback = is_loopback
        self._header = b""
        self._capabilities: dict[str, Any] = {}
        self.client_properties = FieldTable()
        self.user = ""
        self.channel_max = broker.limits.channel_max
        self.frame_max = FRAME_MIN_SIZE
        self.heartbeat = 0.0

    def take_header(self, data: bytes) -> bytes | None:
        """Read the protocol header (contract C1): return what follows it, None while it is incomplete.

        Raises `ValueError` for octets that are another protocol's.
        """
        self._header += data
        header = self._header[:8]
        if header in (PROTOCOL_HEADER, _LEGACY_HEADER):
            rest, self._header = self._header[8:], b""
            return rest
        if len(header) < 8 and PROTOCOL_HEADER.startswith(header[:4]):
            return None
        raise ValueError("not the protocol header of AMQP 0-9-1")

    def start(self, properties: FieldTable) -> amqp.ConnectionStart:
        """Return what opens the conversation."""
        return amqp.ConnectionStart(0, 9, properties, MECHANISMS, b"en_US")

    def on_start_ok(self, method: amqp.ConnectionStartOk) -> amqp.ConnectionTune:
        """Learn the client's properties and check its credentials."""
        self.client_properties = method.client_properties
        capabilities = method.client_properties.values.get("capabilities")
        if isinstance(capabilities, dict):
            self._capabilities = capabilities
        name, password = credentials(method.mechanism, method.response, lambda raw: FieldTable(raw).values)
        self.user = name
        if not self._users.accepts(name, password, is_loopback=self._is_loopback):
            raise LoginRefused(
                f"Login was refused using authentication mechanism {method.mechanism}."
                " For details see the broker logfile."
            )
        limits = self._broker.limits
        return amqp.ConnectionTune(limits.channel_max, limits.frame_max, limits.heartbeat)

    def on_tune_ok(self, method: amqp.ConnectionTuneOk) -> None:
        """Agree on the sizes and the heartbeat."""
        limits = self._broker.limits
        self.frame_max = _negotiated("frame_max", method.frame_max, limits.frame_max, FRAME_MIN_SIZE)
        self.channel_max = _negotiated("channel_max", method.channel_max, limits.channel_max, 1)
        self.heartbeat = float(method.heartbeat)

    def on_open(self, method: amqp.ConnectionOpen) -> VirtualHost:
        """Return the virtual host that the client may use."""
        vhost = self._broker.vhost(method.virtual_host)
        limit = self._broker.limits.max_connections
        if len(self._broker.open_connections) >= limit:  # contract C12
            raise NotAllowed(f"connection refused: node connection limit ({limit}) is reached")
        return vhost

    def has_capability(self, name: str) -> bool:
        """Did the client say that it understands this extension?"""
        return self._capabilities.get(name) is True


def _negotiated(name: str, value: int, offered: int, minimum: int) -> int:
    """Check a value of tune-ok against what was offered (contract C9); 0 takes the offer."""
    if value == 0:
        return offered
    if value > offered:
        raise NotAllowed(f"negotiated {name} = {value} is higher than the maximum allowed value ({offered})")
    if value < minimum:
        raise NotAllowed(f"negotiated {name} = {value} is lower than the minimum allowed value ({minimum})")
    return value


def server_properties(version: str, node_id: str, platform: str) -> FieldTable:
    """Return what connection.start tells of this broker (contract §2.1)."""
    return FieldTable.of(
        {
            "capabilities": dict.fromkeys(CAPABILITIES, True),
            "product": PRODUCT,
            "version": version,
            "platform": platform,
            "copyright": "The Cordillera authors",
            "information": "Licensed under the Apache License 2.0",
            "cluster_name": node_id,
        }
    )
