"""`brokerctl` against a node in memory: commands run in this process, and requests reach the API without a socket.

Knows how a command is started; must not judge what it prints.
"""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.cli.failure import EX_DATAERR, CommandFailure
from broker.cli.program import run
from broker.cli.shell import Shell
from broker.errors import BrokerError
from broker.management.http.local import LocalRequests
from broker.node.process_commands import ProcessCommands
from tests.support.http_api import HttpNode


def process_commands(node: HttpNode) -> ProcessCommands:
    """Return the commands of a process; what they do is noted in `node.around.told`."""
    told = node.around.told
    commands = ProcessCommands(lambda seconds: told.append(f"stop {seconds}"))
    commands.add(reload=lambda: told.append("reload"), set_level=lambda level: told.append(f"level {level}"))
    return commands


class MemoryWay:
    """What stands for the control socket of an `HttpNode`."""

    name = "memory"
    is_local = True
    silent = ""

    def __init__(self, node: HttpNode) -> None:
        self._node = node
        self._commands = {
            **node.commands.by_name,
            **process_commands(node).by_name,
            "api": LocalRequests(node.api).serve,
        }

    def request(
        self, method: str, path: str, query: Mapping[str, str], body: str, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        told = {"method": method, "path": path, "query": query, "body": body, "headers": headers}
        answer = self.command("api", told)
        self.silent = answer["silent"]
        return answer["status"], answer["body"]

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return self._done(self._commands[name](arguments))
        except BrokerError as error:
            raise CommandFailure(EX_DATAERR, str(error)) from None

    def _done(self, action: Coroutine[Any, Any, Any]) -> Any:
        """Carry it out; the store commits meanwhile."""
        outcome: list[Any] = []

        async def carry_out() -> None:
            try:
                outcome.append(await action)
            except Exception as error:
                outcome.append(error)

        self._node.harness.stage.spawn(carry_out())
        self._node.harness.run()
        self._node.harness.commit()
        [result] = outcome
        if isinstance(result, Exception):
            raise result
        return result


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Input(io.TextIOWrapper):
    """Standard input of a command: text, and whether a person writes it."""

    def __init__(self, text: str = "", *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(text.encode()), "utf-8")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


class CommandLine:
    """Runs commands against one node."""

    def __init__(self, node: HttpNode, monkeypatch: pytest.MonkeyPatch, capsys: Any, home: Path) -> None:
        """`home` is where contexts are kept."""
        self.node = node
        self.environ = {"XDG_CONFIG_HOME": str(home)}
        self.executed: list[Sequence[str]] = []
        self.inputs: list[bytes | None] = []
        """What those programs were given."""
        self.reached: list[tuple[str, int]] = []
        """Where a command has tried to connect."""
        self.closed_ports: set[int] = set()
        self.now = 0.0
        self.on_sleep: Callable[[], None] = lambda: None
        """Happens while a command waits."""
        self.monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(
        self,
        line: str,
        *,
        given: str = "",
        is_terminal: bool = False,
        program: str = "brokerctl",
        elsewhere: bool = False,
    ) -> Ended:
        """Run a line as a shell would, `given` on its input; a file behind `<` is read. `elsewhere` is not at this
        node, but where the line says.
        """
        words = shlex.split(line)
        if "<" in words:
            place = words.index("<")
            given = Path(words[place + 1]).read_text()
            del words[place : place + 2]
        self.monkeypatch.setattr(sys, "stdin", Input(given, is_terminal=is_terminal))
        way = MemoryWay(self.node)
        self._capsys.readouterr()
        shell = Shell(self._execute, self._await_end, self._sleep, lambda: self.now, self._reach)
        code = run(words, self.environ, program, None if elsewhere else lambda wanted: way, shell)
        found = self._capsys.readouterr()
        return Ended(code, found.out, found.err)

    def publish(self, payload: str, routing_key: str = "orders", exchange: str = "amq.default") -> None:
        """Publish a message as another program would."""
        body = {"routing_key": routing_key, "payload": payload, "payload_encoding": "string", "properties": {}}
        assert self.node.status("POST", f"/exchanges/%2F/{exchange}/publish", body) == 200

    def _execute(self, command: Sequence[str], given: bytes | None = None) -> int:
        self.executed.append(command)
        self.inputs.append(given)
        return 0

    def _await_end(self, process_id: int, seconds: float) -> bool:
        return self.node.around.has_ended

    def _reach(self, host: str, port: int) -> str:
        self.reached.append((host, port))
        return "connection refused" if port in self.closed_ports else ""

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()
