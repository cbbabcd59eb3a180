"""Lets one peer, or one event, fill no more than its share of the log: beyond so many lines the others are counted.

Some events say the same as often as somebody tries again: of them each peer has one line in so many seconds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from structlog import DropEvent

_MOST_KINDS: Final = 4096
_PEER_FIELDS: Final = ("connection", "peer")
"""The fields that hold the address of a peer, with or without its port."""


_Kind: TypeAlias = tuple[str, str, str]
"""A host, an event, and of those that are seldom told the reason."""


@dataclass(slots=True)
class _Share:
    """What one host has logged of one event in this window."""

    until: float
    lines: int = 0
    left_out: int = 0


class LogFlood:
    """A processor of structlog: it drops lines when there have been many of the same event and host."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        lines: int = 100,
        lines_of_nobody: int = 1000,
        seconds: float = 10.0,
        seldom: Mapping[str, float] | None = None,
    ) -> None:
        """Allow `lines` of each event and host in `seconds`, and `lines_of_nobody` of each event without a peer; of an
        event in `seldom` one line of each host and reason in so many seconds.
        """
        self._seldom: Final = seldom or {}
        self._monotonic = monotonic
        self._lines = lines
        self._lines_of_nobody = lines_of_nobody
        self._seconds = seconds
        self._shares: OrderedDict[_Kind, _Share] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        peer = next((event[field] for field in _PEER_FIELDS if field in event), None)
        host = _host_of(peer) if isinstance(peer, str) else ""
        name = str(event.get("event"))
        reason = str(event.get("reason", "")) if name in self._seldom else ""
        is_allowed = self._may_log((host, name, reason))
        if is_allowed and reason:  # a peer may find a new reason each time
            is_allowed = self._may_log((host, name, ""))
        if not is_allowed:
            raise DropEvent
        return event

    def left_out(self, *, at_once: bool = False) -> list[dict[str, object]]:
        """Return once of each host and event whose window is over, or of all, how many lines were left out."""
        with self._lock:
            now = self._monotonic()
            over = [key for key, share in self._shares.items() if at_once or share.until <= now]
            ended = [(key, self._shares.pop(key)) for key in over]
        return [
            {"host": host, "of": event, "lines": share.left_out} for (host, event, _), share in ended if share.left_out
        ]

    @property
    def is_holding_back(self) -> bool:
        """Whether there are windows whose end somebody must look at."""
        return bool(self._shares)

    def _may_log(self, kind: _Kind) -> bool:
        host, event, reason = kind
        seconds = self._seldom.get(event) if reason else None
        with self._lock:
            now = self._monotonic()
            share = self._shares.get(kind)
            if share is None or (share.until <= now and not share.left_out):
                share = self._shares[kind] = _Share(now + (self._seconds if seconds is None else seconds))
                if len(self._shares) > _MOST_KINDS:
                    self._shares.popitem(last=False)
            share.lines += 1
            if share.lines <= (1 if seconds is not None else self._lines if host else self._lines_of_nobody):
                return True
            share.left_out += 1
            return False


def _host_of(address: str) -> str:
    """Return the host of an address; an IPv6 address with a port is in brackets."""
    host, colon, _ = address.rpartition(":")
    return host if colon and (address.startswith("[") or ":" not in host) else address
