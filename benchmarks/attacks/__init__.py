"""Requests that cost the broker much more than they cost the client, by name; `cases.fairness` measures beside them.

To add one, write a generator function in a module of this package and its line in that module's `ATTACKS`, and name the
module here. The function gets the `Target` and yields twice:

    def many_queues(target: Target) -> Iterator[None]:
        client = Client(target.address)
        client.declare_queue("fair.1")      # whatever must be there first
        yield                               # the canary starts
        client.sock.sendall(...)            # the request, up to the broker's last answer to it
        client.declare_queue("fair.1")      # (an answer on the same channel says that all before it is done)
        yield                               # the canary stops
        client.delete_queue("fair.1")       # clean up
        client.close()

Encode what is sent before the first `yield`: attack and canary share a core.
"""

from collections.abc import Callable, Iterator

from benchmarks.attacks import declares, deliveries, routing
from benchmarks.target import Target

__all__ = ["ATTACKS", "Attack"]

Attack = Callable[[Target], Iterator[None]]

ATTACKS: dict[str, Attack] = {**routing.ATTACKS, **declares.ATTACKS, **deliveries.ATTACKS}
