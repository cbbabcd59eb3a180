"""The listener of the HTTP API: aiohttp reads requests and writes answers, and nobody can hold it up (docs/limits.md).

Connections are accepted as those of AMQP are (`machine/listener`). A client that sends nothing, or does not read what
it has asked for, is cut off; more requests than can be served at once are refused.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger
from aiohttp.web_protocol import RequestHandler
from multidict import MultiDict

from broker.errors import ConfigError
from broker.machine.address import Origin, endpoint
from broker.machine.listener import Room, SocketListener
from broker.management.http.call import BadRequest, Call, HttpAnswer, HttpRefusal, TooLarge
from broker.management.http.shares import RequestPlace, Shares

_log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 1500
MAX_LINE: Final = 8190
"""Octets of the first line of a request, and of each header field."""
MAX_HEADER: Final = 16 * 1024
"""Octets of all header fields together."""
REQUEST_TIMEOUT: Final = 10.0
"""Seconds in which a new connection must have sent a request."""
BODY_TIMEOUT: Final = 30.0
"""Seconds in which the body of a request must have come."""
ANSWER_TIMEOUT: Final = 60.0
"""Seconds in which a request must have been served."""
IDLE_TIMEOUT: Final = 60.0
"""Seconds after which a connection without a request is closed."""
UNREAD_TIMEOUT: Final = 30.0
"""Seconds in which a client must have read what was written to it."""
_PIECE: Final = 64 * 1024
_COMPRESSED: Final = 1024
"""Octets from which on an answer is compressed."""
_STOP_TIMEOUT: Final = 1.0

Handle = Callable[[Call], Coroutine[Any, Any, HttpAnswer]]


class HttpClient(asyncio.Protocol):
    """One connection: aiohttp's protocol, watched for silence."""

    def __init__(self, server: HttpServer, handler: RequestHandler) -> None:
        self._server = server
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_admitted = False
        """Has a request come that was let in?"""
        self.has_asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base
        self._server.add(self._handler, self)
        self._watch(REQUEST_TIMEOUT, lambda: not self.has_asked)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._watch(UNREAD_TIMEOUT, lambda: True)
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._stop_watching()
        self._handler.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_watching()
        self._transport = None
        self._server.remove(self._handler, self)
        self._handler.connection_lost(exc)

    def abort(self) -> None:
        """Close without waiting for the peer."""
        if self._transport is not None:
            self._transport.abort()

    def _watch(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Close the connection after so many seconds if `is_over` says so then."""
        self._stop_watching()

        def look() -> None:
            if is_over():
                self.abort()

        self._timer = asyncio.get_running_loop().call_later(seconds, look)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


API: Final = "the HTTP API"
METRICS: Final = "metrics"


def cannot_listen(host: str, port: int, element: str, error: OSError, what: str = API) -> ConfigError:
    """Return what is to be done when the listener for `what`, configured by `element`, cannot be opened."""
    return ConfigError(
        f"cannot listen on {endpoint(host, port)} for {what}: {error.strerror or error}; stop what uses"
        f" the port, or change management/{element}/@port, or set enabled to false there"
    )


class _Log(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp logs: a request that cannot be read is answered, and is no error of ours."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        if isinstance(exc_info, HttpProcessingError):
            _log.debug("refused a request that is no HTTP", reason=exc_info.message.partition("\n")[0])
        else:
            super().exception(msg, *args, exc_info=exc_info, **more)


class HttpServer:
    """Listens, and hands requests to `handle`."""

    def __init__(self, handle: Handle, tasks: asyncio.TaskGroup, room: Room) -> None:
        self._handle = handle
        self._server = web.Server(
            self._serve,
            access_log=None,
            logger=_Log(server_logger, {}),
            auto_decompress=False,
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=1.0,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            tcp_keepalive=False,
        )
        self._tasks = tasks
        self._room = room
        self._listeners: dict[str, SocketListener] = {}
        """By the element that names their port."""
        self._clients: dict[RequestHandler, HttpClient] = {}
        self.shares = Shares()
        self._streams: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def listen(
        self, host: str, port: int, element: str, tls: ssl.SSLContext | None = None, *, what: str = API
    ) -> int:
        """Open a listener for `what`; return its port. Raises `ConfigError`, naming `element`, when it cannot be
        opened.
        """
        listener = SocketListener(self._new_client, self._tasks, self._room, what="HTTPS" if tls else "HTTP")
        listener.tls = tls
        try:
            names = await listener.bind(host, port)
            listener.start()
        except OSError as error:
            listener.close()
            raise cannot_listen(host, port, element, error, what) from error
        self._listeners[element] = listener
        actual: int = names[0][1]
        _log.info("started HTTP listener", address=host, port=actual, tls=tls is not None)
        return actual

    def use_certificate(self, element: str, tls: ssl.SSLContext) -> None:
        """Use another context for the TLS connections of a listener that come from now on."""
        self._listeners[element].tls = tls

    async def stop(self) -> None:
        """Listen no more; give requests that are being served a moment to end."""
        self._is_stopping = True
        for listener in self._listeners.values():
            listener.close()
        for task in self._streams:
            task.cancel()
        self._server.pre_shutdown()
        await self._server.shutdown(_STOP_TIMEOUT)
        for client in list(self._clients.values()):
            client.abort()

    # Connections

    def _new_client(self) -> HttpClient | None:
        if len(self._clients) >= MAX_CONNECTIONS or self._is_stopping:
            return None
        return HttpClient(self, self._server())

    def add(self, handler: RequestHandler, client: HttpClient) -> None:
        """A client has connected."""
        self._clients[handler] = client

    def remove(self, handler: RequestHandler, client: HttpClient) -> None:
        """A client's socket is gone."""
        self._clients.pop(handler, None)
        for listener in self._listeners.values():
            listener.forget(client)

    # Requests

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        client = self._clients.get(request.protocol)
        if client is not None:
            client.has_asked = True
        if sum(len(name) + len(value) for name, value in request.raw_headers) > MAX_HEADER:
            return _response(request, HttpRefusal(431, "bad_request", "the header is too large").answer)
        call = _call(request)
        try:
            place = self.shares.enter(call.address)
        except HttpRefusal as refusal:
            return _response(request, refusal.answer)
        call.on_login = place.on_login
        answer = await self._answer(call, place)
        if client is not None:
            client.is_admitted |= call.found_caller is not None
        if answer.stream is None:
            return _response(request, answer)
        return await self._stream(request, answer, answer.stream)

    async def _answer(self, call: Call, place: RequestPlace) -> HttpAnswer:
        """Handle a request. One that takes too long is answered, and goes on: half a change would be worse."""
        handling = self._handle(call)
        try:
            task = self._tasks.create_task(self._finish(handling, place))
        except RuntimeError:  # the task group is ending: the node stops
            handling.close()
            place.leave()
            return HttpRefusal(503, "service_unavailable", "the node stops").answer
        await asyncio.wait({task}, timeout=ANSWER_TIMEOUT)
        if not task.done():
            waiting = f"it has not been done within {ANSWER_TIMEOUT:g} seconds, and goes on"
            return HttpRefusal(503, "service_unavailable", waiting).answer
        return task.result()

    async def _finish(self, handling: Coroutine[Any, Any, HttpAnswer], place: RequestPlace) -> HttpAnswer:
        try:
            return await handling
        except Exception as error:  # in this task group it would end the node
            _log.error("internal error of the HTTP listener", exc_info=error)
            return HttpRefusal(500, "internal_error", "internal error").answer
        finally:
            place.leave()

    async def _stream(
        self, request: web.BaseRequest, answer: HttpAnswer, pieces: AsyncGenerator[bytes, None]
    ) -> web.StreamResponse:
        if request.method == "HEAD":  # has no body, and would never end
            await pieces.aclose()
            return web.Response(status=answer.status, headers=_headers(answer))
        response = web.StreamResponse(status=answer.status, headers=_headers(answer))
        task = request.task
        self._streams.add(task)
        try:
            await response.prepare(request)
            async with aclosing(pieces):
                async for piece in pieces:
                    await write_in_pieces(response, piece)
        except ConnectionError:
            _log.debug("a stream has ended")
        finally:
            self._streams.discard(task)
        return response


async def write_in_pieces(response: web.StreamResponse, octets: bytes) -> None:
    """Write as fast as the client reads: no more than a piece lies in memory for it."""
    for at in range(0, len(octets), _PIECE):
        await response.write(octets[at : at + _PIECE])


def _call(request: web.BaseRequest) -> Call:
    peername = request.transport.get_extra_info("peername") if request.transport is not None else None
    origin = Origin.of(peername[0]) if isinstance(peername, tuple) else Origin("local", True)
    path, _, _ = request.path_qs.partition("?")

    async def read_body(limit: int) -> bytes:
        return await _body(request, limit)

    return Call(
        request.method,
        request.rel_url.raw_path if path else "/",
        MultiDict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="surrogateescape")),
        {name.lower(): value for name, value in request.headers.items()},
        origin.address,
        origin.is_loopback,
        read_body,
        is_tls=request.secure,
    )


async def _body(request: web.BaseRequest, limit: int) -> bytes:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise HttpRefusal(415, "unsupported_media_type", "a compressed body is not read")
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(limit)
    pieces: list[bytes] = []
    octets = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while piece := await request.content.read(_PIECE):
                octets += len(piece)
                if octets > limit:
                    raise TooLarge(limit)
                pieces.append(piece)
    except TimeoutError:
        raise HttpRefusal(408, "timeout", f"the body has not come within {BODY_TIMEOUT:g} seconds") from None
    except ConnectionError:
        raise BadRequest("the client has left in the middle of the body") from None  # nobody reads it
    return b"".join(pieces)


def _response(request: web.BaseRequest, answer: HttpAnswer) -> web.Response:
    response = web.Response(body=answer.body, status=answer.status, headers=_headers(answer))
    if len(answer.body) > _COMPRESSED and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    if answer.status in (408, 413, 415, 429, 431, 503):
        response.force_close()  # what is left of the request is not read
    return response


def _headers(answer: HttpAnswer) -> dict[str, str]:
    headers = {"Server": "Cordillera", **answer.headers}
    if answer.content_type:
        headers["Content-Type"] = answer.content_type
    return headers
