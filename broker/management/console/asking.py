"""How the console asks the HTTP API: in memory, as the user who has logged in, so that the same permissions hold."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from broker.errors import BrokerError
from broker.management.http.call import Call, HttpAnswer, HttpCaller, TooLarge, as_json
from broker.management.http.elsewhere import SILENT


class AnswersCalls(Protocol):
    """What serves requests."""

    async def handle(self, call: Call) -> HttpAnswer: ...


class AnswerRefused(BrokerError):
    """The API has refused what a page or a form needs."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks for one user."""

    api: AnswersCalls
    prefix: str
    caller: HttpCaller
    address: str
    is_loopback: bool
    silent: set[str] = field(default_factory=set)
    """Nodes that are missing in what was answered."""

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return what stands at a path below `/api`. Raises `AnswerRefused`."""
        return await self._ask("GET", path, query or {}, b"")

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Change something; `body` is sent as JSON. Raises `AnswerRefused`."""
        return await self._ask(method, path, {}, _octets(body), headers)

    async def load(self, path: str, body: bytes, query: Mapping[str, str]) -> Any:
        """Send what is JSON already. Raises `AnswerRefused`."""
        return await self._ask("POST", path, query, body)

    async def octets(self, path: str) -> bytes:
        """Return what stands at a path as it is. Raises `AnswerRefused`."""
        return (await self._answer("GET", path, {}, b"", {})).body

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str] | None = None
    ) -> Any:
        answer = await self._answer(method, path, query, body, headers or {})
        return json.loads(answer.body) if answer.body else None

    async def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
    ) -> HttpAnswer:
        call = Call(
            method,
            f"{self.prefix}/api{path}",
            query,
            headers,
            self.address,
            self.is_loopback,
            _reader(body),
            found_caller=self.caller,
        )
        answer = await self.api.handle(call)
        self.silent.update(filter(None, answer.headers.get(SILENT, "").split(",")))
        if answer.status >= 400:
            value = json.loads(answer.body) if answer.body else None
            raise AnswerRefused(answer.status, _reason(answer.status, value))
        return answer


def _octets(body: Any) -> bytes:
    return b"" if body is None else as_json(body)


def _reader(body: bytes) -> Callable[[int], Awaitable[bytes]]:
    async def read(limit: int) -> bytes:
        if len(body) > limit:
            raise TooLarge(limit)
        return body

    return read


def _reason(status: int, value: Any) -> str:
    if status == 404:
        return "It is not there (any more)."
    if isinstance(value, dict):
        return str(value.get("reason", value.get("error", "refused")))
    return f"refused with {status}"
