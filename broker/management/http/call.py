"""One request of the HTTP API and its answer, without a socket: handlers know nothing else of HTTP.

Names in a path are octets that a client has chosen. As everywhere in this broker, those that are no UTF-8 are lone
surrogates in a text (PEP 383); handlers see none of these, as a request with one is refused (`values`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pydantic_core import PydanticSerializationError, to_json

from broker.auth.identity import Identity
from broker.errors import BrokerError, clip
from broker.management.http.values import RefusedValue, read_json, require_texts

JSON: Final = "application/json"
MANAGEMENT_TAGS: Final = frozenset(("administrator", "monitoring", "policymaker", "management"))
"""Who has none of these tags may not use the API."""
MAX_BODY: Final = 1024 * 1024
"""Octets of the body of a request, but for definitions."""
MAX_DEFINITIONS: Final = 20 * 1024 * 1024
"""Octets of definitions."""

_DETAIL: Final = 1000
"""Octets of what a refusal says in our own words."""
ReadBody: TypeAlias = Callable[[int], Awaitable[bytes]]
"""Reads the body of a request of so many octets at most; raises `TooLarge`."""


class HttpRefusal(BrokerError):
    """An answer other than success, with RabbitMQ's two words for it (`error` and `reason`), and in our own what they
    do not say (`detail`).
    """

    def __init__(
        self, status: int, error: str, reason: object, headers: Mapping[str, str] | None = None, *, detail: str = ""
    ) -> None:
        super().__init__(str(reason))
        self.status = status
        self.error = error
        self.reason = reason
        self.headers = headers or {}
        self.detail = clip(detail, _DETAIL)

    @property
    def answer(self) -> HttpAnswer:
        """The refusal as it is sent; without words it has no body."""
        told = {"error": self.error, "reason": self.reason} | ({"detail": self.detail} if self.detail else {})
        body = as_json(told).replace(b"<", b"\\u003c") if self.error else b""  # no names in it become elements
        return HttpAnswer(self.status, body, headers=dict(self.headers), content_type=JSON if body else "")


class TooLarge(HttpRefusal):
    """The body of a request has more octets than it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, "request_entity_too_large", f"the body has more than {limit} octets")


class NotThere(HttpRefusal):
    """What the path names is not there; `detail` says what of it."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(404, "Object Not Found", "Not Found", detail=detail)


class BadRequest(HttpRefusal):
    """The request cannot be served as it is."""

    def __init__(self, reason: object) -> None:
        super().__init__(400, "bad_request", reason)


class NotAuthorised(HttpRefusal):
    """The user has logged in, and may not do that: RabbitMQ answers 401, not 403."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(401, "not_authorised", reason, detail=detail)


@dataclass(frozen=True, slots=True)
class HttpCaller:
    """A user who has logged in, with tags."""

    identity: Identity
    tags: frozenset[str]

    @property
    def name(self) -> str:
        return self.identity.user

    @property
    def may_manage(self) -> bool:
        """May the user use the API at all?"""
        return not self.tags.isdisjoint(MANAGEMENT_TAGS)

    @property
    def is_administrator(self) -> bool:
        return "administrator" in self.tags

    @property
    def is_monitor(self) -> bool:
        """May the user see what is everybody's?"""
        return not self.tags.isdisjoint(("administrator", "monitoring"))

    @property
    def is_policymaker(self) -> bool:
        return not self.tags.isdisjoint(("administrator", "policymaker"))


def _nothing(user: str) -> None:
    """Stand where nobody counts requests."""


@dataclass(slots=True)
class Call:
    """One request."""

    method: str
    path: str
    """As it was sent, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By their names in lower case."""
    address: str
    """The client's, without its port."""
    is_loopback: bool
    read_body: ReadBody
    names: Mapping[str, str] = field(default_factory=dict)
    """What the places in the route's path stand for."""
    found_caller: HttpCaller | None = None
    """Who asks, as soon as that is known: of a request of the console it is from the start."""
    is_tls: bool = False
    on_login: Callable[[str], None] = _nothing
    """Hears who asks, by name. Raises `HttpRefusal` if that user has too many requests under way."""
    keys: Collection[str] | None = None
    """What the body may say; None when everything else in it is let be."""

    def let_in(self, caller: HttpCaller) -> None:
        """Somebody has logged in. Raises `HttpRefusal`."""
        self.on_login(caller.name)
        self.found_caller = caller

    @property
    def caller(self) -> HttpCaller:
        """Who asks. Raises LookupError where a route lets everybody in."""
        if self.found_caller is None:
            raise LookupError("nobody has logged in")
        return self.found_caller

    def says(self, name: str) -> bool:
        """Does the query say `name=true`?"""
        return self.query.get(name) == "true"

    def require_texts(self) -> None:
        """Raise `BadRequest` if a name in the path, or something in the query, is no text."""
        try:
            require_texts(self.names.values(), "a name in the path")
            require_texts((text for pair in self.query.items() for text in pair), "the query")
        except RefusedValue as error:
            raise BadRequest(str(error)) from None

    async def json(self, limit: int = MAX_BODY) -> Any:
        """Return the body, whatever its content type says. Raises `BadRequest`, `TooLarge`."""
        return parsed(await self.read_body(limit))

    async def json_object(self, limit: int = MAX_BODY) -> dict[str, Any]:
        """Return the body, which must be an object; an empty one stands for `{}`."""
        octets = await self.read_body(limit)
        value = parsed(octets) if octets.strip() else {}
        if not isinstance(value, dict):
            raise BadRequest("not_json")
        if self.keys is not None:
            require_known(value, self.keys, "the body")
        return value


@dataclass(slots=True)
class HttpAnswer:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    stream: AsyncGenerator[bytes, None] | None = None
    """What follows piece by piece, as long as somebody reads it, in the place of `body`."""


def require_known(given: Iterable[str], known: Collection[str], where: str) -> None:
    """Raise `BadRequest` if a name is none of those that are known: an intent that is misspelt must not become another
    one.
    """
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        names = f"it may say {', '.join(known)}" if known else "it says nothing here"
        raise BadRequest(f"{where} has no '{clip(unknown, _SHOWN)}': {names}")


_SHOWN: Final = 50
CREATED: Final = 201
NO_CONTENT: Final = 204


def empty(status: int, **headers: str) -> HttpAnswer:
    """Return an answer without a body."""
    return HttpAnswer(status, headers=headers, content_type="")


def created(is_new: bool) -> HttpAnswer:
    """Return the answer to a PUT: whether it has made something."""
    return empty(CREATED if is_new else NO_CONTENT)


def parsed(octets: bytes) -> Any:
    """Return a value of JSON, the texts and numbers of which can be stored. Raises `BadRequest`."""
    try:
        return read_json(octets)
    except RefusedValue as error:
        raise BadRequest(str(error)) from None
    except (ValueError, RecursionError):
        raise BadRequest("not_json") from None


def as_json(value: Any) -> bytes:
    """Return a value as JSON; octets of names that are no UTF-8 become question marks."""
    try:
        return to_json(value, inf_nan_mode="null")
    except PydanticSerializationError:
        return to_json(_readable(value), inf_nan_mode="null")


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_readable(name): _readable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(each) for each in value]
    return value
