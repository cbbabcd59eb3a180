"""Whether those who look at a broker hold it up: the longest turn of its loop beside each request of the HTTP API.

There are `--queues` queues, half of them bound to a topic exchange, and `--connections` connections with a consumer
each. No request is to hold the loop for more than 50 ms.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.cases.memory import allow_files, close_connections, declare_queues, open_connections
from benchmarks.client import Client
from benchmarks.nodes.turns import longest_turn
from benchmarks.own_broker import OwnBroker
from benchmarks.results import Row, Values
from benchmarks.session import Session
from benchmarks.target import Target
from benchmarks.web import WebAnswer, WebClient
from broker.management.http.api import ROUTES

METRICS = ["turn_ms", "wall_ms", "answer_ms", "answer_kb"]
QUEUE, EXCHANGE = "bench.idle.0", "bench.topic"
NAMES = {
    "vhost": "%2F",
    "user": "guest",
    "node": "bench",
    "queue": QUEUE,
    "destination": QUEUE,
    "exchange": EXCHANGE,
    "source": EXCHANGE,
    "name": "nosuch",
    "component": "nosuch",
    "within": "1",
    "unit": "days",
    "port": "5672",
    "protocol": "amqp",
}
MORE = {
    "a page of queues": "/queues?page=1&page_size=100",
    "a page of queues by messages": "/queues?page=1&page_size=100&sort=messages&sort_reverse=true",
    "a page of queues by rate": "/queues?page=1&page_size=100&sort=message_stats.publish_details.rate",
    "a page of queues by a pattern": "/queues?page=1&page_size=100&name=9.*9&use_regex=true",
    "names of queues": "/queues?columns=name",
    "queues with samples": "/queues?page=1&page_size=500&lengths_age=600&lengths_incr=10",
    "overview with samples": "/overview?lengths_age=600&lengths_incr=10&msg_rates_age=600&msg_rates_incr=10",
}
Ask = Callable[[], WebAnswer]


def run(session: Session) -> None:
    """Measure each route that reads, pages of lists, metrics and what reads everything without changing it."""
    if session.subject.own is None:
        session.reporter.say("management: skipped, it starts a broker of its own, and needs that --url is not given")
        return
    allow_files(2 * session.options.connections + 200)
    with (
        managed(session) as (own, target),
        WebClient(own.configuration.http_port) as api,
        WebClient(own.configuration.metrics_port) as metrics,
    ):
        for name, ask in requests(api, metrics).items():

            def once(_: Target, ask: Ask = ask) -> Values:
                return timed(own, ask)

            session.rounds(Row("management", name, METRICS), once, [target])


@contextmanager
def managed(session: Session) -> Iterator[tuple[OwnBroker, Target]]:
    """Run a broker that is managed, with queues, bindings, connections and consumers."""
    own = OwnBroker.managed(session.broker_cores, session.options.data_dir)
    clients: list[Client] = []
    try:
        own.start()
        target = Target(session.subject.name, own.address, own.pid, own)
        declare_queues(session, target)
        clients += open_connections(session, target)
        for number, client in enumerate(clients):
            client.consume(f"bench.idle.{number % session.options.queues}", no_ack=True, prefetch=0)
        binder = Client(target.address)
        binder.declare_exchange(EXCHANGE, "topic")
        binder.bind(EXCHANGE, [(f"bench.idle.{n}", f"site.{n}.#") for n in range(0, session.options.queues, 2)])
        binder.close()
        yield own, target
    finally:
        close_connections(clients)
        own.stop()


def requests(api: WebClient, metrics: WebClient) -> dict[str, Ask]:
    """Return what is asked, by name."""
    found: dict[str, Ask] = {}
    for route in ROUTES:
        if route.method == "GET" and "stream" not in route.path:
            parts = (NAMES.get(part[1:-1], "nosuch") if part.startswith("{") else part for part in route.parts)
            found[f"GET {route.path}"] = _asking(api, "GET", "/api/" + "/".join(parts))
    found |= {name: _asking(api, "GET", f"/api{path}") for name, path in MORE.items()}
    names = ("", "/per-object", "/detailed?family=queue_metrics&family=queue_coarse_metrics")
    found |= {f"GET /metrics{name}": _asking(metrics, "GET", f"/metrics{name}") for name in names}
    policy = json.dumps({"name": "p", "pattern": ".*", "definition": {"max-length": 9}, "apply-to": "all"}).encode()
    found["preview of a policy"] = _asking(api, "POST", "/api/broker/policies/%2F/preview", policy)
    found["import of definitions, tried"] = lambda: api.ask(
        "POST", "/api/definitions?dry_run=true", api.ask("GET", "/api/definitions").body
    )
    return found


def _asking(client: WebClient, method: str, path: str, body: bytes = b"") -> Ask:
    return lambda: client.ask(method, path, body)


def timed(own: OwnBroker, ask: Ask) -> Values:
    """Ask once; return how long the longest turn was meanwhile, and the answer."""
    with longest_turn(own.turns) as turn:
        answer = ask()
    if answer.status == 500:
        raise RuntimeError(f"{answer.status}: {answer.body[:200]!r}")
    return {
        "turn_ms": 1000 * turn.cpu,
        "wall_ms": 1000 * turn.wall,
        "answer_ms": 1000 * answer.seconds,
        "answer_kb": len(answer.body) / 1000,
    }
