"""What goes wrong between nodes that share slots, drawn from a seed and printed when a run fails."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.simulation.schedule import Fault

NODES: Final = 3
FAULT_SECONDS: Final = 2.5
# Of a node: its process ends; it is thought dead and learns it later; its consumers come or go.
# Of all: another node is elected, or is while the former one believes in its power; calls, or the store, fail.
KINDS: Final = ("crash", "stop", "evict", "consumers", "elect", "rival", "lossy", "doubtful", "outage")


@dataclass(frozen=True, slots=True)
class SlotSchedule:
    """One run: the faults in the order of their times."""

    seed: int
    faults: tuple[Fault, ...]

    @property
    def healed_at(self) -> float:
        """Return when the last fault is over."""
        return max(fault.at + fault.seconds for fault in self.faults)

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}: {NODES} nodes", *map(str, self.faults)])


def draw(seed: int) -> SlotSchedule:
    """Draw the schedule of `seed`."""
    random = Random(seed)
    faults = []
    for _ in range(random.randint(2, 6)):
        at = round(random.uniform(0.2, FAULT_SECONDS), 2)
        faults.append(Fault(at, random.choice(KINDS), random.randrange(NODES), round(random.uniform(0.2, 1.5), 2)))
    return SlotSchedule(seed, tuple(sorted(faults, key=lambda fault: fault.at)))
