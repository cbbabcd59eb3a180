"""What a user may do with what a page shows: what would be refused is not offered.

A page asks here only what to show; the API decides again when a form is sent.
"""

from __future__ import annotations

from typing import Final

from broker.amqp.purposes import publishing, using
from broker.auth.access import Access, Operation, Permission
from broker.management.console.routes import Visit
from broker.management.http.access import may_open
from broker.management.http.acting import access_for
from broker.management.http.call import NotAuthorised
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


async def rights_in(visit: Visit, name: str) -> Rights:
    """Return what the visitor may do in the virtual host of this name."""
    vhost = visit.node.vhosts.get(name)
    if vhost is None:
        return Rights(None, None)
    try:
        return Rights(vhost, await access_for(visit.node, visit.ask.caller, vhost))
    except NotAuthorised:
        return Rights(vhost, None)


async def first_open(visit: Visit, *wanted: str) -> str:
    """Return the first of these virtual hosts that the visitor may open, or else any that it may; nothing for none."""
    for name in (*wanted, *sorted(visit.node.vhosts)):
        if name in visit.node.vhosts and await may_open(visit.node, visit.ask.caller, name):
            return name
    return ""
