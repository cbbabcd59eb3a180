"""What is left of nodes whose incarnation is over: exclusive queues, subscriptions, auto-delete queues that they alone
used.

The coordinator removes it, by events like any other. Knows virtual hosts; knows no lease and no store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from broker.ports.cluster_rows import Incarnation
from broker.topology.snapshot import incarnations_with_orphans
from broker.topology.vhost import VirtualHost


async def remove_orphans(
    vhosts: Callable[[], Iterable[VirtualHost]], read_living: Callable[[], Awaitable[Collection[Incarnation]]]
) -> int:
    """Remove what incarnations that are over have left; return how many incarnations had left anything.

    `read_living` asks the store which incarnations are UP, after it is known which ones have left orphans. An
    incarnation is UP before it can leave any, so one that is not among them then will never use what it has left.
    """
    over = incarnations_with_orphans(vhosts())
    if not over:
        return 0
    over.difference_update(await read_living())
    if over:
        for vhost in list(vhosts()):
            for queue in list(vhost.queues.values()):
                if vhost.consumers.has_orphans(queue, over):
                    await vhost.consumers.remove_orphans(queue, over)
    return len(over)
