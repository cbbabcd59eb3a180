"""What a connection gets from its node, and what a channel gets from its connection."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from structlog.typing import FilteringBoundLogger

from broker.amqp.branches import Branches
from broker.amqp.browser import Browser, Read
from broker.amqp.continuation import Continuation
from broker.amqp.direct_reply import DirectReplies
from broker.amqp.exclusive_queues import ExclusiveQueues
from broker.amqp.frame_reader import DirectChannel
from broker.amqp.opening_rate import OpeningRates
from broker.amqp.output import Output
from broker.amqp.profile import Profile
from broker.amqp.publisher_flow import PublisherFlow
from broker.auth.access import Access, AccessControl
from broker.auth.audit import AuditEvent, tell
from broker.auth.identity import Authenticator
from broker.broker import Broker
from broker.codec.field_table import FieldTable
from broker.ports.store import BranchStore
from broker.topology.vhost import VirtualHost

Waiting: TypeAlias = Coroutine[Any, Any, None]
"""The rest of a handler that waits for a port."""


def _nothing_to_wait_for(vhost: str) -> Waiting | None:
    """Stands where nobody else is told of changes."""
    return None


@dataclass(frozen=True, slots=True)
class SharedContext:
    """What all connections of a node share."""

    broker: Broker
    users: Authenticator
    access: AccessControl
    server_properties: Mapping[str, FieldTable]
    """What connection.start tells of this broker, by the name of the listener's profile."""
    new_name: Callable[[str], str]
    """Returns a fresh random name with the given prefix."""
    spawn: Callable[[Waiting], object]
    """Runs the rest of a handler that waits for a port."""
    monotonic: Callable[[], float]
    """Returns the time in seconds, for what is done between two calls of the edge."""
    is_store_away: Callable[[], bool]
    """Has the store been away for a while?"""
    next_turn: Callable[[], Awaitable[None]]
    """Returns in a later turn of the loop, when work may be done again."""
    room: Callable[[], Awaitable[None]]
    """Returns when neither an alarm nor a full journal holds publishers back."""
    replies: DirectReplies
    """Who waits for replies, and the way to them."""
    read: Read
    """Reads what is stored, for who only looks at it."""
    branches: Branches
    """Branches of distributed transactions that are not prepared."""
    branch_store: BranchStore
    """Where the prepared ones are."""
    pause: Callable[[float], Awaitable[None]]
    """Returns after so many seconds."""
    flow: PublisherFlow | None = None
    """Who of the publishers that are asked by channel.flow is to wait; None to ask nobody."""
    openings: OpeningRates | None = None
    """How fast users may open connections; None for as fast as they like."""
    settled: Callable[[str], Waiting | None] = _nothing_to_wait_for
    """Returns what the answer to a change in this virtual host waits for, which takes a second at most."""


@dataclass(frozen=True, slots=True, eq=False)
class ConnectionContext:
    """What the channels of one open connection share."""

    shared: SharedContext
    profile: Profile
    vhost: VirtualHost
    access: Access
    """Who the client is, and what it may do in `vhost`."""
    output: Output
    direct: dict[int, DirectChannel]
    """The channels that the reader may hand publishes and acks to without a detour."""
    exclusive: ExclusiveQueues
    continuation: Continuation
    has_capability: Callable[[str], bool]
    """Did the client say that it understands this extension?"""
    log: FilteringBoundLogger
    """Names the connection in each line."""
    browsing: OrderedDict[Browser, None] = field(default_factory=OrderedDict)
    """The browsers that would show something, the one whose turn it is before all."""

    def tell(self, event: AuditEvent, **fields: Any) -> None:
        """Log what the client has done, with its user and virtual host."""
        tell(self.log, event, user=self.access.identity.user, vhost=self.vhost.name, **fields)
