"""Who asks: a name with a password, or a token, in the header `Authorization` (RFC 7617, RFC 6750).

The same authenticator answers as for AMQP, with the same delays after wrong passwords (ADR 49). What was right is
remembered there, so that each request may bring its credentials anew.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

import structlog

from broker.auth.audit import LOGIN_REFUSED, tell
from broker.auth.identity import Authenticator, Identity, LoginCounts, shown_user
from broker.errors import ConnectionForced
from broker.management.http.call import Call, HttpCaller, HttpRefusal

_log = structlog.get_logger(__name__)

CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="RabbitMQ Management"'}
"""Programs look for this realm, so it is RabbitMQ's."""
_NO_REASON: Final = "there is no such user, or the password is wrong"


class HttpLogin:
    """Finds out who asks."""

    def __init__(self, users: Authenticator, tags_of: Callable[[Identity], Iterable[str]], counts: LoginCounts) -> None:
        """`tags_of` returns the tags of who has logged in."""
        self._users = users
        self._tags_of = tags_of
        self._counts = counts

    async def caller(self, call: Call) -> HttpCaller:
        """Return who asks; raise `HttpRefusal` with 401 when nobody says so, or it is not true."""
        name, secret, scheme = _credentials(call.headers.get("authorization", ""))
        return await self.log_in(name, secret, scheme, address=call.address, is_loopback=call.is_loopback)

    async def log_in(self, name: str, secret: str, scheme: str, *, address: str, is_loopback: bool) -> HttpCaller:
        """Return who that is. `scheme` is named in the log. Raises `HttpRefusal`."""
        try:
            found = self._users.log_in(name, secret, address=address, is_loopback=is_loopback)
            result = await found if isinstance(found, Coroutine) else found
        except ConnectionForced as error:
            raise HttpRefusal(503, "service_unavailable", str(error)) from error
        if not isinstance(result, Identity):
            self._counts.failed += 1
            reason = _NO_REASON if result is None else result.reason
            tell(_log.bind(peer=address), LOGIN_REFUSED, user=shown_user(name), mechanism=scheme, reason=reason)
            raise HttpRefusal(401, "not_authorized", "Login failed", CHALLENGE)
        self._counts.succeeded += 1
        return HttpCaller(result, frozenset(self._tags_of(result)))


def _credentials(header: str) -> tuple[str, str, str]:
    """Return a name, a secret and what brought them. Raises `HttpRefusal`."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return "", value.strip(), "HTTP Bearer"
    if scheme.lower() != "basic":
        raise HttpRefusal(401, "", "", CHALLENGE)
    try:
        octets = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise HttpRefusal(401, "", "", CHALLENGE) from None
    name, colon, password = octets.decode("utf-8", "surrogateescape").partition(":")
    if not colon:
        raise HttpRefusal(401, "", "", CHALLENGE)
    if not _is_text(octets):
        raise HttpRefusal(401, "not_authorized", "Login failed", CHALLENGE)
    return name, password, "HTTP Basic"


def _is_text(octets: bytes) -> bool:
    """Names and passwords are UTF-8 (RFC 7617): others are nobody's."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
