"""The index of message groups as the store knows it (ADR 83)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

BEFORE_GROUPS: Final = -1
"""Before the numbers of all groups."""


class GroupRow(NamedTuple):
    """The entry of a message in the index."""

    message_id: int
    queue_id: int
    group: int


class GroupHead(NamedTuple):
    """The oldest stored messages of a group, by their ids, ascending."""

    group: int
    message_ids: Sequence[int]


class GroupPage(NamedTuple):
    """The next groups of a queue, in the order of their numbers; `last` is the number up to which they are all, None
    when there are none behind them.
    """

    heads: Sequence[GroupHead]
    last: int | None
