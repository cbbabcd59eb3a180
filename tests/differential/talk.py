"""What a scripted session says and hears, as lines of text.

A session is a function that gets a `Talk`. It runs the same over any `Wire`: that of this broker's own parts, or the
socket of a server. Knows frames and methods; knows no server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicNack,
    BasicPublish,
    BasicRecoverAsync,
    BasicReject,
    ChannelClose,
    ChannelCloseOk,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTuneOk,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
)
from broker.codec.properties import BasicProperties
from tests.support.peer import Content, command

CAPABILITIES = (
    "publisher_confirms",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "authentication_failure_close",
)
_WITHOUT_ANSWER = (
    BasicPublish,
    BasicAck,
    BasicNack,
    BasicReject,
    BasicRecoverAsync,
    ChannelCloseOk,
    ConnectionCloseOk,
    ConnectionTuneOk,
)
GUEST = b"\0guest\0guest"
_ERLANG_BREAK = re.compile(r"\\n +")
"""How RabbitMQ breaks a long term in a text."""
_CHOSEN = re.compile(r"(amq\.gen-|amq\.ctag-|amq\.rabbitmq\.reply-to\.)([A-Za-z0-9_+/=.-]{20,}|\d+(?='))")


@dataclass(frozen=True, slots=True)
class Heard:
    """What came in answer to one step: methods, each with its content, or what became of the socket."""

    connection: int
    channel: int
    what: Method | Content | str


class Wire(Protocol):
    """The way to one server, for one session after another."""

    def connect(self) -> int:
        """Open another connection, on which nothing is said yet; return its number."""
        ...

    def send(self, connection: int, octets: bytes) -> None:
        """Send octets; what comes of it is what `settle` returns."""
        ...

    def drop(self, connection: int) -> None:
        """Close the socket."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def settle(self, *, is_answered: bool) -> list[Heard]:
        """Wait until nothing more comes, and return all that has come, in order for each channel. `is_answered`:
        something is to be expected.
        """
        ...


@dataclass
class Talk:
    """One session: what it says goes over `wire`; `lines` is the whole conversation."""

    wire: Wire
    lines: list[str] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    """What the last step has brought."""
    queues: dict[str, None] = field(default_factory=dict)
    """Names of queues that were declared, to be deleted at the end."""
    exchanges: dict[str, None] = field(default_factory=dict)
    answers_closes: bool = True
    """Is a close of the server answered at once?"""

    # Connections

    def connect(self, capabilities: Sequence[str] = CAPABILITIES) -> int:
        """Open a connection with channel 1 and return its number; what is said for it is not part of `lines`."""
        kept = len(self.lines)
        number = self.wire.connect()
        self.raw(PROTOCOL_HEADER, connection=number)
        properties = FieldTable.of({"capabilities": dict.fromkeys(capabilities, True)})
        start = (ConnectionStartOk(properties, "PLAIN", GUEST), ConnectionTuneOk(2047, 131072, 0), ConnectionOpen("/"))
        octets = b"".join([*(command(0, method) for method in start), command(1, ChannelOpen())])
        self.raw(octets, connection=number)
        while self.heard and not isinstance(self.heard[-1].what, ChannelOpenOk | ConnectionClose):
            self._settle(is_answered=True)  # some of it was late
        assert isinstance(self.heard[-1].what, ChannelOpenOk), self.lines[kept:]
        del self.lines[kept:]
        return number

    def bare(self) -> int:
        """Open a connection on which nothing is said yet."""
        return self.wire.connect()

    def drop(self, connection: int = 0) -> None:
        """Cut a connection."""
        self.lines.append(f"> {connection} is cut")
        self.wire.drop(connection)
        self._settle(is_answered=False)

    def open(self, channel: int = 1, *, connection: int = 0) -> None:
        """Open a channel."""
        self.send(ChannelOpen(), channel=channel, connection=connection)

    # What is said

    def raw(self, octets: bytes, *, connection: int = 0) -> None:
        """Send octets, valid or not."""
        more = f" and {len(octets) - 40} more" if len(octets) > 40 else ""
        self.lines.append(f"> {connection} {octets[:40]!r}{more}")
        self.wire.send(connection, octets)
        self._settle(is_answered=True)

    def send(
        self,
        method: Method,
        properties: BasicProperties | None = None,
        body: bytes | None = None,
        *,
        channel: int = 1,
        connection: int = 0,
    ) -> None:
        """Send a method and hear what comes of it."""
        self.send_all((method, properties, body), channel=channel, connection=connection)

    def send_all(
        self,
        *methods: tuple[Method, BasicProperties | None, bytes | None],
        channel: int = 1,
        connection: int = 0,
    ) -> None:
        """Send methods together and hear what comes of them."""
        octets = b""
        for method, properties, body in methods:
            if isinstance(method, QueueDeclare) and method.queue and not method.passive:
                self.queues[method.queue] = None
            if isinstance(method, ExchangeDeclare) and method.exchange and not method.passive:
                self.exchanges[method.exchange] = None
            content = Content(channel, method, properties or BasicProperties(), body or b"")
            told = content if method.has_content or body is not None else method
            self.lines.append(f"> {_place(connection, channel)} {text_of(told)}")
            octets += command(channel, method, properties, body)
        self.wire.send(connection, octets)
        self._settle(is_answered=any(_is_answered(method) for method, _, _ in methods))

    def publish(
        self,
        key: str = "q",
        body: bytes = b"m",
        exchange: str = "",
        *,
        mandatory: bool = False,
        immediate: bool = False,
        channel: int = 1,
        connection: int = 0,
        **properties: Any,
    ) -> None:
        """Publish a message with these properties; headers may be a dict."""
        if isinstance(properties.get("headers"), dict):
            properties["headers"] = FieldTable.of(properties["headers"])
        method = BasicPublish(0, exchange, key, mandatory, immediate)
        self.send(method, BasicProperties(**properties), body, channel=channel, connection=connection)

    def declare(self, queue: str = "q", *, connection: int = 0, channel: int = 1, **options: Any) -> None:
        """Declare a queue; options that begin with `x_` are arguments."""
        arguments = {name.replace("_", "-"): value for name, value in options.items() if name.startswith("x_")}
        others = {name: value for name, value in options.items() if not name.startswith("x_")}
        method = QueueDeclare(queue=queue, arguments=FieldTable.of(arguments), **others)
        self.send(method, connection=connection, channel=channel)

    def exchange(self, name: str = "x", kind: str = "direct", **options: Any) -> None:
        """Declare an exchange; options as for `declare`, but for `alternate_exchange`."""
        arguments = {name.replace("_", "-"): value for name, value in options.items() if _is_argument(name)}
        others = {name: value for name, value in options.items() if not _is_argument(name)}
        self.send(ExchangeDeclare(exchange=name, type=kind, arguments=FieldTable.of(arguments), **others))

    def bind(self, queue: str = "q", exchange: str = "x", key: str = "k", **arguments: Any) -> None:
        """Bind a queue to an exchange."""
        table = FieldTable.of({name.replace("_", "-"): value for name, value in arguments.items()})
        self.send(QueueBind(queue=queue, exchange=exchange, routing_key=key, arguments=table))

    def consume(
        self, queue: str = "q", tag: str = "c", *, channel: int = 1, connection: int = 0, **options: Any
    ) -> None:
        """Begin to consume; options as for `declare`."""
        arguments = {name.replace("_", "-"): value for name, value in options.items() if name.startswith("x_")}
        others = {name: value for name, value in options.items() if not name.startswith("x_")}
        method = BasicConsume(queue=queue, consumer_tag=tag, arguments=FieldTable.of(arguments), **others)
        self.send(method, channel=channel, connection=connection)

    def get(self, queue: str = "q", *, no_ack: bool = True, channel: int = 1, connection: int = 0) -> None:
        """Fetch a message."""
        self.send(BasicGet(queue=queue, no_ack=no_ack), channel=channel, connection=connection)

    def ack(self, tag: int, *, multiple: bool = False, channel: int = 1, connection: int = 0) -> None:
        """Acknowledge."""
        self.send(BasicAck(tag, multiple), channel=channel, connection=connection)

    def wait(self, seconds: float) -> None:
        """Let time pass and hear what comes."""
        self.lines.append(f"> {seconds} s pass")
        self.wire.pass_time(seconds)
        self._settle(is_answered=False)

    # What is heard

    def _settle(self, *, is_answered: bool) -> None:
        """Hear what comes, and answer the server's closes."""
        self.heard = []
        is_over = False
        while not is_over:
            heard = self.wire.settle(is_answered=is_answered)
            self.heard += heard
            self.lines += [
                f"< {_place(each.connection, each.channel)} {text_of(each.what)}"
                for each in sorted(heard, key=lambda each: (each.connection, each.channel))
            ]
            closes = [each for each in heard if isinstance(each.what, ChannelClose | ConnectionClose)]
            is_over, is_answered = not (closes and self.answers_closes), False
            for each in closes if self.answers_closes else ():
                answer = ChannelCloseOk() if isinstance(each.what, ChannelClose) else ConnectionCloseOk()
                self.wire.send(each.connection, command(each.channel, answer))


@dataclass(frozen=True, slots=True)
class Session:
    """A script with its name, which is unique, and the rows of the contract that it shows."""

    name: str
    rows: tuple[str, ...]
    script: Callable[[Talk], None]
    is_bare: bool = False
    """Does the script open its first connection itself?"""

    def run(self, wire: Wire) -> Talk:
        """Run the session and return it."""
        talk = Talk(wire)
        if not self.is_bare:
            talk.connect()
        self.script(talk)
        return talk


class Book:
    """Sessions of one part of the contract."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []

    def session(self, *rows: str, is_bare: bool = False) -> Callable[[Callable[[Talk], None]], Callable[[Talk], None]]:
        """Add a function as a session that shows these rows; its name is that of the first row and the function's."""

        def add(script: Callable[[Talk], None]) -> Callable[[Talk], None]:
            self.add(script.__name__.replace("_", " "), rows, script, is_bare=is_bare)
            return script

        return add

    def add(self, name: str, rows: Sequence[str], script: Callable[[Talk], None], *, is_bare: bool = False) -> None:
        """Add a session."""
        self.sessions.append(Session(f"{rows[0]} {name}", tuple(rows), script, is_bare))


# Lines


def _place(connection: int, channel: int) -> str:
    return f"{connection}/{channel}" if connection else str(channel)


def _is_answered(method: Method) -> bool:
    """Is there an answer to a method, if all is well?"""
    if getattr(method, "no_wait", False):
        return False
    return not isinstance(method, _WITHOUT_ANSWER)


def _is_argument(name: str) -> bool:
    return name.startswith("x_") or name in ("alternate_exchange", "hash_header", "hash_property")


def text_of(what: Method | Content | str) -> str:
    """Return a line for what was said or heard; what differs each time is left out."""
    if isinstance(what, str):
        return what
    if isinstance(what, Content):
        said = [text_of(what.method), *_pairs(what.properties), f"body={what.body[:60]!r}"]
        return " ".join(said + ([f"({len(what.body)} octets)"] if len(what.body) > 60 else []))
    if isinstance(what, ConnectionStart):
        mechanisms = " ".join(sorted(what.mechanisms.decode().split()))
        return f"{what.name} {what.version_major}-{what.version_minor} {mechanisms} {what.locales!r}"
    if isinstance(what, ConnectionStartOk):
        return f"{what.name} {what.mechanism} {what.response!r}"
    return " ".join([what.name, *_pairs(what)])


def _pairs(what: Any) -> Iterable[str]:
    for each in fields(what):
        value = getattr(what, each.name)
        if value != each.default and value not in (None, b""):
            yield f"{each.name}={_value(value)}"


def _value(value: Any) -> str:
    text = _CHOSEN.sub(r"\1*", repr(_plain(value)))
    return _ERLANG_BREAK.sub("", text)


def _plain(value: Any) -> Any:
    """Return a value without what differs each time."""
    if isinstance(value, FieldTable):
        return _plain(value.values)
    if isinstance(value, Mapping):
        is_death = "reason" in value and "queue" in value
        return {key: "a time" if key == "time" and is_death else _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
