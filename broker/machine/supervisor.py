"""systemd, where it has started this process: it is told that the node serves, lives and stops (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from broker.machine.faults import MACHINE_FAULTS, kind_of_fault

_log = structlog.get_logger(__name__)

_PARTS: Final = 2
"""How many times it is told within the time that it waits for: one may be late."""


class Supervisor:
    """Tells systemd of this process; does nothing where nobody wants to be told."""

    def __init__(self, environ: Mapping[str, str], process_id: int) -> None:
        """`environ` has NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID where systemd has set them."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        whom = environ.get("WATCHDOG_PID", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        is_watched = microseconds.isdecimal() and whom in ("", str(process_id))
        self.interval: Final = int(microseconds) / 1e6 / _PARTS if is_watched and self._address else 0.0
        """Seconds between two signs of life; 0 when none are wanted."""

    def tell(self, *lines: str) -> None:
        """Send `lines` such as `READY=1`; that it fails is logged and nothing more."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
                notify.sendto("\n".join(lines).encode(), address)
        except MACHINE_FAULTS as error:
            _log.warning("systemd could not be told", what=lines[0], reason=kind_of_fault(error))

    async def watch(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Give signs of life from the loop, until cancelled: a loop that stands still gives none."""
        while self.interval:
            self.tell("WATCHDOG=1")
            await sleep(self.interval)


def of_this_process() -> Supervisor:
    """Return who supervises this process."""
    return Supervisor(os.environ, os.getpid())
