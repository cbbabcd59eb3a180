"""What a command does on its machine beside asking a node: it waits, and runs other programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class Shell:
    """That of a process; tests have another."""

    execute: Callable[..., int] = execute
    await_end: Callable[[int, float], bool] = await_end
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
