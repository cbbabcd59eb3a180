"""Removes orphans: exclusive queues, subscriptions and auto-delete queues of incarnations that are over.

The coordinator runs this, and each node for its own former incarnations when it starts; the removals are events like
any other change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from broker.ports.cluster_rows import Incarnation
from broker.topology.snapshot import incarnations_with_orphans
from broker.topology.vhost import VirtualHost


async def remove_orphans(
    vhosts: Callable[[], Iterable[VirtualHost]], read_living: Callable[[], Awaitable[Collection[Incarnation]]]
) -> int:
    """Remove what incarnations that are over have left; return how many of them had left something.

    `read_living` reads from the store which incarnations are UP. It is called after the owners of possible orphans are
    collected: an incarnation is UP before it can own anything, so an owner that is not UP then is over.
    """
    over = incarnations_with_orphans(vhosts())
    if not over:
        return 0
    over.difference_update(await read_living())
    if over:
        for vhost in list(vhosts()):
            await vhost.consumers.remove_orphans(over)
    return len(over)


async def remove_own_orphans(vhosts: Callable[[], Iterable[VirtualHost]], incarnation: Incarnation) -> None:
    """Remove what former incarnations of this node have left: all of them ended when `incarnation` registered."""
    left = incarnations_with_orphans(vhosts())
    over = {each for each in left if each.node_id == incarnation.node_id and each != incarnation}
    if over:
        for vhost in list(vhosts()):
            await vhost.consumers.remove_orphans(over)
