"""A disk that loses its power: what may be on it at any moment of a record of calls.

Only what was synced is certain. Of everything later each write may be there, be missing or be torn, and each name in a
directory that was not synced may be there or not. Knows calls on files; must not know what is in them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from tests.support.strace import Call

_SYNCS = {"fsync", "fdatasync"}
_READS = {"read"}
_OFFSET_AT = {"pwrite64": -1, "pwritev": -1, "pwritev2": -2}
_SECTORS = (512, 4096)


@dataclass(slots=True)
class Edit:
    """A write of `octets` at `offset`, or without octets a truncation to `offset`."""

    start: int
    end: int
    offset: int
    octets: bytes | None

    def apply(self, content: bytearray) -> None:
        if self.octets is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
        else:
            _put(content, self.offset, self.octets)

    def apply_torn(self, content: bytearray, chance: random.Random) -> None:
        """Apply some sectors of a write."""
        if self.octets is None:
            return
        sector = chance.choice(_SECTORS)
        at = 0
        while at < len(self.octets):
            size = sector - (self.offset + at) % sector
            if chance.random() < 0.5:
                _put(content, self.offset + at, self.octets[at : at + size])
            at += size


def _put(content: bytearray, offset: int, octets: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(octets)] = octets


@dataclass(slots=True)
class File:
    """What is certainly on disk, and what was written after that. A directory is a file nobody writes to."""

    is_directory: bool = False
    synced: bytearray = field(default_factory=bytearray)
    later: list[Edit] = field(default_factory=list)
    position: int = 0

    def sync(self, since: int) -> None:
        """All that had ended before `since` is on disk."""
        for edit in self.later:
            if edit.end < since:
                edit.apply(self.synced)
        self.later = [edit for edit in self.later if edit.end >= since]

    def content(self, keep: float, chance: random.Random) -> bytes:
        """Return what may be found after a cut: each later edit whole, torn or not at all."""
        content = bytearray(self.synced)
        for edit in self.later:
            if chance.random() < keep:
                edit.apply(content)
            elif chance.random() < 0.5:
                edit.apply_torn(content, chance)
        return bytes(content)


@dataclass(slots=True)
class Renaming:
    """A name that came to mean `file`, or with None nothing."""

    end: int
    path: str
    file: File | None
    gone: str = ""
    """The name that it had before, if it had one."""

    def apply(self, names: dict[str, File]) -> None:
        """Let the names be as they are after it."""
        if self.file is None:
            names.pop(self.path, None)
        else:
            names[self.path] = self.file
        names.pop(self.gone, None)


class CutDisk:
    """The files below `directory`, as calls change them. `ignored` are endings of names that no restart reads."""

    def __init__(self, directory: Path, ignored: tuple[str, ...] = ()) -> None:
        self._directory = str(directory)
        self._ignored = ignored
        self._names: dict[str, File] = {str(directory): File(is_directory=True)}
        self._synced_names: dict[str, File] = {}
        self._later_names: list[Renaming] = []

    def on_start(self, call: Call) -> None:
        """A call has begun: from now on its effect may be on disk."""
        if not call.place.startswith(self._directory) or call.place.endswith(self._ignored):
            return
        if call.name in _READS or call.name in _SYNCS:
            return
        if call.name in {"open", "openat"}:
            if call.is_creating and call.place not in self._names:
                self._rename(call, File())
        elif call.name in {"mkdir", "mkdirat"}:
            self._rename(call, File(is_directory=True))
        elif call.name in {"unlink", "unlinkat", "rmdir"}:
            self._rename(call, None)
        elif call.name == "rename":
            old, new = call.place.split("\0")
            self._note(Renaming(call.end, new, self._names[old], old))
        else:
            self._edit(call)

    def on_end(self, call: Call) -> None:
        """A call has ended: if it was a sync, what was before it is certain now."""
        if call.name not in _SYNCS or call.place not in self._names:
            return
        file = self._names[call.place]
        if not file.is_directory:
            file.sync(call.start)
            return
        later, self._later_names = self._later_names, []
        for renaming in later:
            if renaming.end < call.start and str(PurePath(renaming.path).parent) == call.place:
                renaming.apply(self._synced_names)
            else:
                self._later_names.append(renaming)

    def _rename(self, call: Call, file: File | None) -> None:
        self._note(Renaming(call.end, call.place, file))

    def _note(self, renaming: Renaming) -> None:
        renaming.apply(self._names)
        self._later_names.append(renaming)

    def _edit(self, call: Call) -> None:
        file = self._names[call.place]
        if call.name == "ftruncate":
            file.later.append(Edit(call.start, call.end, call.numbers[-1], None))
            return
        assert call.name in {*_OFFSET_AT, "write"}, f"{call.name} is not modelled"
        offset = call.numbers[_OFFSET_AT[call.name]] if call.name in _OFFSET_AT else file.position
        octets = call.octets if call.result is None else call.octets[: call.result]
        if call.name == "write":
            file.position += len(octets)
        file.later.append(Edit(call.start, call.end, offset, octets))

    def write(self, directory: Path, chance: random.Random) -> None:
        """Write what may be found after a cut at this moment below `directory`."""
        keep = chance.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        names = dict(self._synced_names)
        for renaming in self._later_names:
            if chance.random() < keep:
                renaming.apply(names)
        for path, file in sorted(names.items()):
            to = directory / PurePath(path).relative_to(self._directory)
            if not to.parent.is_dir():
                continue  # its directory's own name was lost
            if file.is_directory:
                to.mkdir(exist_ok=True)
            else:
                to.write_bytes(file.content(keep, chance))


def sweep(calls: list[Call], cuts: list[int], feed: Callable[[Call, bool], None]) -> Iterator[int]:
    """Call `feed` with each call as it begins (False) and as it ends (True); yield after the lines that are `cuts`."""
    waiting = sorted(cuts, reverse=True)
    moments = [(call.start, False, call) for call in calls] + [(call.end, True, call) for call in calls]
    for line, is_end, call in sorted(moments, key=_moment):
        while waiting and waiting[-1] < line:
            yield waiting.pop()
        feed(call, is_end)
    yield from reversed(waiting)


def _moment(moment: tuple[int, bool, Call]) -> tuple[int, bool]:
    return moment[0], moment[1]
