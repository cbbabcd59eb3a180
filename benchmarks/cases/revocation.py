"""How soon a permission that is revoked on one node of a cluster is gone on another."""

import statistics
import threading
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.address import Address
from benchmarks.client import Client
from benchmarks.deliveries import PeerFault
from benchmarks.frames import method, publish
from benchmarks.nodes.configuration import SHIPPED
from benchmarks.own_broker import OwnBroker, OwnCluster
from benchmarks.results import Row, Values
from benchmarks.session import Session
from broker.config.loading import load
from broker.node.control_client import ask
from broker.node.control_path import control_path

REVOCATIONS = 50
QUEUE, USER, PASSWORD = "bench.revocation", "revoked", "known to the benchmark"
QOS = method(1, 60, 10, b"\x00\x00\x00\x00\x00\x00\x00")
BETWEEN = 0.05
"""Seconds in which client and consumer work before the next revocation."""
METRICS = [
    "command_p50_ms",
    "command_max_ms",
    "refused_p50_ms",
    "refused_max_ms",
    "cancelled_p50_ms",
    "cancelled_max_ms",
]


def run(session: Session) -> None:
    """Measure on the server of `--store`; the broker that was started on it makes room meanwhile."""
    own, store = session.subject.own, session.options.store
    if own is None or store.startswith(("jdbc:sqlite", "sqlite")) or not store:
        session.reporter.say("revocation: skipped, it needs --store with a database server, and no --url")
        return
    own.kill()
    try:
        with OwnCluster(2, store, SHIPPED) as cluster:
            row = Row("revocation", f"{REVOCATIONS} on one node, clients on the other", METRICS)
            session.rounds(row, lambda _: revoked(cluster), [session.subject])
    finally:
        own.start()
        session.subject.pid = own.pid


def revoked(cluster: OwnCluster) -> Values:
    """Revoke and grant again; return milliseconds from the command to its answer, to the refusal of a publish on the
    other node, and to the cancellation of a consumer there.
    """
    here, there = cluster.nodes
    control = control_of(here)
    ask(control, {"command": "delete_user", "name": USER})
    done(control, "add_user", name=USER, password=PASSWORD)
    grant(control, ".*")
    owner = Client(there.address)
    owner.declare_queue(QUEUE)
    times: dict[str, list[float]] = {"command": [], "refused": [], "cancelled": []}
    try:
        for _ in range(REVOCATIONS):
            for name, milliseconds in once(control, there.address).items():
                times[name].append(milliseconds)
    finally:
        owner.delete_queue(QUEUE)
        owner.close()
    return {
        f"{name}_{figure}_ms": value(each)
        for name, each in times.items()
        for figure, value in (("p50", statistics.median), ("max", max))
    }


def once(control: Path, address: Address) -> dict[str, float]:
    """Revoke once, and grant again; return the milliseconds of each thing that came of it."""
    address = replace(address, user=USER, password=PASSWORD)
    publisher, consumer = Client(address), Client(address, tells_cancels=True)
    consumer.consume(QUEUE, no_ack=True, prefetch=0)
    ended: dict[str, float] = {}
    threads = [
        threading.Thread(target=publish_until_refused, args=(publisher, ended)),
        threading.Thread(target=wait_for_cancel, args=(consumer, ended)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(BETWEEN)
    began = time.monotonic()
    grant(control, "")
    ended["command"] = time.monotonic()
    for thread in threads:
        thread.join()
    grant(control, ".*")
    for client in (publisher, consumer):
        client.close()
    return {name: (at - began) * 1000 for name, at in ended.items()}


def publish_until_refused(client: Client, ended: dict[str, float]) -> None:
    """Publish, each message when the one before is taken, until one is refused."""
    request = publish("", QUEUE, 100, persistent=False, frame_max=client.frame_max) + QOS
    try:
        while True:
            client.call(request, 60, 11)
    except PeerFault:
        ended["refused"] = time.monotonic()


def wait_for_cancel(client: Client, ended: dict[str, float]) -> None:
    """Consume until the broker cancels that."""
    client.skip_to(60, 30)
    ended["cancelled"] = time.monotonic()


def control_of(node: OwnBroker) -> Path:
    """Return the path of a node's control socket."""
    return control_path(load(node.config, {}).config.node_place)


def grant(control: Path, pattern: str) -> None:
    """Let the user do everything with what the expression matches."""
    done(control, "set_permissions", user=USER, vhost="/", configure=pattern, write=pattern, read=pattern)


def done(control: Path, command: str, **arguments: str) -> None:
    """Carry a command out."""
    answer = ask(control, {"command": command, **arguments})
    if "error" in answer:
        raise RuntimeError(f"{command}: {answer['error']}")
