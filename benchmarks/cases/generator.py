"""What the load generator can do by itself: no figure near these says anything about a broker."""

import socket
from dataclasses import replace
from multiprocessing import get_context

from benchmarks.address import Address
from benchmarks.cases.throughput import ACK_EACH, TRANSIENT
from benchmarks.load import run_load
from benchmarks.null_peer import null_peer_process
from benchmarks.results import Row, Values
from benchmarks.run import work_out
from benchmarks.scenario import Scenario
from benchmarks.session import Session

COUNT = 3_000_000


def run(session: Session) -> None:
    """Measure publisher and consumer together, on the load's cores, against a broker that does nothing."""
    for scenario in (TRANSIENT, ACK_EACH):
        limited = replace(scenario, count=COUNT)
        row = Row("generator", f"null peer, {scenario.name}", ["rate", "publish_rate"])
        session.rounds(row, lambda _, limited=limited: against_nothing(session, limited), [session.subject])  # type: ignore[misc]


def against_nothing(session: Session, scenario: Scenario) -> Values:
    """Run a scenario against a null peer on another core."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = get_context("spawn").Process(
            target=null_peer_process, args=(server, scenario.size, scenario.count, session.broker_cores), daemon=True
        )
        peer.start()
        try:
            address = Address(port=int(server.getsockname()[1]))
            with session.reporter.running(scenario.name, scenario.count) as progress:
                result = run_load(address, scenario, session.load_cores, progress)
        finally:
            peer.kill()
            peer.join()
    return work_out(scenario, result)
