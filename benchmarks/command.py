"""The command `python -m benchmarks`: it starts or finds the brokers, runs the cases and writes the results."""

import os
import signal
from collections.abc import Sequence

from benchmarks import options, plots, report
from benchmarks.cases import CASES, DESCRIPTIONS
from benchmarks.console import ConsoleReporter
from benchmarks.deliveries import PeerFault
from benchmarks.load import LoadFailed
from benchmarks.missing import missing
from benchmarks.options import SUBJECT, Options
from benchmarks.own_broker import OwnBroker
from benchmarks.session import Session, split_cores
from benchmarks.target import Target


def main(arguments: Sequence[str]) -> int:
    """Run the command and return the exit code: 0 when all rows were measured, 1 when some failed."""
    chosen = options.parse(arguments, DESCRIPTIONS)
    available = Session.available_cores()
    broker_cores, load_cores = split_cores(available, chosen.pin)
    own = None if chosen.subject else OwnBroker.standalone(broker_cores, chosen.data_dir, chosen.store)
    # SIGTERM raises KeyboardInterrupt, so that the clean-up runs and no broker is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if own is not None:
            own.start()
        return measure_all(chosen, own, (broker_cores, load_cores))
    except (OSError, RuntimeError, PeerFault, LoadFailed) as error:
        print(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if own is not None:
            own.stop()


def measure_all(chosen: Options, own: OwnBroker | None, cores: tuple[set[int], set[int]]) -> int:
    """Run the chosen cases on our broker and its peers."""
    targets = find_targets(chosen, own)
    broker_cores, load_cores = cores
    if load_cores:
        os.sched_setaffinity(0, load_cores)
    reporter = ConsoleReporter()
    session = Session(chosen, targets, broker_cores, load_cores, reporter)
    about = report.environment(session)
    for target in targets:
        reporter.say(target.describe())
    try:
        for case in chosen.cases:
            CASES[case](session)
    except KeyboardInterrupt:
        session.failures.append("interrupted")
    if not session.rows:
        reporter.say("nothing was measured: no row matches --only")
        return 1
    folder = report.write(session, about)
    if own is not None and session.failures:
        own.save_log(folder)
    try:
        plots.write(session.rows, [target.name for target in targets], folder)
    except ModuleNotFoundError as error:
        reporter.say(f"no pictures: {missing(error)}")
    reporter.say(f"written to {folder}")
    return 1 if session.failures else 0


def find_targets(chosen: Options, own: OwnBroker | None) -> list[Target]:
    """Return our broker and then the peers, after connecting to each once."""
    targets = [Target(SUBJECT, own.address, own.pid, own)] if own is not None else []
    places = [chosen.subject] if chosen.subject else []
    targets += [Target(place.name, place.address, place.pid) for place in (*places, *chosen.peers)]
    for target in targets:
        try:
            target.inspect()
        except (OSError, PeerFault) as error:
            raise RuntimeError(f"no broker '{target.name}' at {target.address}: {error}") from error
    return targets
