"""The HTTP API of a node: finds the route of a request, lets in who may use it, and turns errors into answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog
from structlog.contextvars import bound_contextvars

from broker.errors import (
    AccessRefused,
    AdministrationError,
    AmqpError,
    BrokerError,
    CoordinationError,
    DeletionProtected,
    NotFound,
    StoreUnavailable,
    clip,
)
from broker.management.http import (
    accounts,
    altering,
    browsing,
    connections,
    dead_letters,
    declaring,
    definitions,
    delayed,
    exchanges,
    finding,
    health,
    live,
    maintenance,
    messages,
    nodes,
    overview,
    own,
    policies,
    previews,
    queues,
    redrives,
    roles,
    streams,
    users,
    vhosts,
)
from broker.management.http.access import Needs, require
from broker.management.http.call import (
    BadRequest,
    Call,
    HttpAnswer,
    HttpRefusal,
    NotAuthorised,
    as_json,
    empty,
    require_known,
)
from broker.management.http.login import HttpLogin
from broker.management.http.node_view import ManagedNode
from broker.management.http.openapi import described
from broker.management.http.routing import API, ApiRoute, ApiRouter

_log = structlog.get_logger(__name__)


async def get_openapi(node: ManagedNode, call: Call) -> Any:
    return described(ROUTES, node.view.version, call.path.partition(f"{API}/")[0])


ROUTES: Final[tuple[ApiRoute, ...]] = (
    *overview.ROUTES,
    *nodes.ROUTES,
    *queues.ROUTES,
    *exchanges.ROUTES,
    *connections.ROUTES,
    *vhosts.ROUTES,
    *users.ROUTES,
    *policies.ROUTES,
    *health.ROUTES,
    *declaring.ROUTES,
    *altering.ROUTES,
    *finding.ROUTES,
    *redrives.ROUTES,
    *messages.ROUTES,
    *definitions.ROUTES,
    *own.ROUTES,
    *delayed.ROUTES,
    *streams.ROUTES,
    *dead_letters.ROUTES,
    *roles.ROUTES,
    *accounts.ROUTES,
    *previews.ROUTES,
    *browsing.ROUTES,
    *live.ROUTES,
    *maintenance.ROUTES,
    ApiRoute("GET", "/openapi.json", Needs.NOTHING, get_openapi, "Show the description of the API"),
)
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Vary": "accept, accept-encoding, origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""With every answer: browsers show none of them as a page, and keep none."""
_TOLD: Final = 1000
"""Octets of a reason."""


class Api:
    """Serves requests."""

    def __init__(
        self, node: ManagedNode, login: HttpLogin, prefix: str = "", routes: Iterable[ApiRoute] = ROUTES
    ) -> None:
        """`prefix` stands before `/api` in all paths."""
        self.node: Final = node
        self.login: Final = login
        self.router: Final = ApiRouter(routes, prefix)

    async def handle(self, call: Call) -> HttpAnswer:
        """Serve one request; every error becomes an answer."""
        try:
            answer = await self._serve(call)
        except BrokerError as error:
            answer = _refusal(error).answer
        except Exception as error:
            _log.error("internal error of the HTTP API", method=call.method, path=call.path, exc_info=error)
            answer = HttpRefusal(500, "internal_error", "internal error").answer
        answer.headers = {**HEADERS, **answer.headers}
        return answer

    async def _serve(self, call: Call) -> HttpAnswer:
        route = self.router.find(call)
        if route is not None and route.method != "GET":
            require_same_site(call)
        if route is None:
            return empty(200, Allow=self.router.allowed(call))
        call.require_texts()
        if route.needs is not Needs.NOTHING:
            if call.found_caller is None:
                call.let_in(await self.login.caller(call))
            await require(self.node, call, route.needs)
        if route.is_own:
            await _require_known(route, call)
        with bound_contextvars(**self._who(call)):
            found = await route.handler(self.node, call)
        return found if isinstance(found, HttpAnswer) else HttpAnswer(body=as_json(found))

    def _who(self, call: Call) -> dict[str, Any]:
        """Return who asks, for the lines of the log about what is changed."""
        return {} if call.found_caller is None else {"by": call.found_caller.name, "peer": call.address}


async def _require_known(route: ApiRoute, call: Call) -> None:
    """Raise `BadRequest` for what a resource of this broker's own does not know; its handler reads a body that it
    knows.
    """
    require_known(call.query, route.query, "the query")
    call.keys = route.keys
    if route.method != "GET" and not route.keys:
        await call.json_object()


def require_same_site(call: Call) -> None:
    """Raise `HttpRefusal` for a change that a page of another site has asked a browser for: the browser may have added
    a password that it remembers. Programs say nothing of where they come from.
    """
    site, origin = call.headers.get("sec-fetch-site"), call.headers.get("origin")
    if site is not None:
        is_foreign = site not in ("same-origin", "none")
    else:
        is_foreign = origin is not None and origin.partition("://")[2] != call.headers.get("host", "")
    if is_foreign:
        raise HttpRefusal(403, "forbidden", "the request comes from a page of another site")


def _refusal(error: BrokerError) -> HttpRefusal:
    """Return the answer to an error, with RabbitMQ's codes."""
    if isinstance(error, HttpRefusal):
        return error
    reason = clip(str(error), _TOLD)
    if isinstance(error, AccessRefused):
        return NotAuthorised(error.reply_text)
    if isinstance(error, NotFound):
        return HttpRefusal(404, "not_found", reason)
    if isinstance(error, DeletionProtected):
        return HttpRefusal(412, "precondition_failed", reason)
    if isinstance(error, StoreUnavailable):
        return HttpRefusal(503, "service_unavailable", "the store is away: try again later")
    if isinstance(error, CoordinationError):
        return HttpRefusal(503, "service_unavailable", reason)
    if isinstance(error, AmqpError | AdministrationError):
        return BadRequest(reason)
    return BadRequest(reason)
