"""The public keys of issuers: those of files, and those of a key set, which is read when a token names another key.

Reading takes place beside the loop, once at a time, and not more often than every few seconds whatever tokens name: who
sends tokens must not be able to make this node ask somebody else. While a set cannot be read, the last one is good.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

import structlog

from broker.auth.token_signatures import Key, keys_in_set

_log = structlog.get_logger(__name__)

MAX_SET: Final = 1 << 20
"""Octets of a key set."""
MAX_AGE: Final = 3600.0
"""Seconds after which a key set is read again, so that keys that were taken out of it are no longer good."""
RETRY_AFTER: Final = 10.0
"""Seconds between two tries to read a key set."""
TIMEOUT: Final = 10.0
"""Seconds that reading may take altogether, and half of it without an octet."""
_DEFAULT: Final = ""
"""The id of the key for tokens that name none."""

ReadSet = Callable[[], bytes]
"""Reads a key set, in a thread. Raises OSError, HTTPException or ValueError."""


class SigningKeys:
    """Keys by id."""

    def __init__(
        self,
        fixed: Mapping[str, Key],
        read: ReadSet | None,
        monotonic: Callable[[], float],
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`fixed` are always there, `""` for tokens that name no key. `read` reads the set, if there is one.

        `on_change` is called when keys have been replaced: what they have verified may not hold any more.
        """
        self._fixed = fixed
        self._read = read
        self._now = monotonic
        self._set: Mapping[str, Key] = {}
        self._read_at = float("-inf")
        self._next_try = float("-inf")
        self._lock = asyncio.Lock()
        self.on_change = on_change
        self.reads = 0
        """How many times the set was asked for."""

    def find(self, key_id: str) -> Key | None:
        """Return a key. A token that names none has the default key, or the only one there is."""
        key = self._fixed.get(key_id) or self._set.get(key_id)
        if key is None and key_id == _DEFAULT and len(self._fixed) + len(self._set) == 1:
            key = next(iter([*self._fixed.values(), *self._set.values()]))
        return key

    def needs_reading(self, key_id: str) -> bool:
        """Is it time to read the set, for a key that is not there or because it is old?"""
        if self._read is None or self._now() < self._next_try:
            return False
        return self._now() - self._read_at >= MAX_AGE or self.find(key_id) is None

    async def read_for(self, key_id: str) -> None:
        """Read the set if it is time to, and wait for whoever reads it already."""
        async with self._lock:
            if self._read is None or not self.needs_reading(key_id):
                return
            self._next_try = self._now() + RETRY_AFTER
            self.reads += 1
            try:
                async with asyncio.timeout(TIMEOUT):
                    keys = keys_in_set(await asyncio.to_thread(self._read))
            except (OSError, HTTPException, ValueError, TimeoutError) as error:
                _log.warning("the key set of tokens was not read", reason=str(error) or type(error).__name__)
                return
            self._next_try = self._now() + RETRY_AFTER
            self._read_at = self._now()
            if keys.keys() != self._set.keys() or any(
                keys[name].as_dict() != self._set[name].as_dict() for name in keys
            ):
                self._set = keys
                _log.info("the key set of tokens was read", keys=len(keys))
                self.on_change()


def read_file(path: str) -> bytes:
    """Return what a file holds. Raises ValueError when that is too much."""
    with Path(path).open("rb") as file:
        return _bounded(file.read(MAX_SET + 1))


class Fetch:
    """Fetches a key set by https; by http from this machine only, which the configuration sees to."""

    def __init__(self, url: str, certificates: str = "") -> None:
        """`certificates` is a PEM file of authorities, those of the system if empty. Raises OSError."""
        context = ssl.create_default_context(cafile=certificates or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._url = url
        self._opener = build_opener(HTTPSHandler(context=context), _NoRedirect())

    def __call__(self) -> bytes:
        request = Request(self._url, headers={"Accept": "application/json", "User-Agent": "Cordillera"})
        end = time.monotonic() + TIMEOUT
        found = b""
        with self._opener.open(request, timeout=TIMEOUT / 2) as answer:
            while octets := answer.read1(65_536):
                found = _bounded(found + octets)
                if time.monotonic() > end:
                    raise TimeoutError("the answer takes too long")
        return found


class _NoRedirect(HTTPRedirectHandler):
    """Follows nobody elsewhere: the address that is configured is the one that is trusted."""

    def redirect_request(self, *arguments: Any, **named: Any) -> NoReturn:
        raise ValueError("the server of the key set redirects; configure the address that it redirects to")


def _bounded(octets: bytes) -> bytes:
    if len(octets) > MAX_SET:
        raise ValueError(f"the key set is larger than {MAX_SET} octets")
    return octets
