"""The HTTP API for who may open the node's control socket: requests in memory, of an administrator without a name.

A request that brings credentials is that user's, as over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.auth.access import AllPermissions
from broker.auth.identity import Identity
from broker.errors import AdministrationError
from broker.management.http.api import Api
from broker.management.http.call import Call, HttpCaller, TooLarge
from broker.management.http.elsewhere import SILENT

WHO: Final = "(control socket)"
"""Who that is, in the log."""


class LocalGrants:
    """Everything in all virtual hosts: whoever runs the node may do it anyhow."""

    may_impersonate: Final = True

    def require(self, user: str, vhost: str) -> AllPermissions:
        return AllPermissions()


LOCAL: Final = HttpCaller(Identity(WHO, True, grants=LocalGrants()), frozenset(("administrator",)))


class LocalRequests:
    """The command `api` of the control socket."""

    def __init__(self, api: Api, prefix: str = "") -> None:
        """`prefix` is that of the paths of `api`."""
        self._api = api
        self._prefix = prefix

    async def serve(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request: `method`, `path` below `/api`, and if there are any `query`, `headers` and the text `body`.

        The answer has `status`, the text `body` and, as `silent`, the nodes that are missing in it. Raises
        `AdministrationError` for what is no request.
        """
        method, path, body = (arguments.get(name, "") for name in ("method", "path", "body"))
        query, headers = (arguments.get(name, {}) for name in ("query", "headers"))
        if not (isinstance(method, str) and isinstance(path, str) and isinstance(body, str)):
            raise AdministrationError("api: method, path and body are texts")
        if not (_are_texts(query) and _are_texts(headers)):
            raise AdministrationError("api: query and headers are objects of texts")
        octets = body.encode("utf-8", "surrogatepass")

        async def read(limit: int) -> bytes:
            if len(octets) > limit:
                raise TooLarge(limit)
            return octets

        caller = None if "authorization" in headers else LOCAL
        call = Call(method, f"{self._prefix}/api{path}", query, headers, "", True, read, found_caller=caller)
        answer = await self._api.handle(call)
        if answer.stream is not None:
            raise AdministrationError("api: that is a stream, which only the HTTP port serves")
        silent = answer.headers.get(SILENT, "")
        return {"status": answer.status, "body": answer.body.decode("utf-8", "replace"), "silent": silent}


def _are_texts(given: object) -> bool:
    return isinstance(given, dict) and all(isinstance(each, str) for each in given.values())
