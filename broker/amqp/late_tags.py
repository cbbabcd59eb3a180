"""The tags of deliveries that were taken back because no answer came in time: one that comes late is no error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

MOST: Final = 10_000
"""Tags of one channel that are remembered; an answer to an older one is an unknown tag."""


class LateTags:
    """Tags of one channel, in the order in which they were taken back."""

    __slots__ = ("_tags",)

    def __init__(self) -> None:
        self._tags: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tags: Iterable[int]) -> None:
        """Remember `tags`, and of all tags the newest."""
        self._tags.update(dict.fromkeys(tags))
        for tag in list(islice(self._tags, max(len(self._tags) - MOST, 0))):
            del self._tags[tag]

    def pop(self, tag: int) -> bool:
        """Forget `tag`, which is answered now; return whether it was late."""
        return self._tags.pop(tag, self) is None

    def pop_up_to(self, last: int) -> bool:
        """Forget the tags up to `last`, which are answered now; return whether there was one."""
        answered = [tag for tag in self._tags if tag <= last]
        for tag in answered:
            del self._tags[tag]
        return bool(answered)


class AnsweredTags(LateTags):
    """All tags of one channel that were answered already, for clients that answer twice."""

    __slots__ = ("_is_outstanding",)

    def __init__(self, is_outstanding: Callable[[int], bool | None]) -> None:
        """`is_outstanding` tells whether the delivery of a tag waits for an answer; None if there never was one."""
        super().__init__()
        self._is_outstanding = is_outstanding

    def __len__(self) -> int:
        return 1

    def pop(self, tag: int) -> bool:
        return self._is_outstanding(tag) is False

    def pop_up_to(self, last: int) -> bool:
        return True
