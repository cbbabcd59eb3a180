"""The cases of the JMS program with one client after the other: how each ends, and the table of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from benchmarks.nodes.process import BrokerProcess
from tests.jms import foreign
from tests.jms.known import FAILURES
from tests.jms.toolchain import Client, Toolchain

Results: TypeAlias = dict[str, str]
"""By case, `ok` or what was wrong."""
FAILS: Final = "FAILS"
_ALONE: Final = "acktimeout"
"""The case that needs an option of the whole virtual machine."""
_PATIENCE: Final = 1800.0


def run(toolchain: Toolchain, client: Client, broker: BrokerProcess, cases: Sequence[str]) -> Results:
    """Run cases with one client, and say on stderr how each ends."""
    queue = f"jms.foreign.{client.name}.{client.version}"
    foreign.publish(broker.port, queue)
    url = f"amqp://guest:guest@clientID/carbon?brokerlist='tcp://localhost:{broker.port}'"
    quiet = {"org.slf4j.simpleLogger.defaultLogLevel": "off"}
    found: Results = {}
    together = [case for case in cases if case != _ALONE]
    alone = [case for case in cases if case == _ALONE]
    for names, options in ((together, {"foreign": queue}), (alone, {"AndesAckWaitTimeOut": "11000"})):
        if names:
            given = (client.context_factory, url, *names)
            command = toolchain.command(client, "Main", *given, options={**quiet, **options})
            for line in _lines(command):
                print(f"{client}: {line}", file=sys.stderr, flush=True)
                _, case, result = line.split(" ", 2)
                found[case] = result
    return {case: found.get(case, "FAIL the program ended before") for case in cases}


def _lines(command: Sequence[str]) -> Iterable[str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("case "):
                yield line.strip()
        process.wait(_PATIENCE)


def table(results: Mapping[Client, Results], cases: Sequence[str]) -> str:
    """Return a row for each case, and how many each client passes."""
    lines = ["".join([f"{'':12}", *(f"{client!s:22}" for client in results)])]
    for case in cases:
        told = ("ok" if results[client][case] == "ok" else verdict(client, case) for client in results)
        lines.append("".join([f"{case:12}", *(f"{each:22}" for each in told)]))
    passed = (f"{sum(each == 'ok' for each in found.values())} of {len(cases)}" for found in results.values())
    lines.append("".join([f"{'passed':12}", *(f"{each:22}" for each in passed)]))
    return "\n".join(line.rstrip() for line in lines)


def verdict(client: Client, case: str) -> str:
    return "client's fault" if case in FAILURES[client.name] else FAILS


def failures(results: Mapping[Client, Results]) -> list[tuple[Client, str]]:
    """Return what has failed, in whosever fault."""
    return [(client, case) for client, found in results.items() for case, result in found.items() if result != "ok"]


def reasons(results: Mapping[Client, Results]) -> list[str]:
    """Return a line for each failure: what was wrong, and for known ones why that is the client's fault."""
    lines = []
    for client, case in failures(results):
        known = FAILURES[client.name].get(case, "")
        what = results[client][case].removeprefix("FAIL ")
        lines.append(f"{client} {case}: {what}" + (f" [{known}]" if known else ""))
    return lines
