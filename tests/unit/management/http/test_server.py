"""The listener on real sockets: what aiohttp makes of requests, and who is cut off."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.auth.identity import Identity
from broker.errors import ConfigError
from broker.machine.listener import Room
from broker.management.http import server as edge
from broker.management.http.call import Call, HttpAnswer, HttpCaller, as_json
from broker.management.http.server import HttpServer
from broker.management.http.shares import Shares

Serve = Callable[[Call], Coroutine[Any, Any, HttpAnswer]]


async def echo(call: Call) -> HttpAnswer:
    body = await call.read_body(1000)
    told = {
        "method": call.method,
        "path": call.path,
        "query": dict(call.query),
        "body": body.decode(),
        "address": call.address,
        "is_loopback": call.is_loopback,
        "cookie": call.headers.get("cookie"),
    }
    return HttpAnswer(body=as_json(told), headers={"Cache-Control": "no-cache"})


@asynccontextmanager
async def listening(serve: Serve = echo) -> AsyncIterator[tuple[HttpServer, int]]:
    async with asyncio.TaskGroup() as tasks:
        server = HttpServer(serve, tasks, Room())
        port = await server.listen("127.0.0.1", 0, "http")
        try:
            yield server, port
        finally:
            await server.stop()


async def ask(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request on a connection of its own; return status, headers and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await _answer(reader, writer, request)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, dict[str, str], bytes]:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    length = 0 if request.startswith(b"HEAD") else int(headers.get("content-length", 0))
    body = await reader.readexactly(length)
    if "chunked" in headers.get("transfer-encoding", ""):
        body = await reader.readuntil(b"0\r\n\r\n")
    return int(head[0].split()[1]), headers, body


def get(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_request_arrives_as_it_was_sent() -> None:
    async with listening() as (_, port):
        status, headers, body = await ask(
            port, get("/api/q/%2F/a%2Fb/../x%20y?a=1&b=%26&a=2", method="PUT", body=b"hi")
        )
    told = json.loads(body)
    assert (status, headers["content-type"], headers["server"]) == (200, "application/json", "Cordillera")
    assert told["path"] == "/api/q/%2F/a%2Fb/../x%20y"
    assert told["query"] == {"a": "1", "b": "&"}
    assert (told["method"], told["body"], told["address"], told["is_loopback"]) == ("PUT", "hi", "127.0.0.1", True)


async def test_head_has_the_length_and_no_body() -> None:
    async with listening() as (_, port):
        status, headers, body = await ask(port, get("/", method="HEAD"))
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 10


async def test_a_large_answer_is_compressed_for_those_who_can_read_it() -> None:
    async def serve(call: Call) -> HttpAnswer:
        return HttpAnswer(body=b"x" * 5000)

    async with listening(serve) as (_, port):
        _, headers, body = await ask(port, get("/", "Accept-Encoding: gzip, deflate"))
        assert (headers["content-encoding"], gzip.decompress(body)) == ("gzip", b"x" * 5000)
        _, headers, body = await ask(port, get("/"))
        assert ("content-encoding" in headers, len(body)) == (False, 5000)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/", *(f"X-{number}: {'x' * 4000}" for number in range(5))), 431),
        (get("/" + "x" * 9000), 400),
        (get("/", "X: " + "x" * 9000), 400),
        (get("/", method="PUT", body=b"x" * 1001), 413),
        (get("/", "Content-Encoding: gzip", method="PUT", body=b"x"), 415),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 400),
    ],
    ids=["headers", "line", "field", "body", "compressed", "nonsense", "two lengths"],
)
async def test_what_is_too_large_or_ambiguous_is_refused(request_: bytes, status: int) -> None:
    async def serve(call: Call) -> HttpAnswer:
        try:
            return await echo(call)
        except edge.HttpRefusal as refusal:
            return refusal.answer

    async with listening(serve) as (_, port):
        assert (await ask(port, request_))[0] == status


async def test_more_requests_than_can_be_served_at_once_are_refused() -> None:
    may_end = asyncio.Event()
    has_begun = asyncio.Event()

    async def serve(call: Call) -> HttpAnswer:
        has_begun.set()
        await may_end.wait()
        return HttpAnswer()

    async with listening(serve) as (server, port), asyncio.TaskGroup() as tasks:
        server.shares = Shares(1)
        first = tasks.create_task(ask(port, get("/")))
        await has_begun.wait()
        status, headers, _ = await ask(port, get("/"))
        assert (status, headers["retry-after"]) == (503, "1")
        may_end.set()
        assert (await first)[0] == 200


async def test_one_user_takes_a_share_and_others_are_served() -> None:
    may_end = asyncio.Event()
    begun = asyncio.Queue[str]()

    async def serve(call: Call) -> HttpAnswer:
        user = call.path.strip("/")
        try:
            call.let_in(HttpCaller(Identity(user, True), frozenset()))
        except edge.HttpRefusal as refusal:
            return refusal.answer
        await begun.put(user)
        await may_end.wait()
        return HttpAnswer()

    async with listening(serve) as (server, port), asyncio.TaskGroup() as tasks:
        server.shares = Shares(4, 2)
        waiting = [tasks.create_task(ask(port, get(path))) for path in ("/greedy", "/greedy")]
        assert [await begun.get(), await begun.get()] == ["greedy", "greedy"]
        status, headers, body = await ask(port, get("/greedy"))
        assert (status, headers["retry-after"]) == (429, "1")
        assert b"user 'greedy' has too many requests under way: wait for one of them" in body
        waiting.append(tasks.create_task(ask(port, get("/other"))))
        assert await begun.get() == "other"
        may_end.set()
        assert [(await each)[0] for each in waiting] == [200, 200, 200]
        assert server.shares.total == 0


async def test_a_connection_that_asks_for_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "REQUEST_TIMEOUT", 0.0)
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_a_client_that_does_not_read_its_answer_is_cut_off_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge, "UNREAD_TIMEOUT", 0.0)

    async def serve(call: Call) -> HttpAnswer:
        return HttpAnswer(body=b"x" * (32 << 20 if call.path == "/large" else 1))

    async with listening(serve) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(get("/large"))
        assert (await ask(port, get("/small")))[0] == 200
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(32 << 20)
        writer.close()


async def test_a_stream_goes_on_piece_by_piece() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    async def serve(call: Call) -> HttpAnswer:
        return HttpAnswer(content_type="text/event-stream", stream=pieces())

    async with listening(serve) as (_, port):
        status, headers, body = await ask(port, get("/"))
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert b"data: 1" in body
    assert b"data: 2" in body


async def test_who_asks_for_the_head_of_a_stream_is_not_streamed_to() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        raise AssertionError("nobody reads that")

    async def serve(call: Call) -> HttpAnswer:
        return HttpAnswer(content_type="text/event-stream", stream=pieces())

    async with listening(serve) as (_, port):
        status, headers, body = await ask(port, get("/", method="HEAD"))
    assert (status, headers["content-type"], body) == (200, "text/event-stream", b"")


async def test_a_large_event_is_written_in_pieces() -> None:
    """So that no more than a piece lies in memory for a client that does not read."""
    sizes: list[int] = []

    class Response:
        async def write(self, piece: bytes) -> None:
            sizes.append(len(piece))

    await edge.write_in_pieces(Response(), b"x" * 150_000)  # type: ignore[arg-type]
    assert sizes == [65536, 65536, 18928]


async def test_a_port_that_is_taken_is_told_with_what_to_change() -> None:
    async with listening() as (server, port):
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} for the HTTP API: .*management/http/@port"):
            await server.listen("127.0.0.1", port, "http")


async def test_a_request_that_takes_too_long_is_answered_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "ANSWER_TIMEOUT", 0.0)
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def serve(call: Call) -> HttpAnswer:
        await may_end.wait()
        has_ended.set()
        return HttpAnswer()

    async with listening(serve) as (_, port):
        status, _, body = await ask(port, get("/"))
        assert (status, b"goes on" in body) == (503, True)
        may_end.set()
        await has_ended.wait()


async def test_a_mistake_in_a_handler_ends_one_request_and_nothing_else() -> None:
    async def serve(call: Call) -> HttpAnswer:
        if call.path == "/wrong":
            raise KeyError("secret")
        return HttpAnswer(body=b"{}")

    async with listening(serve) as (_, port):
        status, _, body = await ask(port, get("/wrong"))
        assert (status, body) == (500, b'{"error":"internal_error","reason":"internal error"}')
        assert (await ask(port, get("/right")))[0] == 200


async def test_a_client_that_leaves_in_its_body_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(call: Call) -> HttpAnswer:
        try:
            await call.read_body(10_000)
        except BaseException as error:
            refused.set_result(f"{type(error).__name__}: {error}")
        return HttpAnswer()

    with capture_logs() as lines:
        async with listening(serve) as (_, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/api/q", "Content-Length: 1000", method="PUT") + b"{")
            await writer.drain()
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
            assert await refused == "BadRequest: the client has left in the middle of the body"
    assert not [line for line in lines if line["log_level"] == "error"]
    assert not caplog.records


@pytest.mark.parametrize(
    "request_sent",
    [
        get("/" + "x" * 9000),
        get("/", "X: " + "x" * 9000),
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/one\r\n\r\n",
        get("/", "Content-Length: x"),
    ],
    ids=["a long line", "a long field", "no field", "no version", "no length"],
)
async def test_what_is_no_http_is_a_bad_request_and_no_error_of_ours(
    request_sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as lines:
        async with listening() as (_, port):
            assert (await ask(port, request_sent))[0] == 400
    assert not [line for line in lines if line["log_level"] == "error"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_query_that_is_no_utf_8_is_told_as_it_is() -> None:
    async with listening() as (_, port):
        answer = await ask(port, get("/?a=%FF"))
    assert json.loads(answer[2])["query"] == {"a": "?"}
