"""What a command does on its machine beside asking a node: it waits, runs other programs, connects."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_CONNECTING: Final = 5.0
"""Seconds until a port does not take a connection."""


def execute(command: Sequence[str], given: bytes | None = None) -> int:
    """Run another program on this terminal, with `given` as its input; return its exit code."""
    import subprocess

    return subprocess.run(command, input=given, check=False).returncode


def await_end(process_id: int, seconds: float) -> bool:
    """Wait for the end of a process on this machine; return whether it has ended."""
    import os
    import select

    try:
        descriptor = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(1000 * seconds))
    finally:
        os.close(descriptor)


def reach(host: str, port: int) -> str:
    """Connect to a port of any machine; return why that is not possible, empty if it is."""
    import socket

    try:
        with socket.create_connection((host, port), _CONNECTING):
            return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


@dataclass(frozen=True, slots=True)
class Shell:
    """That of a process; tests have another."""

    execute: Callable[..., int] = execute
    await_end: Callable[[int, float], bool] = await_end
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    reach: Callable[[str, int], str] = reach
