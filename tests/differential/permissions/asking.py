"""Asks one broker what users may do, over connections and channels of their own.

Each question is one channel. Its answer is what comes on it until the method is answered, or, where a method has no
answer, until one behind it is. Nothing waits for time to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Protocol

from broker.codec import methods as amqp
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.method import METHODS, Method
from tests.differential.permissions.cases import ALTERNATE, CASES, DEAD_LETTERS, OWN_NAME, OWN_VHOST, SERVER_NAMED, Case
from tests.differential.permissions.world import ALL, PASSWORD, VHOSTS, user_of
from tests.differential.talk import text_of
from tests.support.harness import start_ok
from tests.support.peer import command

_PROBE: Final = amqp.BasicQos(0, 0)
_IS_CONTROL: Final = (amqp.ConnectionOpen, amqp.ConnectionClose, amqp.ConnectionUpdateSecret)


class Link(Protocol):
    """A connection to a broker, on which nothing is said yet."""

    def send(self, octets: bytes) -> None:
        """Send octets."""
        ...

    def hear(self) -> list[tuple[int, Method]] | None:
        """Return what has come, of which there is something; None when the socket is closed and nothing is left."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


USER: Final = "{user}"
"""Stands in answers for the name of the user who has asked."""
Answers = dict[str, dict[str, dict[str, str]]]
"""What was answered, by case, virtual host and grant."""


@dataclass
class _Connection:
    link: Link
    is_over: bool = False
    channel: int = 0
    heard: list[tuple[int, Method]] = field(default_factory=list)

    def until(self, is_end: Callable[[int, Method], bool]) -> None:
        """Hear until something ends it, or the connection does."""
        while not self.is_over:
            come = self.link.hear()
            self.is_over = come is None
            for channel, method in come or ():
                self.heard.append((channel, method))
                self.is_over |= isinstance(method, amqp.ConnectionClose | amqp.ConnectionCloseOk)
            if any(is_end(*each) for each in self.heard):
                return


class Asker:
    """Asks one broker, where the world is what the definitions say."""

    def __init__(self, connect: Callable[[], Link]) -> None:
        self._connect = connect
        self._links: list[Link] = []
        self._open: dict[str, _Connection] = {}
        self._server_named: dict[str, str] = {}
        self._made: dict[str, list[str]] = {vhost: [] for vhost in VHOSTS}

    def answers(self, cases: Sequence[Case] = CASES) -> Answers:
        """Ask everything."""
        found: Answers = {}
        try:
            for case in cases:
                found[case.name] = {vhost: dict(self._ask_all(case, vhost)) for vhost in VHOSTS}
        finally:
            for link in self._links:
                link.close()
        return found

    def _ask_all(self, case: Case, vhost: str) -> Iterator[tuple[str, str]]:
        for number, grant in enumerate(case.grants):
            if number == 0 or case.changes:
                self._prepare(vhost)
            yield grant, self._ask(case, user_of(grant, vhost), vhost)

    # One question

    def _ask(self, case: Case, user: str, vhost: str) -> str:
        if isinstance(case.method, amqp.ConnectionOpen):
            connection = self._log_in(user, vhost)
            return self._said(
                connection, user, vhost, lambda channel, method: channel == 0 and method.name[-4:] != "tune"
            )
        connection = self._connection(user, vhost)
        if isinstance(case.method, _IS_CONTROL):
            connection.link.send(command(0, self._named(case.method, user, vhost)))
            connection.until(lambda channel, method: channel == 0)
            return self._said(connection, user, vhost, lambda channel, method: channel == 0)
        connection.channel = number = connection.channel + 1
        is_opening = isinstance(case.method, amqp.ChannelOpen)
        steps = [] if is_opening else [amqp.ChannelOpen()]
        steps += [self._named(step, user, vhost) for step in case.steps]
        end = _answers_to(case.method)
        if not end:
            steps.append(_PROBE)
            end = (amqp.BasicQosOk,)
        properties = self._named(case.properties, user, vhost)
        connection.link.send(
            b"".join(
                command(number, step, properties, b"m") if step.has_content else command(number, step) for step in steps
            )
        )
        last = (*end, amqp.ChannelClose)
        connection.until(lambda channel, method: channel == number and isinstance(method, last))
        shown = {amqp.ChannelOpenOk, amqp.BasicQosOk, *(kind for step in case.steps for kind in _answers_to(step))}
        shown -= set(_answers_to(case.method))
        said = self._said(
            connection, user, vhost, lambda channel, method: channel in (0, number) and type(method) not in shown
        )
        self._close(connection, number, is_closed=isinstance(case.method, amqp.ChannelClose))
        if getattr(case.method, "exclusive", False) and not connection.is_over:
            self._end(user)
        return said

    def _said(self, connection: _Connection, user: str, vhost: str, is_told: Callable[[int, Method], bool]) -> str:
        told = [text_of(method).replace(user, USER) for channel, method in connection.heard if is_told(channel, method)]
        for _, method in connection.heard:
            if isinstance(method, amqp.QueueDeclareOk) and method.queue.startswith("amq.gen-"):
                self._made[vhost].append(method.queue)
        if connection.is_over:
            self._open.pop(user, None)
        return " ".join(told) or "nothing"

    def _close(self, connection: _Connection, number: int, *, is_closed: bool) -> None:
        """End the channel of a question."""
        is_refused = any(isinstance(method, amqp.ChannelClose) for channel, method in connection.heard)
        connection.heard.clear()
        if is_refused:
            connection.link.send(command(number, amqp.ChannelCloseOk()))
        elif not is_closed and not connection.is_over:
            connection.link.send(command(number, amqp.ChannelClose(200, "", 0, 0)))
            connection.until(lambda channel, method: isinstance(method, amqp.ChannelCloseOk))
            connection.heard.clear()

    def _named(self, said: Any, user: str, vhost: str) -> Any:
        """Return a method or properties with names in place of what stands for them."""
        names = {SERVER_NAMED: self._server_named[vhost], OWN_NAME: user, OWN_VHOST: vhost}
        changed = {}
        for each in fields(said):
            value = getattr(said, each.name)
            if isinstance(value, str) and "(" in value:
                for sign, name in names.items():
                    value = value.replace(sign, name)
                changed[each.name] = value
        return replace(said, **changed) if changed else said

    # Connections

    def _connection(self, user: str, vhost: str) -> _Connection:
        connection = self._open.get(user)
        if connection is None:
            connection = self._open[user] = self._log_in(user, vhost)
            assert not connection.is_over, connection.heard
            connection.heard.clear()
        return connection

    def _log_in(self, user: str, vhost: str) -> _Connection:
        self._links.append(self._connect())
        connection = _Connection(self._links[-1])
        start = start_ok(("authentication_failure_close",), response=f"\0{user}\0{PASSWORD}".encode())
        methods = (start, amqp.ConnectionTuneOk(2047, 131072, 0), amqp.ConnectionOpen(vhost))
        connection.link.send(PROTOCOL_HEADER + b"".join(command(0, method) for method in methods))
        connection.until(lambda channel, method: isinstance(method, amqp.ConnectionOpenOk | amqp.ConnectionClose))
        connection.heard = [each for each in connection.heard if not isinstance(each[1], _GREETINGS)]
        return connection

    def _end(self, user: str) -> None:
        """Close a connection, and with it what is exclusive."""
        connection = self._open.pop(user)
        connection.link.send(command(0, amqp.ConnectionClose(200, "", 0, 0)))
        connection.until(lambda channel, method: False)

    # What is there

    def _prepare(self, vhost: str) -> None:
        """Make what questions are about, and delete what earlier ones have made."""
        connection = self._connection(user_of(ALL, vhost), vhost)
        connection.channel = number = connection.channel + 1
        said: list[Method] = [amqp.ChannelOpen(), amqp.ExchangeDelete(exchange="n", no_wait=True)]
        said += [amqp.QueueDelete(queue=name, no_wait=True) for name in ("n", *self._made[vhost])]
        said += [amqp.ExchangeDeclare(exchange=name, type=kind, no_wait=True) for name, kind in _EXCHANGES.items()]
        said.append(amqp.ExchangeDeclare(exchange="internal", internal=True, no_wait=True))
        said.append(amqp.ExchangeDeclare(exchange="xa", arguments=ALTERNATE, no_wait=True))
        said += [amqp.QueueDeclare(queue="q", no_wait=True)]
        said += [amqp.QueueDeclare(queue="qd", arguments=DEAD_LETTERS, no_wait=True), amqp.QueueDeclare()]
        connection.link.send(b"".join(command(number, each) for each in said))
        connection.until(lambda channel, method: isinstance(method, amqp.QueueDeclareOk | amqp.ChannelClose))
        (declared,) = [method for _, method in connection.heard if isinstance(method, amqp.QueueDeclareOk)]
        self._server_named[vhost] = declared.queue
        self._made[vhost] = [declared.queue]
        self._close(connection, number, is_closed=False)


_GREETINGS: Final = (amqp.ConnectionStart, amqp.ConnectionTune)
_EXCHANGES: Final = {
    "x": "direct",
    "y": "direct",
    "d": "direct",
    **dict.fromkeys(("t", "variables", "nothing"), "topic"),
}


def _answers_to(method: Method) -> tuple[type[Method], ...]:
    names = {f"{method.name}-ok"} | ({"basic.get-empty"} if isinstance(method, amqp.BasicGet) else set())
    return tuple(kind for kind in METHODS.values() if kind.name in names)
