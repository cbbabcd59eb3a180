"""What of a queue is on the other nodes of a cluster."""

from __future__ import annotations

from broker.management.figures.pages import kind_of_queues
from broker.management.figures.view import NodeView
from broker.queue.queue import Queue
from broker.topology.dead_letter_channels import LeftElsewhere


async def left_elsewhere(view: NodeView, queue: Queue) -> LeftElsewhere:
    """Return how many messages of a queue the other nodes have, by what they tell now."""
    found = await view.others.read(kind_of_queues([(queue.vhost, queue.name)]))
    counts = {
        node_id: (int(row.get("messages_ready", 0)), int(row.get("messages_unacknowledged", 0)))
        for node_id, rows in sorted(found.rows.items())
        for row in rows
        if row.get("messages")
    }
    return LeftElsewhere(counts, found.silent)
