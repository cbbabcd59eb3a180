"""strace's record, read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.strace import Call, calls

FOLDER = Path("/d")
FILE = r"7<\x2f\x64\x2f\x66>"
TCP = "9<TCP:[127.0.0.1:5672->127.0.0.1:40000]>"


def read(tmp_path: Path, *lines: str) -> list[Call]:
    record = tmp_path / "record"
    record.write_text("".join(f"{line}\n" for line in lines))
    return list(calls(record, FOLDER, 5672))


def test_a_write_has_its_path_octets_and_offset(tmp_path: Path) -> None:
    [found] = read(tmp_path, rf'11 pwrite64({FILE}, "\x61\x62", 2, 4096) = 2')

    assert (found.name, found.place, found.octets, found.numbers[-1]) == ("pwrite64", "/d/f", b"ab", 4096)
    assert (found.start, found.end, found.result) == (0, 0, 2)


def test_a_write_of_several_buffers_is_one(tmp_path: Path) -> None:
    buffers = r'[{iov_base="\x61", iov_len=1}, {iov_base="\x62\x63", iov_len=2}]'

    [found] = read(tmp_path, f"11 pwritev2({FILE}, {buffers}, 2, 8192, 0) = 3")

    assert (found.octets, found.numbers[-2]) == (b"abc", 8192)


def test_a_call_that_others_interrupt_lasts_until_it_is_resumed(tmp_path: Path) -> None:
    begun, other, resumed = (
        f"11 fsync({FILE} <unfinished ...>",
        r'12 unlink("\x2f\x64\x2f\x67") = 0',
        "11 <... fsync resumed>)   = 0",
    )

    unlink, fsync = read(tmp_path, begun, other, resumed)

    assert (unlink.name, unlink.place, unlink.start) == ("unlink", "/d/g", 1)
    assert (fsync.name, fsync.place, fsync.start, fsync.end) == ("fsync", "/d/f", 0, 2)


def test_octets_of_a_connection_are_those_that_its_call_returned(tmp_path: Path) -> None:
    [found] = read(tmp_path, f"11 read({TCP},  <unfinished ...>", r'11 <... read resumed>"\xce", 4096) = 1')

    assert (found.place, found.octets, found.result) == ("TCP:[127.0.0.1:5672->127.0.0.1:40000]", b"\xce", 1)


@pytest.mark.parametrize("end", [" <unfinished ...>", ") = ?"])
def test_a_call_that_the_kill_interrupted_never_ended(tmp_path: Path, end: str) -> None:
    [found] = read(tmp_path, f"11 fdatasync({FILE}{end}")

    assert (found.result, found.end > 1000) == (None, True)


def test_a_file_that_is_made_is_told_from_one_that_is_opened(tmp_path: Path) -> None:
    opened = rf'11 openat(AT_FDCWD<\x2f>, "\x2f\x64\x2f\x66", O_RDWR|O_CLOEXEC) = {FILE}'
    made = rf'11 openat(AT_FDCWD<\x2f>, "\x2f\x64\x2f\x66", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = {FILE}'

    assert [(found.place, found.is_creating) for found in read(tmp_path, opened, made)] == [
        ("/d/f", False),
        ("/d/f", True),
    ]


def test_failed_calls_and_other_files_are_left_out(tmp_path: Path) -> None:
    failed = r'11 unlink("\x2f\x64\x2f\x66") = -1 ENOENT (No such file or directory)'
    elsewhere = r'11 write(1</dev/pts/0>, "\x61", 1) = 1'

    assert read(tmp_path, failed, elsewhere) == []
