"""Runs the JMS program with the real clients against this work tree's broker.

`python -m tests.jms [--clients TEXT] [--cases NAME ...]` prints a table of the cases, and compares selectors with the
library of Qpid's client; `--fail-over KILLS` kills the nodes of a cluster under load instead, which needs MariaDB;
`--record` keeps the library's answers. Skipped with one line where Java, Maven or its registry is missing. Ends with 1
when something fails that is not known to be the client's own fault.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.nodes.process import BrokerProcess
from tests.jms import cases, fail_over, selectors
from tests.jms.known import CASES
from tests.jms.toolchain import CLIENTS, QPID, START, WORK, Client, Missing, Toolchain
from tests.support.database_products import DatabaseMissing


def run_cases(toolchain: Toolchain, clients: Sequence[Client], names: Sequence[str]) -> bool:
    """Run cases and print how they end; return whether all is as it should be."""
    where = WORK / "node"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    broker = BrokerProcess(where)
    broker.start(START)
    try:
        results = {client: cases.run(toolchain, client, broker, names) for client in clients}
    finally:
        broker.stop()
    print(cases.table(results, names))
    print(*cases.reasons(results), sep="\n")
    return not any(cases.verdict(client, case) == cases.FAILS for client, case in cases.failures(results))


def compare_selectors(toolchain: Toolchain, *, is_recorded: bool) -> bool:
    """Ask the library of Qpid's client, and print what differs; return whether nothing does."""
    command = toolchain.command(QPID, "SelectorJudge")
    done = subprocess.run(command, input=selectors.question(), capture_output=True, text=True, check=True)
    answers = done.stdout.splitlines()
    if is_recorded:
        selectors.record(answers)
    differences = selectors.differences(answers)
    if answers != selectors.recorded():
        differences.append("the recorded answers are others: record them by --record")
    print(f"selectors: {len(answers)} compared, {len(differences)} differ", *differences, sep="\n")
    return not differences


def run_fail_over(toolchain: Toolchain, clients: Sequence[Client], kills: int) -> bool:
    """Kill nodes under the load of each client, and print what became of its messages; return whether all is right."""
    are_right = []
    for client in clients:
        try:
            result = fail_over.run(toolchain, client, kills)
        except DatabaseMissing as missing:
            print(f"make jms: fail-over skipped, {missing}")
            return True
        print(f"{client} {kills} kills: {result}", flush=True)
        are_right.append(fail_over.is_right(result))
    return all(are_right)


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.jms", description=__doc__)
    parser.add_argument("--clients", default="", help="only clients whose name and version contain this")
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES, help="only these cases", metavar="NAME")
    parser.add_argument("--fail-over", type=int, default=0, help="kill nodes so many times under load", metavar="KILLS")
    parser.add_argument("--record", action="store_true", help="keep the answers of Qpid's library about selectors")
    given = parser.parse_args(arguments)
    clients = [client for client in CLIENTS if given.clients in str(client)]
    try:
        toolchain = Toolchain()
        for client in CLIENTS:
            toolchain.fetch(client)
    except Missing as missing:
        print(f"make jms: skipped, {missing}")
        return 0
    toolchain.compile()
    if given.fail_over:
        return int(not run_fail_over(toolchain, clients, given.fail_over))
    is_same = compare_selectors(toolchain, is_recorded=given.record)
    return int(not (run_cases(toolchain, clients, given.cases) and is_same))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
