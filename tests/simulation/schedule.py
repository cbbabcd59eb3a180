"""What goes wrong and when: a list of faults drawn from a seed, printed when a run fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

# Faults of one node, and faults of the store (`node` is -1).
NODE_FAULTS = ("pause", "kill", "stop", "slow", "late-replies", "lossy", "isolated", "wall-jump")
STORE_FAULTS = ("outage", "hang")
# These stop a node's clock, or take commits back: then two may believe in power, and only the fence holds.
UNSAFE_FOR_BELIEF = ("freeze", "fail-over")


@dataclass(frozen=True, slots=True)
class Fault:
    """From `at`, for `seconds`; a wall clock jumps by `seconds` and stays there."""

    at: float
    kind: str
    node: int
    seconds: float

    def __str__(self) -> str:
        who = "store" if self.node < 0 else f"node {self.node}"
        return f"{self.at:6.2f}  {who}: {self.kind} {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run: how fast the clock of each node is, and the faults in the order of their times."""

    seed: int
    creation_wait: float
    rates: tuple[float, ...]
    faults: tuple[Fault, ...]

    @property
    def healed_at(self) -> float:
        """Return when the last fault is over."""
        return max((fault.at + abs(fault.seconds) for fault in self.faults), default=0.0)

    def is_safe_for_belief(self) -> bool:
        """Return whether no two nodes may believe in power at one instant, whatever the fence does."""
        return not any(fault.kind in UNSAFE_FOR_BELIEF for fault in self.faults)

    def __str__(self) -> str:
        rates = ", ".join(map(str, self.rates))
        title = f"seed {self.seed}: {len(self.rates)} nodes, clock rates {rates}, wait {self.creation_wait} s"
        return "\n".join([title, *map(str, self.faults)])


def draw(seed: int, *, unsafe: bool = True, kinds: Sequence[str] = NODE_FAULTS) -> Schedule:
    """Draw the schedule of `seed`; without `unsafe`, no clock stands still and no commit is taken back.

    `kinds` are the faults that nodes suffer.
    """
    random = Random(seed)
    nodes = random.choice((2, 3, 3))
    faults = [draw_fault(random, nodes, kinds, round(random.uniform(2.0, 30.0), 2))]
    for _ in range(random.randint(0, 4)):
        # Faults are worst in company: half of them follow another one closely.
        close = random.random() < 0.5
        at = faults[-1].at + random.uniform(0.0, 6.0) if close else random.uniform(2.0, 30.0)
        faults.append(draw_fault(random, nodes, kinds, round(at, 2), faults[-1].node if close else -1))
    if unsafe and random.random() < 0.25:
        faults[random.randrange(len(faults))] = draw_unsafe(random, nodes)
    # Crystals differ by 0.01 %; 4 % between two nodes is what the margin must bear.
    rates = tuple(random.choice((0.98, 1.0, 1.0, 1.02)) for _ in range(nodes))
    # A wait hides what goes wrong before it is over, and it may be configured away.
    wait = random.choice((0.0, 3.0))
    return Schedule(seed, wait, rates, tuple(sorted(faults, key=lambda fault: fault.at)))


def draw_fault(random: Random, nodes: int, kinds: Sequence[str], at: float, node: int = -1) -> Fault:
    """Draw one ordinary fault, of `node` if one is given."""
    if node < 0 and random.random() < 0.2:
        return Fault(at, random.choice(STORE_FAULTS), -1, random.choice((1.0, 4.0, 12.0, 20.0)))
    kind = random.choice(kinds)
    node = random.randrange(nodes) if node < 0 else node
    if kind == "wall-jump":
        return Fault(at, kind, node, round(random.uniform(-20.0, 20.0), 2))
    return Fault(at, kind, node, round(random.choice((0.5, 3.0, 8.0, 12.0, 25.0)) * random.uniform(0.8, 1.0), 2))


def draw_unsafe(random: Random, nodes: int) -> Fault:
    """Draw a fault after which the belief of a node says nothing."""
    at = round(random.uniform(2.0, 30.0), 2)
    if random.random() < 0.5:
        return Fault(at, "freeze", random.randrange(nodes), round(random.uniform(3.0, 20.0), 2))
    return Fault(at, "fail-over", -1, round(random.uniform(0.5, 3.0), 2))


def late_replies_before_isolation(seed: int) -> Schedule:
    """Draw what trust is for: a node that gets its answers late, and then none."""
    random = Random(seed)
    at, node = round(random.uniform(8.0, 18.0), 2), random.randrange(2)
    late = Fault(at, "late-replies", node, 10.0)
    isolated = Fault(round(at + random.uniform(2.0, 10.0), 2), "isolated", node, 20.0)
    return Schedule(seed, 0.0, random.choice(((1.0, 1.0), (0.98, 1.02), (1.02, 0.98))), (late, isolated))
