"""The servers that may have a database: in which order they are tried, and which one is in use.

After a fail-over another one takes the writes. Each new connection goes to the one in use while it does, else to the
first that does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from broker.config.server_hosts import Address
from broker.config.store_url import StoreUrl
from broker.machine.address import endpoint

_log = structlog.get_logger(__name__)

_TRY_LATER: Final = 10.0
"""Seconds for which a server that has failed is tried after the others."""

_TELL_AGAIN: Final = 10.0
"""Seconds between two log lines about commits that did not wait."""


class Servers:
    """The servers of one database; all connections of a store share what is known of them."""

    def __init__(self, url: StoreUrl, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._addresses = url.addresses
        self._database = url.database
        self._monotonic = monotonic
        self._failed_at: dict[Address, float] = {}
        self._in_use: Address | None = None
        self._tell_at = float("-inf")
        self.not_replicated = 0
        """How many commits did not wait for the standby that they should have waited for."""
        self.where = f"{','.join(endpoint(*each) for each in self._addresses)}/{url.database}"
        """All of them and the database, for log lines, without anything secret."""

    @property
    def in_use(self) -> str:
        """The server to which the last connection was made, and the database."""
        return self.where if self._in_use is None else self.name(self._in_use)

    def name(self, address: Address) -> str:
        """Return one server and the database, for log lines."""
        return f"{endpoint(*address)}/{self._database}"

    def in_order(self) -> list[Address]:
        """Return the servers as they are to be tried now: first the one in use, last those that have just failed, in
        the order of that.
        """
        now = self._monotonic()
        late = {each: failed_at for each, failed_at in self._failed_at.items() if now - failed_at < _TRY_LATER}
        return sorted(self._addresses, key=lambda each: (late.get(each, float("-inf")), each != self._in_use))

    def on_failed(self, address: Address) -> None:
        """No connection to this server could be made, or it takes no writes."""
        self._failed_at[address] = self._monotonic()

    def on_connected(self, address: Address) -> None:
        """There is a connection to this server."""
        self._failed_at.pop(address, None)
        if address != self._in_use:
            if self._in_use is not None:
                _log.warning(
                    "the database is served by another server now", server=self.name(address), before=self.in_use
                )
            self._in_use = address

    def on_not_replicated(self) -> None:
        """The server in use has told that a commit did not wait for its standby."""
        self.not_replicated += 1
        now = self._monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_AGAIN
            _log.warning(
                "a commit did not wait for the synchronous standby, and is not taken for done",
                server=self.in_use,
                commits=self.not_replicated,
                advice="do not cancel or end sessions that wait (wait_event SyncRep); bring the standby back",
            )
