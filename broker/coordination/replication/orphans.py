"""What is left of nodes whose life is over: exclusive queues, subscriptions, auto-delete queues that they alone used.

The coordinator removes it, by events like any other. Knows virtual hosts; knows no lease and no store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from broker.ports.cluster_rows import Life
from broker.topology.snapshot import lives_with_traces
from broker.topology.vhost import VirtualHost


async def remove_traces(
    vhosts: Callable[[], Iterable[VirtualHost]], read_living: Callable[[], Awaitable[Collection[Life]]]
) -> int:
    """Remove what lives that are over have left; return how many lives had left anything.

    `read_living` asks the store which lives are UP, after it is known which ones have left traces. A life is UP before
    it can leave any, so one that is not among them then will never use what it has left.
    """
    over = lives_with_traces(vhosts())
    if not over:
        return 0
    over.difference_update(await read_living())
    if over:
        for vhost in list(vhosts()):
            for queue in list(vhost.queues.values()):
                if vhost.consumption.has_traces(queue, over):
                    await vhost.consumption.remove_traces(queue, over)
    return len(over)
