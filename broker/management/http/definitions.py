"""Definitions over HTTP: exported and imported, whole or of one virtual host, in turns of the loop.

They may be as large as twenty megabytes, and nobody waits for them: they are read, made and written piece by piece.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from broker.auth.audit import DEFINITIONS_EXPORTED, DEFINITIONS_IMPORTED, tell
from broker.errors import AdministrationError
from broker.management.http.access import Needs
from broker.management.http.call import (
    MAX_DEFINITIONS,
    NO_CONTENT,
    BadRequest,
    Call,
    HttpAnswer,
    HttpRefusal,
    as_json,
    empty,
)
from broker.management.http.listing import rows_as_json
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.management.http.values import JSON_DECODER, RefusedValue, read_json, require_whole_pairs
from broker.topology.definitions import described, sections
from broker.topology.definitions_import import TOLD, Import

_log = structlog.get_logger(__name__)

_OF_VHOST: Final = ("parameters", "policies", "queues", "exchanges", "bindings")
"""What definitions of a virtual host have."""
_SMALL: Final = 256 * 1024
"""Octets of definitions that are read at once."""
_STEPS: Final = 30
"""What it costs to read, or compare, one thing."""
_BLANK: Final = re.compile(r"[ \t\r\n]*")


async def export(node: ManagedNode, call: Call) -> Any:
    tell(_log, DEFINITIONS_EXPORTED)
    version = node.view.api_version
    head: dict[str, Any] = {"rabbit_version": version, "rabbitmq_version": version}
    head |= described(node.view.version)
    found = sections(node.administration)
    if "vhost" in call.names:
        vhost = _vhost(node, call)
        found = {name: (_without_vhost(row) for row in found[name] if row["vhost"] == vhost.name) for name in _OF_VHOST}
        head |= {"original_vhost_name": vhost.name}
    pieces = [as_json(head)[:-1]]
    for name, rows in found.items():
        pieces.append(f',"{name}":'.encode() + await rows_as_json(node, rows, lambda row: row))
    answer = HttpAnswer(body=b"".join([*pieces, b"}"]))
    if call.query.get("download"):
        answer.headers["Content-Disposition"] = 'attachment; filename="definitions.json"'
    return answer


def _vhost(node: ManagedNode, call: Call) -> Any:
    vhost = node.vhosts.get(call.names["vhost"])
    if vhost is None:
        raise HttpRefusal(404, "not_found", "vhost_not_found")
    return vhost


def _without_vhost(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "vhost"}


async def load(node: ManagedNode, call: Call) -> Any:
    """Import definitions; with `dry_run=true`, which is this broker's own, only say what would be made."""
    vhost = _vhost(node, call).name if "vhost" in call.names else None
    octets = await call.read_body(MAX_DEFINITIONS)

    async def pause() -> None:
        await node.in_turn(_STEPS)

    given = await parsed_in_turns(octets, pause)
    del octets
    if not isinstance(given, dict):
        raise BadRequest("failed_to_parse_json")
    if vhost is not None:
        given = _of_vhost(given, vhost)
    is_dry = call.says("dry_run")
    definitions = Import(node.administration, given, pause)
    await definitions.run(is_dry=is_dry)
    if is_dry:
        return {
            "changes": definitions.lines,
            "left_out": definitions.left_out,
            "problems": definitions.problems,
        }
    tell(_log, DEFINITIONS_IMPORTED, changes=len(definitions.lines), left_out=definitions.left_out[:TOLD])
    return empty(NO_CONTENT)


def _of_vhost(given: Mapping[str, Any], vhost: str) -> dict[str, Any]:
    """Return definitions as they are imported into a virtual host, wherever they come from."""
    for name, value in given.items():
        if isinstance(value, list) and value and name not in _OF_VHOST:
            raise AdministrationError(f"'{name}' are not of one virtual host: import them at /api/definitions")
    return {
        name: [{**row, "vhost": vhost} if isinstance(row, dict) else row for row in given[name]]
        for name in _OF_VHOST
        if isinstance(given.get(name), list)
    }


async def parsed_in_turns(octets: bytes, pause: Callable[[], Awaitable[None]]) -> Any:
    """Return an object of JSON whose lists may be long: each of their elements is read by itself.

    Raises `BadRequest`.
    """
    if len(octets) <= _SMALL:
        try:
            return read_json(octets)
        except RefusedValue as error:
            raise BadRequest(f"failed_to_parse_json: {error}") from None
        except (ValueError, RecursionError):
            raise BadRequest("failed_to_parse_json") from None
    try:
        return await _Reader(octets.decode(), pause).read()
    except RefusedValue as error:
        raise BadRequest(f"failed_to_parse_json: {error}") from None
    except (ValueError, RecursionError, IndexError):
        raise BadRequest("failed_to_parse_json") from None


class _Reader:
    """Reads one object. Raises ValueError, IndexError or RecursionError for what is none."""

    def __init__(self, text: str, pause: Callable[[], Awaitable[None]]) -> None:
        self._text = text
        self._pause = pause
        self._at = 0

    async def read(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._expect("{")
        while self._peek() != "}":
            if found:
                self._expect(",")
            self._peek()
            name = self._value()
            if not isinstance(name, str):
                raise ValueError("a name is no text")
            self._expect(":")
            found[name] = await self._list() if self._peek() == "[" else self._value()
            await self._pause()
        self._expect("}")
        if _BLANK.fullmatch(self._text, self._at) is None:
            raise ValueError("something follows")
        return found

    async def _list(self) -> list[Any]:
        found: list[Any] = []
        self._expect("[")
        while self._peek() != "]":
            if found:
                self._expect(",")
                self._peek()
            found.append(self._value())
            await self._pause()
        self._expect("]")
        return found

    def _peek(self) -> str:
        blank = _BLANK.match(self._text, self._at)
        self._at = self._at if blank is None else blank.end()
        return self._text[self._at]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise ValueError(f"{character} is missing")
        self._at += 1

    def _value(self) -> Any:
        start = self._at
        value, self._at = JSON_DECODER.raw_decode(self._text, start)
        require_whole_pairs(value, self._text, start, self._at)
        return value


ROUTES = (
    ApiRoute("GET", "/definitions", Needs.ADMINISTRATOR, export, "Export everything but messages"),
    ApiRoute("POST", "/definitions", Needs.ADMINISTRATOR, load, "Import definitions"),
    ApiRoute("GET", "/definitions/{vhost}", Needs.ADMINISTRATOR, export, "Export what is in a virtual host"),
    ApiRoute("POST", "/definitions/{vhost}", Needs.ADMINISTRATOR, load, "Import into a virtual host"),
)
