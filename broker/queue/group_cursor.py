"""How far the groups of a queue that lie in slots were looked through, in rounds, by their numbers (ADR 83)."""

from __future__ import annotations

from typing import Final

from broker.ports.groups import BEFORE_GROUPS, GroupPage

AT_ONCE: Final = 1000
"""Messages of groups that are read at once."""
_DEPTH: Final = 20
"""Messages that are read of one group, if there are many groups."""


class GroupCursor:
    """Where the next look at the groups in slots begins."""

    __slots__ = ("_has_changed", "_has_found", "depth", "is_done", "place")

    def __init__(self) -> None:
        self.place = BEFORE_GROUPS
        """The number of the last group that was looked at in this round."""
        self.depth = _DEPTH
        """How many messages to read of each group."""
        self.is_done = False
        """Has the last round found nothing to read, and has nothing come to the slots since it began?"""
        self._has_found = False
        self._has_changed = False

    def note_change(self) -> None:
        """Groups may have messages in slots of which the last round did not know, or for which there was no use."""
        self.is_done = False
        self._has_changed = True

    def on_page(self, page: GroupPage, *, is_found: bool) -> None:
        """These groups were looked at; `is_found`: messages of some came into memory."""
        self._has_found |= is_found
        count = len(page.heads)
        if page.last is None and self.place == BEFORE_GROUPS:
            self.depth = max(AT_ONCE // max(count, 1), _DEPTH)  # all groups are in one page
        else:
            self.depth = _DEPTH
        if page.last is not None:
            self.place = page.last
            return
        self.place = BEFORE_GROUPS
        self.is_done = not (self._has_found or self._has_changed)
        self._has_found = self._has_changed = False
