"""What came of each fault of the table: how soon it was noticed, and what publishers saw of it, as lines of text.

Knows the rounds and the record of the load; must not know processes.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tests.support.cluster_load import ClusterLoad
from tests.support.events import Event, Op, Outcome
from tests.support.fault_rows import Round

_HEADER = (
    f"{'fault':<48}{'rounds':>7}{'noticed':>13}{'handed over':>13}{'whole again':>13}"
    f"{'wait there':>13}{'elsewhere':>13}{'needless':>9}  sessions that ended"
)


def lines(title: str, rounds: Sequence[Round], load: ClusterLoad) -> list[str]:
    """Return the table: a line for each fault, times in seconds as median and most."""
    by_row: dict[str, list[Round]] = defaultdict(list)
    for each in rounds:
        by_row[each.row.name].append(each)
    waits = Waits(load)
    return [title, _HEADER, *(_line(name, struck, load, waits) for name, struck in by_row.items())]


def _line(name: str, struck: Sequence[Round], load: ClusterLoad, waits: Waits) -> str:
    times = (
        [each.noticed for each in struck],
        [each.handed_over for each in struck],
        [each.whole for each in struck],
        [waits.longest(each, is_there=True) for each in struck],
        [waits.longest(each, is_there=False) for each in struck],
    )
    ended = Counter(kind_of(ending.reason) for each in struck for ending in load.endings if _is_during(each, ending.at))
    sessions = ", ".join(f"{count} {kind}" for kind, count in ended.most_common()) or "none"
    columns = "".join(f"{_median_and_most(each):>13}" for each in times)
    return f"{name:<48}{len(struck):>7}{columns}{sum(each.needless for each in struck):>9}  {sessions}"


def _median_and_most(times: Iterable[float | None]) -> str:
    known = [each for each in times if each is not None]
    return f"{statistics.median(known):.1f} / {max(known):.1f}" if known else "-"


def _is_during(each: Round, at: float) -> bool:
    return each.began <= at <= each.over


def kind_of(reason: str) -> str:
    """Return in few words how a session ended: a code of AMQP, or what became of its connection."""
    code = re.match(r"\d{3}\b", reason)
    if code is not None:
        return code.group()
    return "timed out" if "timed out" in reason else "reset"


class Waits:
    """How long each publisher waited for its next confirm, over its sessions."""

    def __init__(self, load: ClusterLoad) -> None:
        confirmed: dict[str, list[Event]] = defaultdict(list)
        for event in load.recorder.events:
            if event.op in (Op.CONFIRM, Op.COMMIT) and event.type is Outcome.OK:
                confirmed[event.channel.partition("/")[0]].append(event)
        self._waits = [
            (before.t_ret, after.t_ret, load.node_of(before.channel))
            for events in confirmed.values()
            for before, after in pairwise(events)
        ]

    def longest(self, each: Round, *, is_there: bool) -> float | None:
        """Return the longest wait that met a round, of those who were on the node that was struck, or elsewhere."""
        met = (
            after - before
            for before, after, node in self._waits
            if before < each.over and after > each.began and (node == each.node) is is_there
        )
        return max(met, default=None)
