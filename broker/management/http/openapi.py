"""The description of the API by OpenAPI 3.1: made of the table of routes, so that it says what there is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from broker.broker import PRODUCT
from broker.management.http.access import Needs
from broker.management.http.listing import QUERY
from broker.management.http.routing import API, ApiRoute

_WHOM: Final = {"401": {"description": "nobody has logged in, or the user may not do that"}}
_LISTS: Final = tuple(name for name in QUERY if name != "pagination")


def described(routes: Iterable[ApiRoute], version: str, prefix: str = "") -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(f"{prefix}{API}{route.path}", {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{PRODUCT} HTTP API",
            "version": version,
            "description": "RabbitMQ's management API, and this broker's own resources below /api/broker.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            }
        },
        "security": [{"basic": []}, {"bearer": []}],
    }


def _operation(route: ApiRoute) -> dict[str, Any]:
    names = [part[1:-1] for part in route.parts if part.startswith("{")]
    operation: dict[str, Any] = {
        "operationId": _id(route),
        "summary": route.summary,
        "description": f"Needs {route.needs.value}.",
        "tags": [route.parts[0]],
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names],
        "responses": _responses(route),
    }
    if route.is_own:
        asked = tuple(name for name in route.query if name != "pagination")
    else:
        asked = _LISTS if route.summary.startswith("List") else ()
    operation["parameters"] += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in asked]
    if route.method in ("PUT", "POST"):
        schema: dict[str, Any] = {"type": "object"}
        if route.is_own:
            schema |= {"properties": {name: {} for name in route.keys}, "additionalProperties": False}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    if route.needs is Needs.NOTHING:
        operation["security"] = []
    return operation


def _id(route: ApiRoute) -> str:
    words = (part.strip("{}").replace("-", "_").replace(".", "_") for part in route.parts)
    return "_".join((route.method.lower(), *words))


def _responses(route: ApiRoute) -> dict[str, Any]:
    by_method: dict[str, dict[str, Any]] = {
        "GET": {"200": {"description": "found", "content": {"application/json": {}}}},
        "PUT": {"201": {"description": "made"}, "204": {"description": "was there"}},
        "POST": {"200": {"description": "done"}, "201": {"description": "made"}, "204": {"description": "done"}},
        "DELETE": {"204": {"description": "deleted"}},
    }
    found = by_method[route.method]
    refusals: dict[str, Any] = {} if route.needs is Needs.NOTHING else dict(_WHOM)
    if route.method != "GET":
        refusals["400"] = {"description": "the request cannot be served"}
    if route.parts[0] in ("health", "aliveness-test"):
        refusals["503"] = {"description": "something is wrong, and what"}
    if "{" in route.path:
        refusals["404"] = {"description": "there is no such thing"}
    return {**found, **refusals}
