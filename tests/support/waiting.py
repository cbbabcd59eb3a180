"""Waits for what nodes of a cluster do, and shows their logs when they do not.

Knows nodes by their logs only; must not know what is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from benchmarks.nodes.process import BrokerProcess


class ClusterFailed(Exception):
    """What was waited for did not happen; the text ends with the logs."""


def wait_until(condition: Callable[[], bool], deadline: float, what: str, nodes: Sequence[BrokerProcess] = ()) -> None:
    """Return when `condition` holds; raise with the ends of the nodes' logs when it does not within `deadline` s."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            logs = "\n".join(f"--- {node}\n" + "\n".join(node.log.splitlines()[-40:]) for node in nodes)
            raise ClusterFailed(f"{what}: not within {deadline} s\n{logs}")
        time.sleep(0.02)
