"""The certificates of a TLS listener while the node runs: read again when their files change, watched for expiry.

A file that cannot be used leaves what was there, and is an error in the log.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeAlias

import structlog

from broker.config.ssl_connection import TlsListener
from broker.errors import ConfigError
from broker.machine.faults import MachineFaults
from broker.server.certificate_dates import first_end, report_own, report_trusted
from broker.server.tls import AMQP, TlsSetup, tls_setup

_log = structlog.get_logger(__name__)

LOOK_INTERVAL: Final = 10.0
"""Seconds between two looks at the files."""
REPORT_INTERVAL: Final = timedelta(days=1)

_Fingerprint: TypeAlias = tuple[tuple[int, ...], ...]


def _now() -> datetime:
    return datetime.now(UTC)


class Certificates:
    """The TLS setup of a listener, and the files it comes from."""

    def __init__(
        self,
        connection: TlsListener,
        now: Callable[[], datetime] = _now,
        aside: Callable[..., Awaitable[Any]] = asyncio.to_thread,
        *,
        element: str = AMQP,
    ) -> None:
        """Read the stores. Raises ConfigError naming the file that cannot be used.

        `element` is where in broker.xml the listener is. `aside` runs a function beside the loop: the keys of a store
        are hidden by thousands of rounds of a hash.
        """
        self._now = now
        self._aside = aside
        self._connection = connection
        self._element = element
        self._complaint = ""
        self._fingerprint = _fingerprint(connection)
        self._setup = tls_setup(connection, element)
        self._report()

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the connections that come from now on."""
        return self._setup.context

    @property
    def end(self) -> float | None:
        """When the first certificate that the listener shows ends, in seconds since 1970; None if nobody can say."""
        return first_end(self._setup.own)

    def use(self, connection: TlsListener) -> None:
        """Read the stores of another configuration. Raises ConfigError, and changes nothing, when one is not usable."""
        self.read(connection)()

    def read(self, connection: TlsListener) -> Callable[[], None]:
        """Read the stores of another configuration; return what takes them. Raises ConfigError."""
        fingerprint = _fingerprint(connection)
        return partial(self._take, connection, fingerprint, tls_setup(connection, self._element))

    async def look(self) -> bool:
        """Read the stores if their files have changed; return whether there is another context."""
        connection = self._connection
        if self._now() >= self._report_at:
            self._report()
        fingerprint = _fingerprint(connection)
        if fingerprint == self._fingerprint and not self._complaint:
            return False
        try:
            setup = await self._aside(tls_setup, connection, self._element)
        except (ConfigError, RuntimeError) as error:  # RuntimeError: there can be no thread now
            self._complain(str(error), is_new=fingerprint != self._fingerprint)
            self._fingerprint = fingerprint
            return False
        if connection is not self._connection:
            return False  # another configuration has come meanwhile
        self._take(connection, fingerprint, setup)
        _log.info("the TLS certificates were read again", file=connection.key_store.location)
        return True

    async def watch(self, on_change: Callable[[], None], sleep: Callable[[float], Awaitable[None]]) -> None:
        """Look at the files for ever; `on_change` is called when there is another context."""
        faults = MachineFaults("reading certificates again")
        while True:
            await sleep(LOOK_INTERVAL)
            with faults:
                if await self.look():
                    on_change()

    def _take(self, connection: TlsListener, fingerprint: _Fingerprint, setup: TlsSetup) -> None:
        self._connection, self._fingerprint, self._setup, self._complaint = connection, fingerprint, setup, ""
        self._report()

    def _complain(self, reason: str, *, is_new: bool) -> None:
        if is_new or reason != self._complaint:
            _log.error("the TLS certificates were not read again, the listener goes on with what it has", reason=reason)
        self._complaint = reason

    def _report(self) -> None:
        """Say which certificates expire soon, or have expired."""
        now = self._now()
        self._report_at = now + REPORT_INTERVAL
        report_own(self._setup.own, self._connection.key_store.location, now, self._element)
        report_trusted(self._setup.trusted, self._connection.trust_store.location, now, self._element)


def _fingerprint(connection: TlsListener) -> _Fingerprint:
    """Return what changes when one of the files is written or replaced."""
    locations = (connection.key_store.location, connection.trust_store.location)
    return tuple(_stat(location) for location in locations if location)


def _stat(location: str) -> tuple[int, ...]:
    try:
        found = os.stat(location)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
