"""What the database shows of a cluster while it is disturbed: incarnations that end, slots that overlap.

Knows the tables of the cluster as rows; must not know clients, nor why something happens.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

from tests.support.cluster import ClusterOfProcesses, SlotSeen
from tests.support.databases import ServerFailed


@dataclass(frozen=True, slots=True)
class IncarnationEnded:
    """An incarnation that was seen to be over at `at`, and to go on at `last_seen`."""

    node_id: str
    incarnation: str
    last_seen: float
    at: float


class Watch:
    """Looks at incarnations and slots several times a second while it is open; a look without an answer is skipped."""

    def __init__(self, cluster: ClusterOfProcesses, pause: float = 0.25) -> None:
        self.ended: list[IncarnationEnded] = []
        self.overlaps: list[str] = []
        self.coordinators: list[str] = []
        self.looks = 0
        self.most_slots = 0
        self._cluster = cluster
        self._pause = pause
        self._incarnations: dict[str, tuple[str, float]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after one more look."""
        self._stopping.set()
        self._thread.join(60)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(self._pause)
            try:
                self._look()
            except ServerFailed:
                continue

    def _look(self) -> None:
        now = time.monotonic()
        rows = [line.split("\t") for line in self._cluster.rows("MB_NODE_HEARTBEAT", "NODE_ID", "INCARNATION", "STATE")]
        for node_id, incarnation, state in rows:
            before = self._incarnations.get(node_id)
            if before is not None and (before[0] != incarnation or state != "UP"):
                self.ended.append(IncarnationEnded(node_id, before[0], before[1], time.monotonic()))
                del self._incarnations[node_id]
            if state == "UP":
                self._incarnations[node_id] = (incarnation, now)
        holder = self._cluster.coordinator_id()
        if holder and holder not in self.coordinators[-1:]:
            self.coordinators.append(holder)
        slots = self._cluster.slots()
        self.most_slots = max(self.most_slots, len(slots))
        self.overlaps += overlapping(slots)
        self.looks += 1


def overlapping(slots: list[SlotSeen]) -> list[str]:
    """Return a line for each pair of slots of one queue and lane that have ids in common."""
    by_lane: dict[tuple[int, int], list[SlotSeen]] = defaultdict(list)
    for slot in slots:
        by_lane[slot.queue_id, slot.lane].append(slot)
    return [
        f"queue {queue_id}, lane {lane}: {first.start}..{first.end} of {first.owner or 'nobody'} and"
        f" {second.start}..{second.end} of {second.owner or 'nobody'}"
        for (queue_id, lane), found in by_lane.items()
        for first, second in pairwise(sorted(found, key=lambda slot: slot.start))
        if second.start <= first.end
    ]
