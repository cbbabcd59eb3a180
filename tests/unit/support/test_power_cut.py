"""What a simulated power cut may leave: certain is what was synced, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

from tests.support.power_cut import CutDisk, sweep
from tests.support.strace import Call

FOLDER = "/folder"
FILE = "/folder/file"


def call(line: int, name: str, place: str = FILE, octets: bytes = b"", *numbers: int, ends: int | None = None) -> Call:
    end = line if ends is None else ends
    return Call(line, end, name, place, octets, numbers, name == "openat", len(octets))


def synced_file() -> list[Call]:
    """A file of eight a's whose content and name are on disk."""
    return [call(1, "openat"), call(2, "pwrite64", FILE, b"a" * 8, 0), call(3, "fsync"), call(4, "fsync", FOLDER)]


def left_after(calls: list[Call], at: int, tmp_path: Path, ignored: tuple[str, ...] = ()) -> set[bytes | None]:
    """Return every content that 60 cuts after line `at` have left in the file, None for no file."""
    disk = CutDisk(Path(FOLDER), ignored)

    def feed(one: Call, is_end: bool) -> None:
        (disk.on_end if is_end else disk.on_start)(one)

    left: set[bytes | None] = set()
    for _ in sweep(calls, [at], feed):
        for seed in range(60):
            directory = tmp_path / str(seed)
            directory.mkdir()
            disk.write(directory, random.Random(seed))
            file = directory / "file"
            left.add(file.read_bytes() if file.exists() else None)
    return left


def test_what_was_synced_is_there(tmp_path: Path) -> None:
    assert left_after(synced_file(), 4, tmp_path) == {b"a" * 8}


def test_what_was_written_after_the_sync_is_there_or_not(tmp_path: Path) -> None:
    later = call(5, "pwrite64", FILE, b"bb", 0)

    assert left_after([*synced_file(), later], 5, tmp_path) == {b"a" * 8, b"bbaaaaaa"}


def test_a_write_that_has_not_ended_when_a_sync_begins_is_not_synced(tmp_path: Path) -> None:
    calls = [*synced_file(), call(5, "pwrite64", FILE, b"bb", 0, ends=7), call(6, "fsync", ends=8)]

    assert left_after(calls, 9, tmp_path) == {b"a" * 8, b"bbaaaaaa"}


def test_a_sync_that_has_not_ended_makes_nothing_certain(tmp_path: Path) -> None:
    calls = [*synced_file(), call(5, "pwrite64", FILE, b"bb", 0), call(6, "fsync", ends=9)]

    assert left_after(calls, 7, tmp_path) == {b"a" * 8, b"bbaaaaaa"}


def test_a_write_over_several_sectors_can_be_torn(tmp_path: Path) -> None:
    written = [*synced_file(), call(5, "pwrite64", FILE, b"b" * 1024, 0)]

    left = left_after(written, 5, tmp_path)

    first, second = b"b" * 512, b"a" * 8 + bytes(504) + b"b" * 512
    assert left == {b"a" * 8, first, second, b"b" * 1024}


def test_a_name_that_was_not_synced_is_there_or_not(tmp_path: Path) -> None:
    assert left_after(synced_file()[:3], 3, tmp_path) == {None, b"a" * 8}


def test_a_removed_file_may_be_back_until_its_folder_is_synced(tmp_path: Path) -> None:
    removed = [*synced_file(), call(5, "unlink"), call(6, "fsync", FOLDER)]

    assert left_after(removed, 5, tmp_path) == {None, b"a" * 8}


def test_a_removed_file_is_gone_when_its_folder_is_synced(tmp_path: Path) -> None:
    removed = [*synced_file(), call(5, "unlink"), call(6, "fsync", FOLDER)]

    assert left_after(removed, 6, tmp_path) == {None}


def test_a_truncation_is_there_or_not(tmp_path: Path) -> None:
    assert left_after([*synced_file(), call(5, "ftruncate", FILE, b"", 3)], 5, tmp_path) == {b"a" * 8, b"aaa"}


def test_files_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    assert left_after(synced_file(), 4, tmp_path, ignored=("file",)) == {None}
