"""Files of large bodies, without a database."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.store.sqlite.content_files import ContentFiles, ContentLost, Place


def body(text: str, size: int = 1000) -> list[memoryview]:
    return [memoryview(text.encode() * size)]


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.is_dir() else []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "mb.db.content"


@pytest.fixture
def files(directory: Path) -> ContentFiles:
    opened = ContentFiles(directory)
    opened.open({})
    return opened


class Interrupted:
    """Writes at most three octets at a time."""

    calls = 0

    def write(self, descriptor: int, pieces: Sequence[memoryview], offset: int) -> int:
        self.calls += 1
        return os.pwrite(descriptor, pieces[0][:3], offset)


class Disk:
    """Refuses to sync while it has an error."""

    error = 0

    def sync(self, descriptor: int) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        os.fdatasync(descriptor)


def test_a_body_is_read_as_it_was_written(files: ContentFiles) -> None:
    first, second = files.append([[memoryview(b"ab"), memoryview(b""), memoryview(b"c")], body("x")])
    files.commit()

    assert files.read({7: second, 8: first}) == {7: b"x" * 1000, 8: b"abc"}


def test_bodies_of_a_batch_lie_behind_each_other_and_batches_in_blocks_of_their_own(files: ContentFiles) -> None:
    first = files.append([body("a"), body("b")])
    files.commit()
    second = files.append([body("c")])

    assert first == [Place(1, 0, 1000), Place(1, 1000, 1000)]
    assert second == [Place(1, 4096, 1000)]


def test_the_folder_is_made_for_the_first_body(files: ContentFiles, directory: Path) -> None:
    assert not directory.exists()
    files.append([body("a")])

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "1").stat().st_mode) == 0o600


def test_a_file_that_is_full_is_followed_by_another(directory: Path) -> None:
    files = ContentFiles(directory, segment_size=2000)
    places = []
    for text in "abc":
        places += files.append([body(text)])
        files.commit()

    assert places == [Place(1, 0, 1000), Place(1, 4096, 1000), Place(2, 0, 1000)]
    assert files.read(dict(enumerate(places))) == {0: b"a" * 1000, 1: b"b" * 1000, 2: b"c" * 1000}


def test_a_batch_larger_than_a_file_lies_in_one(directory: Path) -> None:
    files = ContentFiles(directory, segment_size=2000)

    assert [place.segment for place in files.append([body("a"), body("b"), body("c")])] == [1, 1, 1]


def test_a_file_goes_with_the_last_body_in_it(directory: Path) -> None:
    files = ContentFiles(directory, segment_size=1)
    files.append([body("a"), body("b")])
    files.commit()

    files.discard({1: 1})
    left = names(directory)
    files.discard({1: 1})

    assert (left, names(directory)) == (["1"], [])


def test_the_file_being_written_goes_when_it_is_closed(files: ContentFiles, directory: Path) -> None:
    files.append([body("a")])
    files.commit()
    files.discard({1: 1})
    while_open = names(directory)

    files.close()

    assert (while_open, names(directory)) == (["1"], [])


def test_a_new_start_keeps_what_is_named_and_removes_the_rest(directory: Path) -> None:
    directory.mkdir()
    for name in ("1", "2", "3", "notes.txt"):
        (directory / name).write_bytes(b"x")
    files = ContentFiles(directory)

    files.open({2: 1})

    assert names(directory) == ["2", "notes.txt"]
    assert files.append([body("a")]) == [Place(4, 0, 1000)]


def test_the_number_of_a_lost_file_is_not_used_again(directory: Path) -> None:
    files = ContentFiles(directory)

    files.open({9: 1})

    assert files.append([body("a")])[0].segment == 10


def test_short_writes_go_on_where_they_stopped(directory: Path) -> None:
    interrupted = Interrupted()
    files = ContentFiles(directory, write=interrupted.write)
    pieces = [memoryview(b"abcd"), memoryview(b"ef"), memoryview(b"ghijklm")]

    [place] = files.append([pieces])

    assert files.read({1: place}) == {1: b"abcdefghijklm"}
    assert interrupted.calls == 6


def test_more_pieces_than_the_system_takes_at_once_are_all_written(files: ContentFiles) -> None:
    [place] = files.append([[memoryview(b"%d," % number) for number in range(3000)]])

    assert files.read({1: place})[1].split(b",")[-2] == b"2999"


def test_a_disk_that_writes_nothing_is_an_error(directory: Path) -> None:
    files = ContentFiles(directory, write=lambda *_: 0)

    with pytest.raises(OSError, match="nothing was written"):
        files.append([body("a")])


def test_a_batch_that_failed_leaves_no_file(directory: Path) -> None:
    disk = Disk()
    files = ContentFiles(directory, sync=disk.sync)
    disk.error = errno.ENOSPC

    with pytest.raises(OSError, match="No space left"):
        files.append([body("a")])
    files.roll_back(is_certain=True)

    assert names(directory) == []
    assert files.is_empty


def test_a_batch_that_failed_takes_nothing_from_those_before(directory: Path) -> None:
    disk = Disk()
    files = ContentFiles(directory, sync=disk.sync)
    [kept] = files.append([body("a")])
    files.commit()
    disk.error = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        files.append([body("b")])
    files.roll_back(is_certain=True)
    disk.error = 0

    [again] = files.append([body("b")])

    assert (directory / "1").stat().st_size == 1000
    assert again == Place(2, 0, 1000)
    assert files.read({1: kept, 2: again}) == {1: b"a" * 1000, 2: b"b" * 1000}


def test_a_batch_whose_commit_is_uncertain_keeps_its_bodies_until_the_next_start(
    files: ContentFiles, directory: Path
) -> None:
    [place] = files.append([body("a")])
    files.roll_back(is_certain=False)

    assert files.read({1: place}) == {1: b"a" * 1000}
    assert files.append([body("a")])[0].segment == 2
    files.commit()
    files.close()
    files.open({2: 1})
    assert names(directory) == ["2"]


def test_a_roll_back_without_bodies_changes_nothing(files: ContentFiles) -> None:
    [place] = files.append([body("a")])
    files.commit()

    files.roll_back(is_certain=True)

    assert files.read({1: place}) == {1: b"a" * 1000}
    assert files.append([body("b")])[0].segment == 1


def test_a_missing_file_names_the_message_and_the_file(files: ContentFiles, directory: Path) -> None:
    with pytest.raises(ContentLost, match=rf"message 7 is lost: no file {directory}/3$"):
        files.read({7: Place(3, 0, 10)})


def test_a_file_that_is_too_short_names_the_message_and_the_file(files: ContentFiles, directory: Path) -> None:
    files.append([body("a")])

    with pytest.raises(ContentLost, match=rf"message 7 is lost: {directory}/1 is too short$"):
        files.read({7: Place(1, 500, 501)})


def test_discarding_what_is_not_there_is_no_error(files: ContentFiles) -> None:
    files.discard({5: 1})

    assert files.is_empty
