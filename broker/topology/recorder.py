"""How a change of topology is recorded: before it is applied, and decided anew when other nodes came first.

Knows no change and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from broker.errors import BrokerError
from broker.ports.records import Change

_P = ParamSpec("_P")
_T = TypeVar("_T")


class TopologyMoved(BrokerError):
    """Others were faster: what they did has been applied, and what was decided must be decided anew."""


class Recorder(Protocol):
    """Where changes are recorded before they are applied."""

    async def record(self, changes: Sequence[Change]) -> None:
        """Record `changes` together; return when they are on disk. Raises `TopologyMoved` when nothing is recorded.

        Whoever calls it applies the changes with `LiveTopology.apply` before anything else can happen.
        """
        ...


def decided_anew(change: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Repeat a change from its beginning as long as others come first."""

    @wraps(change)
    async def until_recorded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        while True:
            try:
                return await change(*args, **kwargs)
            except TopologyMoved:
                continue

    return until_recorded
