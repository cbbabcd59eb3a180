"""What goes wrong between nodes that share slots, drawn from a seed and printed when a run fails."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.simulation.schedule import Fault

NODES: Final = 3
FAULT_SECONDS: Final = 2.5
# Of a node: its process ends; it stops in order; it is thought dead and learns it later; its consumers come or go, once
# or again and again.
# Of all: another node is elected, or is while the former one believes in its power; nobody is known to coordinate;
# calls fail, or are done when nobody waits for them any more; the store fails, or is slow to write.
KINDS: Final = (
    *("crash", "stop", "evict", "consumers", "restless"),
    *("elect", "rival", "headless"),
    *("lossy", "late", "doubtful", "outage", "slow"),
)


@dataclass(frozen=True, slots=True)
class SlotSchedule:
    """One run: the faults in the order of their times."""

    seed: int
    faults: tuple[Fault, ...]
    is_cut: bool = False
    """No node ever reaches another one, but each reaches the store."""

    @property
    def healed_at(self) -> float:
        """Return when the last fault is over."""
        return max(fault.at + fault.seconds for fault in self.faults)

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}: {NODES} nodes", *map(str, self.faults)])


def draw(seed: int) -> SlotSchedule:
    """Draw the schedule of `seed`."""
    random = Random(seed)
    return SlotSchedule(
        seed, tuple(sorted((_draw_fault(random) for _ in range(random.randint(2, 6))), key=lambda fault: fault.at))
    )


def _draw_fault(random: Random) -> Fault:
    at, kind = round(random.uniform(0.2, FAULT_SECONDS), 2), random.choice(KINDS)
    # Nodes help themselves when nobody has answered for two seconds.
    seconds = random.uniform(2.5, 4.5) if kind == "headless" else random.uniform(0.2, 1.5)
    return Fault(at, kind, random.randrange(NODES), round(seconds, 2))
