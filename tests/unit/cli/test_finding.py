"""Which node is meant."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.cli.contexts import Context, Contexts, contexts_path, write_contexts
from broker.cli.failure import EX_NOPERM, EX_UNAVAILABLE, EX_USAGE, CommandFailure
from broker.cli.finding import EMBEDDED, WantedNode, find, local_socket


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "c"), "XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def listen() -> Iterator[object]:
    """Listens on UNIX sockets as long as the test runs."""
    with ExitStack() as stack:

        def on(path: Path, *, is_open: bool = True) -> Path:
            path.parent.mkdir(exist_ok=True)
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(os.fspath(path))
            if is_open:
                listening.listen()
            return path

        yield on


def nobody(user: str) -> str | None:
    return None


def name(wanted: WantedNode, environ: dict[str, str], password: str | None = None) -> str:
    return find(wanted, environ, lambda user: password).name


def test_a_node_of_this_folder_comes_before_those_of_the_machine(tmp_path: Path, listen, environ) -> None:  # type: ignore[no-untyped-def]
    running = listen(tmp_path / f"cordillera-{os.getuid()}-1.control")
    listen(tmp_path / f"cordillera-{os.getuid()}-2.control", is_open=False)
    assert local_socket(tmp_path, environ) == running
    embedded = listen(tmp_path / EMBEDDED)
    assert local_socket(tmp_path, environ) == embedded


def test_of_several_nodes_one_is_to_be_named(tmp_path: Path, listen, environ) -> None:  # type: ignore[no-untyped-def]
    for number in range(6):
        listen(tmp_path / f"cordillera-{os.getuid()}-{number}.control")
    with pytest.raises(CommandFailure, match="6 nodes run here") as failure:
        local_socket(tmp_path, environ)
    assert (failure.value.code, str(failure.value).count("control")) == (EX_USAGE, 4)


def test_without_a_node_it_is_said_how_one_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(CommandFailure, match="Say --config or --socket") as failure:
        local_socket(tmp_path, environ)
    assert failure.value.code == EX_UNAVAILABLE


def test_the_command_line_comes_before_the_environment_and_that_before_contexts(environ: dict[str, str]) -> None:
    known = {"shop": Context("http://shop:1", "ops", "x"), "here": Context(socket="/run/here")}
    write_contexts(contexts_path(environ), Contexts(known, "shop"))
    assert name(WantedNode(), environ) == "http://shop:1"
    assert name(WantedNode(context="here"), environ) == "/run/here"
    environ["BROKER_URL"] = "http://env/"
    assert name(WantedNode(), environ) == "http://env:15672"
    assert name(WantedNode(url="https://a"), environ) == "https://a:443"
    assert name(WantedNode(socket="/run/s"), environ) == "/run/s"
    assert name(WantedNode(context="shop"), environ) == "http://shop:1"


@pytest.mark.parametrize(
    ("wanted", "code", "text"),
    [
        (WantedNode(url="http://a", socket="/b"), EX_USAGE, "name the node by one of"),
        (WantedNode(context="none"), EX_USAGE, "there is no context 'none': there are local"),
        (WantedNode(url="ftp://a"), EX_USAGE, "is no address of a node"),
        (WantedNode(url="http://a:port"), EX_USAGE, "is no address of a node"),
        (WantedNode(url="http://"), EX_USAGE, "is no address of a node"),
        (
            WantedNode(url="http://a", user="ann"),
            EX_NOPERM,
            "the password of ann is missing: say it in BROKER_PASSWORD",
        ),
        (WantedNode(config="/nowhere"), 78, "--config /nowhere"),
    ],
)
def test_what_names_no_node_is_refused(wanted: WantedNode, code: int, text: str, environ: dict[str, str]) -> None:
    with pytest.raises(CommandFailure, match=text) as failure:
        find(wanted, environ, nobody)
    assert failure.value.code == code


def test_a_user_without_a_password_is_asked(environ: dict[str, str]) -> None:
    asked: list[str] = []

    def ask(user: str) -> str | None:
        asked.append(user)
        return "secret"

    find(WantedNode(url="http://a", user="ann"), environ, ask)
    find(WantedNode(url="http://bob:x@a"), environ, ask)
    find(WantedNode(url="http://a"), environ, ask)
    assert asked == ["ann"]


def test_a_configuration_names_the_socket(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "broker.xml").write_text(
        "<broker><management><controlSocket>/run/x</controlSocket></management></broker>"
    )
    assert name(WantedNode(config=str(tmp_path)), environ) == "/run/x"


def test_the_node_of_this_folder_is_told_to_be_stopped(tmp_path: Path, listen, environ) -> None:  # type: ignore[no-untyped-def]
    listen(tmp_path / f"cordillera-{os.getuid()}-1.control")
    (tmp_path / "broker-data").mkdir()
    (tmp_path / "broker-data" / "mb.db").touch()
    with pytest.raises(CommandFailure, match="the node of this folder is stopped") as failure:
        local_socket(tmp_path, environ)
    assert failure.value.code == EX_UNAVAILABLE


def test_a_path_in_a_configuration_is_told_to_be_relative_to_where_the_node_was_started(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(Path(__file__).parents[3] / "conf")
    with pytest.raises(CommandFailure, match="relative to where the node was started") as failure:
        find(WantedNode(config=config), environ, nobody)
    assert failure.value.code == EX_UNAVAILABLE
