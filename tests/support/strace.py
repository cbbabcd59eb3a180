"""What a process and its threads asked of the system, in order: strace's record, and a reader of it.

Knows strace's format and the calls that change files or carry octets over TCP; must not know what any of it is for.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_WATCHED = (
    "open,openat,read,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,fsync,fdatasync,"
    "ftruncate,truncate,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,copy_file_range,sync_file_range"
)
_LONGEST = 1 << 26
_HEAD = 600
_NEVER = 1 << 60

_BEGUN = re.compile(r"(\d+) +(\w+)\(")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>")
_PLACE = re.compile(r"(?:AT_FDCWD|\d+)<(TCP(?:v6)?:\[.*?\]|[^>]*)>")
_RESULT = re.compile(r"\) += (-?\d+|\?)[^\"]*$")
_OCTETS = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(slots=True)
class Call:
    """One successful call. `start` and `end` are its lines in the record; one that never ended has no `result`.

    `place` is the path or the TCP connection it was made on, or the path it names.
    """

    start: int
    end: int
    name: str
    place: str
    octets: bytes
    numbers: tuple[int, ...]
    is_creating: bool
    result: int | None


def is_usable() -> bool:
    """Say whether strace is there and may trace: some containers forbid it."""
    return (
        shutil.which("strace") is not None
        and not subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode
    )


def command(record: Path, traced: Sequence[str]) -> list[str]:
    """Return the command that runs `traced` and records it; the process that was started is `traced` itself."""
    options = ["-D", "-f", "-yy", "-xx", "-s", str(_LONGEST), "-e", "signal=KILL", "-e", f"trace={_WATCHED}"]
    return ["strace", *options, "-o", str(record), *traced]


def wait_for_end(record: Path, pid: int, deadline: float = 30.0) -> None:
    """Return when the record says that process `pid` is gone: the tracer writes after its death."""
    ended = re.compile(rf"^{pid} +\+\+\+ (killed|exited)".encode(), re.MULTILINE)
    began = time.monotonic()
    while True:
        with record.open("rb") as lines:
            lines.seek(max(record.stat().st_size - 4096, 0))
            if ended.search(lines.read()):
                return
        if time.monotonic() - began > deadline:
            raise TimeoutError(f"{record} does not say that {pid} has ended")
        time.sleep(0.02)


def calls(record: Path, directory: Path, port: int) -> Iterator[Call]:
    """Read the successful calls on files below `directory` and on TCP connections of the local `port`."""
    below = "".join(f"\\x{octet:02x}" for octet in bytes(directory))
    of_port = re.compile(rf"TCP:\[[^\]]*:{port}->")
    unfinished: dict[str, tuple[int, str]] = {}
    with record.open(errors="replace") as lines:
        for number, line in enumerate(lines):
            resumed = _RESUMED.match(line)
            if resumed is not None:
                start, head = unfinished.pop(resumed[1], (number, ""))
                if head:
                    yield from _call(start, number, head + line[resumed.end() :])
                continue
            head = line[:_HEAD]
            if below not in head and not of_port.search(head):
                continue
            begun = _BEGUN.match(line)
            assert begun is not None, f"line {number} of {record} is unknown: {head[:100]}"
            if line.endswith("<unfinished ...>\n"):
                unfinished[begun[1]] = number, line[begun.start(2) : -len("<unfinished ...>\n")]
            else:
                yield from _call(number, number, line[begun.start(2) :])
    for start, head in unfinished.values():
        yield from _call(start, _NEVER, head + ") = ?")


def _call(start: int, end: int, text: str) -> Iterator[Call]:
    result = _RESULT.search(text[-_HEAD:])
    assert result is not None, f"a call without a result: {text[:100]} ... {text[-100:]}"
    if result[1].startswith("-"):
        return
    name, _, arguments = text.partition("(")
    quoted = _OCTETS.findall(arguments)
    assert '"...' not in arguments, f"{name} was cut short in the record"
    separator = b"\0" if name == "rename" else b""  # of a rename the old path and the new one
    octets = separator.join(bytes.fromhex(found.replace("\\x", "")) for found in quoted)
    place = _PLACE.match(arguments)
    after = arguments[: arguments.rfind(")")].rpartition('"' if quoted else ">")[2]
    yield Call(
        start=start,
        end=_NEVER if result[1] == "?" else end,
        name=name,
        place=_named(name, place[1] if place else "", octets),
        octets=octets,
        numbers=tuple(map(int, re.findall(r"(?<![\w=])-?\d+\b", after))),
        is_creating="O_CREAT" in after,
        result=None if result[1] == "?" else int(result[1]),
    )


def _named(name: str, place: str, octets: bytes) -> str:
    """Return the place of a call: of those that name a path, the path."""
    if name in {"open", "openat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "rename", "truncate"}:
        return octets.decode()
    if place.startswith("TCP"):
        return place
    return bytes.fromhex(place.replace("\\x", "")).decode() if place.startswith("\\x") else place
