"""A client of JMS sends and takes in transactions while the nodes of a cluster are killed, one after the other."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from typing import Final

from benchmarks.nodes.configuration import CALM
from tests.jms.toolchain import START, WORK, Client, Toolchain
from tests.support.cluster import ClusterOfProcesses
from tests.support.database_products import MariaDB
from tests.support.databases import DatabaseServer

_PERIOD: Final = 7
"""Seconds between two kills, about."""
_DOWN: Final = 1.5
"""Seconds that a node stays away."""
_PATIENCE: Final = 180.0


def run(toolchain: Toolchain, client: Client, kills: int) -> str:
    """Kill one of two nodes so many times by signal 9; return what the program says. Raises `DatabaseMissing`."""
    where = WORK / "cluster"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    server = DatabaseServer(MariaDB())
    try:
        with ClusterOfProcesses(where, server, 2, rhythm=CALM) as cluster:
            for node in cluster.nodes:
                node.start(START)
            cluster.wait_until_complete(START)
            return _under_load(toolchain, client, cluster, kills)
    finally:
        server.close()


def _under_load(toolchain: Toolchain, client: Client, cluster: ClusterOfProcesses, kills: int) -> str:
    addresses = ";".join(f"tcp://localhost:{node.port}?retries='3'&connectdelay='300'" for node in cluster.nodes)
    url = f"amqp://guest:guest@clientID/carbon?brokerlist='{addresses}'&failover='roundrobin?cyclecount='20''"
    seconds = str(kills * _PERIOD + 6)
    options = {"org.slf4j.simpleLogger.defaultLogLevel": "off"}
    command = toolchain.command(client, "FailOverLoad", client.context_factory, url, seconds, options=options)
    dice = random.Random(5)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        for number in range(kills):
            time.sleep(1 + 2 * dice.random())
            node = cluster.nodes[number % 2]
            node.kill9()
            time.sleep(_DOWN)
            node.start(START)
        output, _ = program.communicate(timeout=_PATIENCE)
    return next((line for line in output.splitlines() if line.startswith("result ")), "result missing")


def figures(result: str) -> dict[str, str]:
    """Return what a result says, by name."""
    return dict(part.split("=") for part in result.split()[1:] if "=" in part)


def is_right(result: str) -> bool:
    """Was nothing lost that was committed, and nothing taken twice or invented?"""
    found = figures(result)
    return found.get("drained") == "true" and all(found[name] == "0" for name in ("lost", "twice", "invented"))
