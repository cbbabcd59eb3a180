"""The cases of the benchmark, by name."""

from collections.abc import Callable

from benchmarks.cases import (
    backlog,
    cluster,
    fairness,
    features,
    generator,
    groups,
    latency,
    logins,
    management,
    memory,
    requeue,
    restart,
    revocation,
    schedules,
    selectors,
    sizes,
    snapshot_held,
    streams,
    throughput,
    watched,
)
from benchmarks.session import Session

__all__ = ["CASES", "DESCRIPTIONS"]

CASES: dict[str, Callable[[Session], object]] = {
    "headline": throughput.headline,
    "throughput": throughput.run,
    "sizes": sizes.run,
    "latency": latency.run,
    "backlog": backlog.run,
    "restart": restart.run,
    "memory": memory.run,
    "requeue": requeue.run,
    "features": features.run,
    "cluster": cluster.run,
    "fairness": fairness.run,
    "logins": logins.run,
    "management": management.run,
    "revocation": revocation.run,
    "snapshot-held": snapshot_held.run,
    "schedules": schedules.run,
    "streams": streams.run,
    "groups": groups.run,
    "selectors": selectors.run,
    "watched": watched.run,
    "generator": generator.run,
}

DESCRIPTIONS = {
    "headline": "the five rows everything is judged by: transient, acked, confirmed, publish only, latency",
    "throughput": "headline, window sizes, many queues, publishers and consumers, fan-out, topic with 10 000 bindings",
    "sizes": "16 B to 1 MiB, transient auto-ack and persistent with confirms",
    "latency": "publish to deliver and publish to confirm at 1 000, 5 000 and 20 000 messages a second",
    "backlog": "publish --count persistent messages, memory growth, drain",
    "restart": "kill -9 with --count stored messages, then time to the first delivery (our broker only)",
    "memory": "idle connections, empty queues, queued messages; latency with and without them",
    "requeue": "deliveries a second to a consumer that gives each of them back by basic.nack",
    "features": "what queues do by themselves: time to live, priorities, length, dead letters, counted deliveries",
    "cluster": "across two nodes, one to three nodes, nodes that fail (needs --store with a database server)",
    "fairness": "another client's publish to delivery beside requests that cost the broker much",
    "logins": "another client beside guesses of passwords; 500 clients that come, and come back",
    "management": "the longest turn of the loop beside each request of the HTTP API, with --queues queues",
    "revocation": "a permission revoked on one node, clients on another (needs --store with a database server)",
    "snapshot-held": "commits while another transaction holds a snapshot (needs --store with a database server)",
    "schedules": "schedule --count messages for hours: rate, memory, idle CPU, restart; how late others are",
    "streams": "fill a stream with --count messages, read it from its first on, then by ten consumers at other places",
    "groups": "small groups of messages behind a large one: when the last of them is delivered",
    "selectors": "what a selector costs for each message, and a thousand of them (no broker takes part)",
    "watched": "throughput beside ten pages of the console and beside a scraper; how soon the list of queues is seen",
    "generator": "what the load generator can do by itself, against a peer that does nothing",
}
