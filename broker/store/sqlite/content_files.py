"""Files for large bodies beside the database: segments that are only appended to, each with the bodies of many batches.

The caller calls `append`, commits the rows that name the places, and then calls `commit`. When it has committed the
deletion of rows, it calls `discard`. `read` may run in any thread, everything else in one thread only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from broker.errors import StoreError

SEGMENT_SIZE: Final = 16 << 20
"""Octets after which the next file is begun. A file is deleted when no row names any of its bodies any more."""

_BUFFERS_PER_CALL: Final = 1024  # IOV_MAX of Linux
_BLOCK: Final = 4096  # a batch begins at a block: writing it never rewrites the block of committed octets


class Place(NamedTuple):
    """The place of a body: file, offset and size in octets."""

    segment: int
    offset: int
    size: int


class ContentLost(StoreError):
    """A body that a row names is not in its file."""

    def __init__(self, segment: int, text: str) -> None:
        super().__init__(text)
        self.segment = segment


class ContentFiles:
    """The segments in `directory`, which is made with the first of them."""

    def __init__(
        self,
        directory: Path,
        *,
        segment_size: int = SEGMENT_SIZE,
        write: Callable[[int, list[memoryview], int], int] = os.pwritev,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        """`write` and `sync` are the system's own functions unless a test replaces them."""
        self.on_new_directory: Callable[[], None] = lambda: None
        """Called when the directory was made."""
        self._directory = directory
        self._segment_size = segment_size
        self._write = write
        self._sync = sync
        self._bodies: dict[int, int] = {}  # by segment, how many bodies are named by committed rows
        self._descriptor = -1
        self._segment = 0
        self._end = 0
        self._committed_end = 0
        self._appended = 0

    def open(self, bodies: Mapping[int, int], *, is_ours: bool = True) -> list[Path]:
        """Take over the segments; `bodies` says how many bodies of each are named by rows.

        Segments without any were left by a crash and are deleted. Unless it `is_ours` for certain, they may belong to
        another state of the database: then they are renamed and kept, and their new names returned.
        """
        self._bodies = dict(bodies)
        found = self._found()
        self._segment = max([0, *found, *bodies])
        kept: list[Path] = []
        for segment in found:
            if segment in self._bodies:
                continue
            if is_ours:
                self._unlink(segment)
            else:
                kept.append(self._path(segment).replace(self._directory / f"{segment}.unnamed"))
        return kept

    def close(self) -> None:
        """Close the segment that is being written."""
        self._leave()

    @property
    def is_empty(self) -> bool:
        """Whether rows name no body in these files."""
        return not self._bodies

    def append(self, contents: Iterable[Sequence[memoryview]]) -> list[Place]:
        """Write bodies, each given in pieces, and return their places once they are on disk.

        Call `commit` or `roll_back` before the next `append`.
        """
        is_new = self._descriptor < 0
        if is_new:
            self._begin()
        start = end = -(-self._end // _BLOCK) * _BLOCK
        places: list[Place] = []
        pieces: list[memoryview] = []
        for content in contents:
            size = sum(map(len, content))
            places.append(Place(self._segment, end, size))
            pieces += filter(None, content)
            end += size
        self._appended += len(places)
        self._write_all(pieces, start)
        self._sync(self._descriptor)
        if is_new:
            sync_directory(self._directory)
        self._end = end
        return places

    def commit(self) -> None:
        """Keep what was appended: the rows that name it are committed."""
        if not self._appended:
            return
        self._bodies[self._segment] += self._appended
        self._appended = 0
        self._committed_end = self._end
        if self._end >= self._segment_size:
            self._leave()

    def roll_back(self, *, is_certain: bool) -> None:
        """Remove what was appended: the rows that name it were not committed.

        If that is not `is_certain`, the rows may turn out to be committed after a crash, and their bodies are kept.
        Nothing more is written to this segment: after a sync that failed it is unknown what is on disk.
        """
        if self._descriptor < 0 or not self._appended:
            return
        self._appended = 0
        if is_certain:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._committed_end)
            self._leave()
        else:
            self._close_descriptor()
            if not self._bodies[self._segment]:
                del self._bodies[self._segment]

    def discard(self, bodies: Mapping[int, int]) -> None:
        """Note by segment how many bodies are not named any more; delete segments that have none left."""
        for segment, count in bodies.items():
            if segment in self._bodies:
                self._bodies[segment] -= count
                self._unlink_if_unnamed(segment)

    def read(self, places: Mapping[int, Place]) -> dict[int, bytes]:
        """Return the bodies at `places`, both by message id. Raises `ContentLost` when one is not there."""
        by_segment: dict[int, list[int]] = {}
        for message_id, place in places.items():
            by_segment.setdefault(place.segment, []).append(message_id)
        bodies: dict[int, bytes] = {}
        for segment, message_ids in by_segment.items():
            path = self._path(segment)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise ContentLost(segment, f"the body of message {message_ids[0]} is lost: no file {path}") from None
            try:
                for message_id in message_ids:
                    try:
                        body = _read_at(descriptor, places[message_id])
                    except OSError as error:
                        if error.errno != errno.EIO:
                            raise
                        # A sector that cannot be read costs one message, not the queue.
                        text = f"the body of message {message_id} is lost: {path} cannot be read there"
                        raise ContentLost(segment, text) from error
                    if body is None:
                        raise ContentLost(segment, f"the body of message {message_id} is lost: {path} is too short")
                    bodies[message_id] = body
            finally:
                os.close(descriptor)
        return bodies

    def _begin(self) -> None:
        if not self._directory.is_dir():
            make_directory(self._directory)
            self.on_new_directory()
        self._segment += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self._path(self._segment), flags, 0o600)
        self._bodies[self._segment] = self._end = self._committed_end = 0

    def _leave(self) -> None:
        if self._descriptor >= 0:
            self._close_descriptor()
            self._unlink_if_unnamed(self._segment)

    def _close_descriptor(self) -> None:
        # What is to be kept was synced: an error tells nothing new, and the descriptor is gone after it all the same.
        descriptor, self._descriptor = self._descriptor, -1
        with suppress(OSError):
            os.close(descriptor)

    def _write_all(self, pieces: list[memoryview], offset: int) -> None:
        at = 0
        while at < len(pieces):
            written = self._write(self._descriptor, pieces[at : at + _BUFFERS_PER_CALL], offset)
            if not written:
                raise OSError(errno.EIO, "nothing was written")
            offset += written
            while at < len(pieces) and written >= len(pieces[at]):
                written -= len(pieces[at])
                at += 1
            if written:
                pieces[at] = pieces[at][written:]

    def _found(self) -> list[int]:
        if not self._directory.is_dir():
            return []
        return [int(name) for name in os.listdir(self._directory) if name.isascii() and name.isdecimal()]

    def _unlink_if_unnamed(self, segment: int) -> None:
        is_being_written = segment == self._segment and self._descriptor >= 0
        if self._bodies[segment] <= 0 and not is_being_written:
            del self._bodies[segment]
            self._unlink(segment)

    def _unlink(self, segment: int) -> None:
        # A file that cannot be deleted costs room until the next start tries again.
        with suppress(OSError):
            self._path(segment).unlink()

    def _path(self, segment: int) -> Path:
        return self._directory / str(segment)


def _read_at(descriptor: int, place: Place) -> bytes | None:
    """Return the body at `place`, None when the file ends before the body does."""
    if place.offset + place.size > os.fstat(descriptor).st_size:  # a damaged row may name any place
        return None
    body = os.pread(descriptor, place.size, place.offset)
    while len(body) < place.size:
        more = os.pread(descriptor, place.size - len(body), place.offset + len(body))
        if not more:
            return None
        body += more
    return body


def make_directory(path: Path) -> None:
    """Make the directory `path`, for its owner alone, and return when its name is on disk."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Return when the names in `path` are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
