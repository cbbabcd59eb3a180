"""What the demo shows, as lines of text.

Knows numbers and words; knows no process, no terminal and no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.ports.cluster_rows import Lease, NodeRow, NodeState, SlotRow
from tests.support.demo.client import Seen


@dataclass(frozen=True, slots=True)
class Shown:
    """One node at one moment."""

    number: int
    node_id: str
    port: int
    pid: int | None
    exit_code: int | None
    seen: Seen
    published_per_second: float
    delivered_per_second: float
    is_cut_off: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says at one moment."""

    lease: Lease
    nodes: Sequence[NodeRow]
    slots: Sequence[SlotRow]
    messages: int


HEADER = (
    f"{'':2}{'node':<9}{'pid':>8}{'port':>7}  {'role':<13}{'incarnation':<9}{'slots':>6}"
    f"{'published/s':>13}{'delivered/s':>13}{'redelivered':>13}"
)


def lines(title: str, shown: Sequence[Shown], stored: Stored | None) -> list[str]:
    """Return the whole table; `stored` is none when the database did not answer."""
    return [title, "", HEADER, *(_line(node, stored) for node in shown), "", *_totals(shown, stored)]


def _line(node: Shown, stored: Stored | None) -> str:
    row = None if stored is None else next((row for row in stored.nodes if row.node_id == node.node_id), None)
    slots = 0 if stored is None else sum(1 for slot in stored.slots if _owner(slot) == node.node_id)
    return (
        f"{node.number:<2}{node.node_id:<9}{node.pid or '-':>8}{node.port:>7}  {_role(node, row, stored):<13}"
        f"{row.incarnation[:7] if row is not None and node.pid else '-':<9}{slots:>6}"
        f"{node.published_per_second:>13.0f}{node.delivered_per_second:>13.0f}{node.seen.redelivered:>13}"
    )


def _owner(slot: SlotRow) -> str:
    return slot.owner.node_id if slot.owner is not None else ""


def _role(node: Shown, row: NodeRow | None, stored: Stored | None) -> str:
    if node.pid is None:
        return "killed" if node.exit_code == -9 else f"ended {node.exit_code}"
    if node.is_cut_off and not node.seen.is_connected:
        return "cut off"
    if not node.seen.is_connected or stored is None or row is None or row.state is not NodeState.UP:
        return "joining"
    return "coordinator" if stored.lease.holder == node.node_id else "member"


def _totals(shown: Sequence[Shown], stored: Stored | None) -> list[str]:
    published = sum(node.seen.published for node in shown)
    confirmed = sum(node.seen.confirmed for node in shown)
    delivered = sum(node.seen.delivered for node in shown)
    totals = f"published {published}, confirmed {confirmed}, delivered {delivered}"
    if stored is None:
        return [totals, "the database does not answer"]
    free = sum(1 for slot in stored.slots if slot.owner is None)
    return [
        totals,
        f"epoch {stored.lease.epoch}, slots {len(stored.slots) - free} owned and {free} free,"
        f" messages in the database {stored.messages}",
    ]
