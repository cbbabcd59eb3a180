"""Which messages a new binding brings: the history of its exchange, for the queues behind it (contract E8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.errors import AmqpError
from broker.queue.queue import Queue
from broker.topology.binding import Binding
from broker.topology.exchange import Exchange
from broker.topology.exchange_types.recent_history import Kept
from broker.topology.routing import RoutingTable
from broker.turn_budget import TurnBudget

REPLAY: Final = 10_000
"""What the replay of a history may cost: about so many messages, counted in each of their queues."""


def replayed(routing: RoutingTable, binding: Binding) -> Iterator[tuple[Queue, Kept]]:
    """Return the queues behind a new binding, each with a message of the exchange's history, the oldest first.

    Bindings of further exchanges are followed. It is the newest part of the history when all is too much at once.
    """
    kind, name = binding.destination
    copies: list[tuple[Queue, Kept]] = []
    work = TurnBudget(REPLAY)
    for kept in reversed(routing.exchanges[binding.source].history):
        if kind == "queue":
            queues = [routing.queues[name]]
        else:
            queues = _queues_behind(routing, routing.exchanges[name], kept, work)
        copies += [(queue, kept) for queue in queues]
        work.done += len(queues)
        if work.is_over:
            break
    return reversed(copies)


def _queues_behind(routing: RoutingTable, exchange: Exchange, kept: Kept, work: TurnBudget) -> list[Queue]:
    try:
        next(routing.search(exchange, (kept.routing_key,), kept.on_its_way(), work))
    except StopIteration as found:
        return found.value or []
    except AmqpError:  # the exchange cannot route it: a publisher would be told
        return []
    return []
