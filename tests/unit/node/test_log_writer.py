"""A log that is not read, or cannot be written, holds nobody up."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator

import pytest

from broker.node.log_writer import LogWriter

PIPE = 4096


class Pipe:
    """A pipe that holds 4096 octets."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, PIPE)

    def read_to_the_end(self) -> list[str]:
        """Close the end that is written to, and return the lines."""
        os.close(self.into)
        self.into = -1
        with os.fdopen(self.out, closefd=False) as lines:
            return lines.read().splitlines()

    def close(self) -> None:
        for descriptor in (self.out, self.into):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def dropped(count: int) -> str:
    return f"dropped {count}"


def test_lines_come_out_in_order(pipe: Pipe) -> None:
    writer = LogWriter(pipe.into, dropped)
    lines = [f"line {number}" for number in range(100)]
    for line in lines:
        writer.write(line)
    writer.close(10.0)
    assert pipe.read_to_the_end() == lines


def test_a_reader_that_stands_still_holds_nobody_up(pipe: Pipe) -> None:
    os.write(pipe.into, b"x" * PIPE)
    writer = LogWriter(pipe.into, dropped, room=10_000)
    for number in range(1000):
        writer.write(f"{number:099}")
    writer.close(0.0)
    assert os.read(pipe.out, PIPE) == b"x" * PIPE


def test_lines_that_were_dropped_are_counted_where_they_are_missing(pipe: Pipe) -> None:
    writer = LogWriter(pipe.into, dropped, room=10_000)
    for number in range(1000):
        writer.write(f"{number:099}")
    read = b""
    while b"dropped" not in read:
        read += os.read(pipe.out, PIPE)
    writer.write("the last one")
    closing = threading.Thread(target=writer.close, args=(10.0,))
    closing.start()
    while b"the last one" not in read:  # what is left may be more than the pipe holds
        read += os.read(pipe.out, PIPE)
    closing.join()
    lines = read.decode().splitlines()
    numbers = [int(line) for line in lines if len(line) == 99]
    counts = [int(line.split()[1]) for line in lines if line.startswith("dropped")]
    assert numbers == sorted(numbers)
    assert sum(counts) > 500
    assert len(numbers) + sum(counts) == 1000
    assert lines[-1] == "the last one"


def test_when_nobody_reads_any_more_lines_are_given_up(pipe: Pipe) -> None:
    os.close(pipe.out)
    pipe.out = -1
    writer = LogWriter(pipe.into, dropped)
    for _ in range(10):
        writer.write("into the void")
    writer.close(10.0)
    writer.write("still no error")


def test_a_disk_without_room_is_tried_again(pipe: Pipe) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        os.write(descriptor, b"x")
    writer = LogWriter(descriptor, dropped, try_again=0.01)
    writer.write("is written when there is room")
    os.dup2(pipe.into, descriptor)
    writer.close(10.0)
    os.close(descriptor)
    assert pipe.read_to_the_end() == ["is written when there is room"]


def test_a_descriptor_that_does_not_block_gets_everything(pipe: Pipe) -> None:
    os.set_blocking(pipe.into, False)
    writer = LogWriter(pipe.into, dropped, try_again=0.01)
    lines = ["x" * 1000 for _ in range(20)]
    for line in lines:
        writer.write(line)
    read = b""
    while read.count(b"\n") < 20:
        read += os.read(pipe.out, PIPE)
    writer.close(10.0)
    assert read.decode().splitlines() == lines


def test_text_that_is_no_utf_8_is_written_all_the_same(pipe: Pipe) -> None:
    writer = LogWriter(pipe.into, dropped)
    writer.write("half \ud83d")
    writer.close(10.0)
    assert pipe.read_to_the_end() == [r"half \ud83d"]


def test_somebody_looks_after_each_write(pipe: Pipe) -> None:
    said: list[str] = []

    def look() -> bool:
        if not said:
            said.append("once")
            writer.write("from the look")
        return False

    writer = LogWriter(pipe.into, dropped, look_after=look)
    writer.write("first")
    read = b""
    while read.count(b"\n") < 2:
        read += os.read(pipe.out, PIPE)
    writer.close(10.0)
    assert read == b"first\nfrom the look\n"


def test_an_error_in_the_thread_costs_the_lines_it_has_taken_and_no_more(pipe: Pipe) -> None:
    looks: list[str] = []

    def look() -> bool:
        looks.append("look")
        if len(looks) == 1:
            raise MemoryError
        return False

    writer = LogWriter(pipe.into, dropped, look_after=look, try_again=0.01)
    writer.write("first")
    assert os.read(pipe.out, PIPE) == b"first\n"
    writer.write("second")
    writer.close(10.0)
    assert sorted(pipe.read_to_the_end()) == ["dropped 1", "second"]
