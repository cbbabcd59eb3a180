"""How answers and failures of a node come out of the control socket and of HTTP."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from broker.cli.failure import EX_DATAERR, EX_NOHOST, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, CommandFailure
from broker.cli.ways import ControlWay, HttpWay, split_url, value_of


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[Callable[[object], ControlWay]]:
    """Returns a way to something that answers one request like that."""
    threads: list[threading.Thread] = []

    def start(told: object) -> ControlWay:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "control"))
        listening.listen()

        def serve() -> None:
            with listening, listening.accept()[0] as connection:
                connection.makefile("rb").readline()
                connection.sendall(b"" if told is None else json.dumps(told).encode() + b"\n")

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return ControlWay(tmp_path / "control", 10.0)

    yield start
    for thread in threads:
        thread.join(10)


def test_a_request_over_the_control_socket_has_status_and_body(answer: Callable[[object], ControlWay]) -> None:
    way = answer({"result": {"status": 200, "body": "[]"}})
    assert way.request("GET", "/queues", {}, "", {}) == (200, "[]")


def test_a_request_over_the_control_socket_knows_which_nodes_are_missing(
    answer: Callable[[object], ControlWay],
) -> None:
    way = answer({"result": {"status": 200, "body": "[]", "silent": "NODE:2"}})
    way.request("GET", "/queues", {}, "", {})
    assert way.silent == "NODE:2"


@pytest.mark.parametrize(
    ("told", "code", "text"),
    [
        ({"error": "there is no user 'x'"}, EX_DATAERR, "there is no user 'x'"),
        ({"error": "the store is away: try again later"}, EX_TEMPFAIL, "the store is away"),
        ({"error": "the request is no known command"}, EX_UNAVAILABLE, "does not know the command ping"),
        (None, EX_UNAVAILABLE, "no node answers on"),
    ],
)
def test_what_the_control_socket_refuses_has_an_exit_code(
    told: object, code: int, text: str, answer: Callable[[object], ControlWay]
) -> None:
    with pytest.raises(CommandFailure, match=text) as failure:
        answer(told).command("ping", {})
    assert failure.value.code == code


class Handler(BaseHTTPRequestHandler):
    """Answers with what was asked."""

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        told = json.dumps([self.path, login, self.rfile.read(size).decode(), self.headers["X-Reason"]]).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def test_a_request_over_http_has_login_query_and_body() -> None:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        way = HttpWay(f"http://127.0.0.1:{server.server_port}/mq/", "ann", "größer")
        status, body = way.request("POST", "/queues/%2F/q", {"a": "b c"}, "{}", {"X-Reason": "why"})
        thread.join(10)
    assert (status, json.loads(body)) == (201, ["/mq/api/queues/%2F/q?a=b+c", "ann:größer", "{}", "why"])


def test_where_nobody_listens_it_is_said_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            CommandFailure, match=r"cannot reach .* \(connection refused\). Is the node running"
        ) as failure:
            HttpWay(url, "a", "b").request("GET", "/overview", {}, "", {})
    assert failure.value.code == EX_UNAVAILABLE


@pytest.mark.parametrize("host", ["x..y", ".".join(["a" * 60] * 6)])
def test_a_host_that_there_cannot_be_has_an_exit_code_of_its_own(host: str) -> None:
    with pytest.raises(CommandFailure, match=r"cannot reach http://.* Another address: --url") as failure:
        HttpWay(f"http://{host}:1", "a", "b").request("GET", "/overview", {}, "", {})
    assert failure.value.code == EX_NOHOST


def test_a_command_of_the_control_socket_is_not_served_over_http() -> None:
    with pytest.raises(CommandFailure, match="is served by the control socket only") as failure:
        HttpWay("http://a", "b", "c").command("list_dead_letters", {})
    assert failure.value.code == EX_USAGE


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a:1", ("http://a:1", "", "")),
        ("a:1/x", ("http://a:1/x", "", "")),
        ("https://u%40v:p%3Aq@a", ("https://a", "u@v", "p:q")),
        ("http://u@[::1]:2", ("http://[::1]:2", "u", "")),
    ],
)
def test_a_url_is_parted_from_its_login(url: str, parts: tuple[str, str, str]) -> None:
    assert split_url(url) == parts


def test_what_is_no_json_is_no_node() -> None:
    assert value_of("") is None
    with pytest.raises(CommandFailure, match="is no HTTP API") as failure:
        value_of("<html>")
    assert failure.value.code == EX_SOFTWARE


def test_what_speaks_no_http_is_told_apart_from_what_does_not_answer() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        with listening, listening.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(b"AMQP\x00\x00\x09\x01")

    thread = threading.Thread(target=greet)
    thread.start()
    way = HttpWay(f"http://127.0.0.1:{listening.getsockname()[1]}", "guest", "guest", timeout=10.0)
    with pytest.raises(
        CommandFailure, match="speaks no HTTP: the API is at port 15672, 5672 is that of AMQP"
    ) as failure:
        way.request("GET", "/whoami", {}, "", {})
    thread.join(10)
    assert failure.value.code == EX_UNAVAILABLE
