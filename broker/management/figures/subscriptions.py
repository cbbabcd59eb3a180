"""Consumers of this node for the lists of subscriptions of others, and those of others for its own.

Names may have octets that are no UTF-8, lone surrogates in a text (PEP 383): the JSON of a page is ASCII.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from broker.errors import CoordinationError
from broker.management.figures.merging import OtherNodes
from broker.ports.peer_calls import FiguresPage
from broker.topology.subscription_list import (
    MOST_LISTED,
    ConsumersElsewhere,
    SeenConsumer,
    SubscriptionList,
    WantedSubscriptions,
)

KIND: Final = "subscriptions "
"""What the kind of these figures begins with; JSON follows that says which are wanted."""
MAX_OCTETS: Final = 512 * 1024
"""Octets of a page: half of what a message between nodes may have."""


async def read_consumers(others: OtherNodes, vhost: str, wanted: WantedSubscriptions) -> ConsumersElsewhere:
    """Return the consumers of a virtual host that the other living nodes have."""
    elsewhere = await others.read(KIND + json.dumps({"vhost": vhost, **asdict(wanted)}))
    told = {
        node_id: [_seen(row) for row in rows]
        for node_id, rows in elsewhere.rows.items()
        if node_id not in elsewhere.silent
    }
    return ConsumersElsewhere(told, elsewhere.silent)


async def consumers_page(subscriptions: SubscriptionList, kind: str, start: int) -> FiguresPage:
    """Return a page of the consumers that another node wants. Raises `CoordinationError` if it does not say which."""
    vhost, wanted = _wanted(kind)
    octets = 0
    rows: list[str] = []
    for consumer in (await subscriptions.consumers(vhost, wanted))[start:]:
        rows.append(json.dumps(asdict(consumer)))
        octets += len(rows[-1])
        if octets >= MAX_OCTETS:
            return FiguresPage(_array(rows), start + len(rows))
    return FiguresPage(_array(rows))


def _wanted(kind: str) -> tuple[str, WantedSubscriptions]:
    try:
        given = json.loads(kind.removeprefix(KIND))
        wanted = WantedSubscriptions(given["kind"], given["queue"], str(given["after"]), int(given["limit"]))
        vhost = str(given["vhost"])
    except (ValueError, KeyError, TypeError) as error:
        raise CoordinationError(f"there are no figures of '{kind[:40]}'") from error
    if not 0 < wanted.limit <= MOST_LISTED:
        raise CoordinationError(f"as many as 1 to {MOST_LISTED} subscriptions can be listed at once")
    return vhost, wanted


def _seen(row: Mapping[str, Any]) -> SeenConsumer:
    return SeenConsumer(row["queue"], row["address"], row["channel_id"], row["tag"])


def _array(rows: list[str]) -> bytes:
    return f"[{','.join(rows)}]".encode()
