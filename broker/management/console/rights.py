"""What a user may do with what a page shows: what would be refused is not offered.

A page asks here only what to show; the API decides again when a form is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from broker.amqp.purposes import publishing, using
from broker.auth.access import Access, Operation, Permission
from broker.management.console.routes import Visit
from broker.management.http.acting import access_for
from broker.management.http.call import HttpCaller, NotAuthorised
from broker.management.http.node_view import ManagedNode
from broker.ports.names import DEAD_LETTER_CHANNEL, SCHEDULE
from broker.topology.vhost import VirtualHost


class Rights:
    """Those of one user in one virtual host."""

    def __init__(self, vhost: VirtualHost | None, access: Access | None) -> None:
        """Without either nothing may be done."""
        self._vhost: Final = vhost
        self._access: Final = access

    def may_browse(self, queue: str) -> bool:
        """May messages of the queue be looked at, and taken?"""
        return self._may_use(Permission.READ, Operation.CONSUME, queue)

    def may_see_letters(self) -> bool:
        """May what waits in the dead letter channel of the virtual host be looked at? Not every one has a channel."""
        has_channel = self._vhost is not None and self._vhost.dialect.channel is not None
        return has_channel and self.may_browse(DEAD_LETTER_CHANNEL)

    def may_see_delayed(self) -> bool:
        """May what waits for its time there be looked at?"""
        return self.may_browse(SCHEDULE)

    def may_open(self) -> bool:
        """Has the user permissions there at all?"""
        return self._access is not None

    def may_add_queues(self) -> bool:
        """May queues of some names be added? Where permissions are no expressions, the API alone can say."""
        return self._access is not None and getattr(self._access.permissions, "configure", ".*") not in ("", "^$")

    def may_purge(self, queue: str) -> bool:
        return self._may_use(Permission.READ, Operation.PURGE, queue)

    def may_delete(self, queue: str) -> bool:
        return self._may_use(Permission.CONFIGURE, Operation.DELETE, queue)

    def may_publish(self, exchange: str, routing_key: str = "") -> bool:
        """May messages be published to the exchange? The default one has no name."""
        if self._access is None:
            return False
        purpose = publishing(self._access, exchange, routing_key)
        return self._access.permissions.permits(Permission.WRITE, "exchange", exchange or "amq.default", purpose)

    def _may_use(self, permission: Permission, operation: Operation, queue: str) -> bool:
        if self._access is None or self._vhost is None:
            return False
        purpose = using(self._access, operation, self._vhost, queue)
        return self._access.permissions.permits(permission, "queue", queue, purpose)


May: TypeAlias = Callable[[Rights], bool]
"""Says whether a virtual host is one for a page."""
_STEPS: Final = 5
CARBON: Final = "carbon"
"""The virtual host of WSO2's clients."""


async def rights_in(visit: Visit, name: str) -> Rights:
    """Return what the visitor may do in the virtual host of this name."""
    return await rights_of(visit.node, visit.ask.caller, name)


async def rights_of(node: ManagedNode, caller: HttpCaller, name: str) -> Rights:
    """Likewise of somebody."""
    vhost = node.vhosts.get(name)
    if vhost is None:
        return Rights(None, None)
    try:
        return Rights(vhost, await access_for(node, caller, vhost))
    except NotAuthorised:
        return Rights(vhost, None)


async def vhosts_where(
    node: ManagedNode, caller: HttpCaller, may: May, *, most: int, part: str = "", first: Sequence[str] = ()
) -> list[str]:
    """Return up to so many virtual hosts, with `part` in their names, in which somebody may do that, these `first`."""
    found: list[str] = []
    for name in dict.fromkeys((*first, *sorted(node.vhosts))):
        if len(found) == most:
            break
        if part.lower() in name.lower():
            await node.in_turn(_STEPS)
            if may(await rights_of(node, caller, name)):
                found.append(name)
    return found


async def first_open(visit: Visit, *wanted: str, may: May = Rights.may_open) -> str:
    """Return the first of these virtual hosts that the visitor may open, or in which it `may` do something, or else any
    other such one; nothing for none.
    """
    return next(iter(await vhosts_where(visit.node, visit.ask.caller, may, most=1, first=wanted)), "")


async def closed_pages(node: ManagedNode, caller: HttpCaller) -> frozenset[str]:
    """Return the addresses of pages on which somebody may see nothing in any virtual host."""
    may_of: Mapping[str, May] = {
        "/dead-letters": Rights.may_see_letters,
        "/delayed": Rights.may_see_delayed,
        "/find": Rights.may_open,
    }
    closed = [
        path for path, may in may_of.items() if not await vhosts_where(node, caller, may, most=1, first=(CARBON, "/"))
    ]
    if "/find" in closed and not caller.is_monitor:
        closed.append("/subscriptions")
    return frozenset(closed)
