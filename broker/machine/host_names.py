"""Addresses of host names, looked up in threads of their own.

A lookup cannot be cancelled, and a DNS that does not answer keeps it for ten seconds and more. The pool of the event
loop has a few threads for the lookups of the whole process: what gives up sooner than the DNS, and asks again, would
fill it, and nothing would be resolved any more, not even `localhost`. So each user that asks for names again and again,
such as calls to members, has `HostNames` of its own: one lookup for a name at a time, which goes on when nobody waits.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Final, TypeAlias, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)

MOST_LOOKUPS: Final = 32
"""Under way at the same time; others wait for them."""
KEPT: Final = 5.0
"""Seconds for which an answer counts, also that there is none."""
MOST_NAMES: Final = 1024

LookUp: TypeAlias = Callable[[str], Sequence[str]]
"""Returns the addresses of a name; called in a thread. Raises OSError and UnicodeError."""


class UnknownName(OSError):
    """A host name has no address, or nobody says which."""


def look_up(host: str) -> Sequence[str]:
    """Return the addresses of a name as the system knows them, each once. Raises OSError and UnicodeError."""
    return [_numeric(found[4]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class _Name:
    """What is known of one name."""

    __slots__ = ("addresses", "answered", "counts_until", "is_asked", "reason")

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        """Of the last lookup that found any."""
        self.reason = ""
        """Why the last lookup found none."""
        self.counts_until = -inf
        self.is_asked = False
        """Is a lookup under way, or waiting for its turn?"""
        self.answered = asyncio.Event()


class HostNames:
    """Knows the addresses of names that are asked for again and again, on one event loop."""

    def __init__(
        self,
        look_up: LookUp = look_up,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        most_lookups: int = MOST_LOOKUPS,
    ) -> None:
        self._look_up = look_up
        self._monotonic = monotonic
        self._free = most_lookups
        self._names: dict[str, _Name] = {}
        self._waiting: deque[str] = deque()

    async def addresses(self, host: str) -> Sequence[str]:
        """Return the addresses of `host`, the one to try first in front; an address is its own.

        What was found before is returned at once, also while it is looked up again. A caller that is cancelled leaves
        the lookup to the next one. Raises `UnknownName`.
        """
        if (numeric := _as_address(host)) is not None:
            return (numeric,)
        name = self._names.get(host) or self._remember(host)
        if not name.is_asked and self._monotonic() >= name.counts_until:
            name.is_asked = True
            self._waiting.append(host)
            self._begin()
        if not name.addresses and not name.reason:
            await name.answered.wait()
        if not name.addresses:
            raise UnknownName(f"the name '{host}' is not resolved: {name.reason}")
        return name.addresses

    async def check(self, host: str) -> None:
        """Return when the system knows the name, for software that looks it up once more: then it need not wait long.

        Raises `UnknownName`.
        """
        await self.addresses(host)
        name = self._names.get(host)
        if name is not None and name.reason:
            raise UnknownName(f"the name '{host}' is not resolved: {name.reason}")

    def is_waiting_for(self, host: str) -> bool:
        """Has nobody said yet which addresses the name has?"""
        name = self._names.get(host)
        return name is not None and name.is_asked and not name.addresses and not name.reason

    def _remember(self, host: str) -> _Name:
        if len(self._names) >= MOST_NAMES:
            settled = [each for each, name in self._names.items() if not name.is_asked]
            if not settled:
                raise UnknownName(f"the name '{host}' is not resolved: {MOST_NAMES} others are being looked up")
            for each in settled:
                del self._names[each]
        name = self._names[host] = _Name()
        return name

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        while self._free > 0 and self._waiting:
            host = self._waiting.popleft()
            thread = threading.Thread(target=self._run, args=(loop, host), name=f"name {host:.40}", daemon=True)
            self._free -= 1
            try:
                thread.start()
            except RuntimeError as error:  # no more threads can be had
                self._on_answer(host, (), str(error))

    def _run(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        """Look up one name, in a thread."""
        found: tuple[str, ...] = ()
        reason = "it has no address"
        try:
            found = tuple(dict.fromkeys(self._look_up(host)))
        except OSError as error:
            reason = error.strerror or str(error)
        except Exception as error:  # a text that cannot be a name, such as one with an empty label
            reason = str(error)
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(partial(self._on_answer, host, found, reason))

    def _on_answer(self, host: str, found: tuple[str, ...], reason: str) -> None:
        self._free += 1
        name = self._names[host]
        if found:
            name.addresses, name.reason = found, ""
        else:  # addresses of an earlier lookup stand: a DNS that is away does not take members away
            name.reason = reason
        name.is_asked = False
        name.counts_until = self._monotonic() + KEPT
        name.answered.set()
        self._begin()


async def connect(
    names: HostNames, new_protocol: Callable[[], P], host: str, port: int, tls: ssl.SSLContext | None = None
) -> P:
    """Connect to the first address of a host that accepts; sets no timeout. Raises OSError."""
    failure: OSError | None = None
    loop = asyncio.get_running_loop()
    for address in await names.addresses(host):
        try:
            _, protocol = await loop.create_connection(new_protocol, address, port, ssl=tls)
        except OSError as error:
            failure = failure or error
        else:
            return protocol
    raise failure or UnknownName(f"the name '{host}' has no address")


def _as_address(host: str) -> str | None:
    """Return `host` if it is an address, which nobody needs to be asked for; None for a name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return _numeric(found[0][4])


def _numeric(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """Return the text of an address with the zone that a link-local one needs."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) == 4 and address[3] and "%" not in host else host
