"""The servers that may have a database: in which order they are tried, and which one is in use.

After a fail-over another one takes the writes. Each new connection goes to the one in use while it does, else to the
first that does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
        self.identity: int | None = None
        """The number of the database that every connection must find; None while any will do."""
        self._has_it = ""
        self._passed_over: set[Address] = set()
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

    def expect(self, identity: int | None, have_it: Sequence[Address] = ()) -> None:
        """Let connections find the database of this number only, or any one that has none yet if it is 0; these
        servers, or the one in use, have it.
        """
        self.identity = identity
        self._has_it = ",".join(self.name(each) for each in have_it) or self.in_use

    def why_not(self, address: Address, identity: int | None) -> str:
        """Return why a server that has this database, or none, is passed over; "" if it is not."""
        if identity == self.identity:
            self._passed_over.discard(address)
            return ""
        what = "no tables of this broker" if identity is None else "another database of this broker"
        reason = f"this server has {what}, not the database of {self._has_it}"
        if address not in self._passed_over:
            self._passed_over.add(address)
            _log.warning("a server has another database and is passed over", server=self.name(address), reason=reason)
        return reason

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
