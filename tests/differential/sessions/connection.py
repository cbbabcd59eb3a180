"""Errors in general, connections and frames, channels: rows G, C and H of the contract."""

from __future__ import annotations

import struct
from collections.abc import Callable

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    AccessRequest,
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicPublish,
    BasicQos,
    ChannelClose,
    ChannelCloseOk,
    ChannelFlow,
    ChannelOpen,
    ConfirmSelect,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionSecureOk,
    ConnectionStartOk,
    ConnectionTuneOk,
    ConnectionUpdateSecret,
    ExchangeDeclare,
    QueueDeclare,
    QueueDelete,
    QueuePurge,
    TxSelect,
)
from broker.codec.properties import BasicProperties, encode_header
from tests.differential.talk import CAPABILITIES, GUEST, Book, Talk
from tests.support.peer import command, raw_frame

BOOK = Book()
session = BOOK.session

# Errors


@session("G1", "G2", "G4", "X3")
def a_close_tells_code_text_and_method(talk: Talk) -> None:
    talk.send(ExchangeDeclare(exchange="none", passive=True))


@session("G3", "B1")
def an_error_in_content_is_that_of_the_publish(talk: Talk) -> None:
    talk.publish(exchange="none")


@session("G5", "B3")
def some_codes_close_the_connection(talk: Talk) -> None:
    talk.publish(immediate=True)


@session("G7")
def after_a_close_of_the_server_everything_is_discarded_until_close_ok(talk: Talk) -> None:
    talk.answers_closes = False
    talk.declare("q")
    talk.declare("none", passive=True)
    talk.declare("q")
    talk.publish("q")
    talk.send(BasicQos(0, 1))
    talk.send(ChannelCloseOk())
    talk.open()
    talk.declare("q", passive=True)


@session("G7")
def a_close_beside_that_of_the_server_is_answered(talk: Talk) -> None:
    talk.answers_closes = False
    talk.declare("none", passive=True)
    talk.send(ChannelClose(200, "", 0, 0))
    talk.send(ChannelCloseOk())
    talk.open()


@session("G7", "H3")
def messages_are_back_when_the_server_closes(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q")
    talk.consume("q")
    talk.answers_closes = False
    talk.declare("none", passive=True)
    talk.open(2)
    talk.get("q", channel=2)


@session("G8")
def after_a_close_of_the_connection_everything_is_discarded(talk: Talk) -> None:
    talk.answers_closes = False
    talk.publish(immediate=True)
    talk.declare("q")
    talk.send(ConnectionCloseOk(), channel=0)


@session("G8")
def a_close_beside_that_of_the_servers_connection_is_answered(talk: Talk) -> None:
    talk.answers_closes = False
    talk.publish(immediate=True)
    talk.send(ConnectionClose(200, "", 0, 0), channel=0)


@session("G9")
def requests_behind_one_that_fails_are_lost(talk: Talk) -> None:
    talk.answers_closes = False
    talk.send_all(
        (QueueDeclare(queue="none", passive=True), None, None),
        (QueueDeclare(queue="other", passive=True), None, None),
        (QueueDeclare(queue="q"), None, None),
    )
    talk.send(ChannelCloseOk())
    talk.open()
    talk.declare("q", passive=True)


@session("G10")
def a_normal_close_of_a_channel_is_answered(talk: Talk) -> None:
    talk.send(ChannelClose(200, "bye", 0, 0))
    talk.open()


@session("G10", "C13")
def a_normal_close_of_the_connection_is_answered(talk: Talk) -> None:
    talk.send(ConnectionClose(200, "bye", 0, 0), channel=0)


# The start of a connection


def _header(octets: bytes) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.bare()
        talk.raw(octets)

    return script


for octets in (
    PROTOCOL_HEADER,
    b"AMQP\x01\x01\x00\x09",
    b"AMQP\x01\x01\x08\x00",
    b"AMQP\x01\x01\x00\x0a",
    b"AMQP\x00\x01\x00\x00",
    b"AMQP\x03\x01\x00\x00",
    b"AMQP\x00\x00\x09\x00",
    b"AMQP\x02\x00\x09\x01",
    b"GET / HTTP/1.1\r\n",
    b"AMQX\x00\x00\x09\x01",
    bytes(8),
):
    BOOK.add(f"header {octets!r}", ["C1", "C3"], _header(octets), is_bare=True)


def _started(talk: Talk) -> None:
    talk.bare()
    talk.raw(PROTOCOL_HEADER)


def _tuned(talk: Talk) -> None:
    _started(talk)
    talk.send(start_ok(), channel=0)


def start_ok(mechanism: str = "PLAIN", response: bytes = GUEST, locale: str = "en_US") -> ConnectionStartOk:
    table = FieldTable.of({"capabilities": dict.fromkeys(CAPABILITIES, True), "connection_name": "a name"})
    return ConnectionStartOk(table, mechanism, response, locale)


def _login(mechanism: str, response: bytes) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        _started(talk)
        talk.send(start_ok(mechanism, response), channel=0)

    return script


AMQPLAIN = FieldTable.of({"LOGIN": "guest", "PASSWORD": "guest"}).raw
for mechanism, response in (
    ("PLAIN", GUEST),
    ("AMQPLAIN", AMQPLAIN),
    ("AMQPLAIN", FieldTable.of({"LOGIN": "guest", "PASSWORD": "wrong"}).raw),
    ("AMQPLAIN", FieldTable.of({"LOGIN": "guest"}).raw),
    ("AMQPLAIN", b"\xff\xff"),
    ("EXTERNAL", b""),
    ("CRAM-MD5", b""),
    ("plain", GUEST),
    ("", b""),
    ("PLAIN", b"\0guest\0wrong"),
    ("PLAIN", b"\0nobody\0guest"),
    ("PLAIN", b"guest\0guest\0guest"),
    ("PLAIN", b"guest"),
    ("PLAIN", b""),
    ("PLAIN", b"\0\0"),
    ("PLAIN", b"\0guest\0"),
    ("PLAIN", b"\0guest\0guest\0more"),
    ("PLAIN", b"\0\xff\xfe\0guest"),
):
    BOOK.add(f"login {mechanism} {response!r}", ["C4", "C6"], _login(mechanism, response), is_bare=True)


@session("C6", is_bare=True)
def a_client_that_does_not_understand_finds_the_socket_closed(talk: Talk) -> None:
    _started(talk)
    talk.send(ConnectionStartOk(FieldTable.of({}), "PLAIN", b"\0guest\0wrong"), channel=0)


@session("C5", is_bare=True)
def a_secure_ok_that_nobody_asked_for(talk: Talk) -> None:
    _tuned(talk)
    talk.send(ConnectionSecureOk(b"x"), channel=0)


def _tune_ok(channel_max: int, frame_max: int, heartbeat: int) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        _tuned(talk)
        talk.send(ConnectionTuneOk(channel_max, frame_max, heartbeat), channel=0)
        talk.send(ConnectionOpen("/"), channel=0)

    return script


for channel_max, frame_max, heartbeat in (
    (0, 0, 0),
    (2047, 131072, 0),
    (2048, 131072, 0),
    (1, 4096, 0),
    (2047, 131073, 0),
    (2047, 4095, 0),
    (65535, 0, 0),
    (0, 4294967295, 0),
    (0, 8, 0),
    (2047, 131072, 600),
    (2047, 131072, 65535),
):
    name = f"tune-ok {channel_max} {frame_max} {heartbeat}"
    BOOK.add(name, ["C9", "C8", "C10"], _tune_ok(channel_max, frame_max, heartbeat), is_bare=True)


def _open(vhost: str) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        _tuned(talk)
        talk.send(ConnectionTuneOk(2047, 131072, 0), channel=0)
        talk.send(ConnectionOpen(vhost), channel=0)

    return script


for vhost in ("/", "none", "", "//", "a" * 255):
    BOOK.add(f"virtual host {vhost[:9]}", ["C11"], _open(vhost), is_bare=True)


@session("C22")
def a_second_open(talk: Talk) -> None:
    talk.send(ConnectionOpen("/"), channel=0)


@session("C22", is_bare=True)
def tune_ok_before_start_ok(talk: Talk) -> None:
    _started(talk)
    talk.send(ConnectionTuneOk(2047, 131072, 0), channel=0)


@session("C22", is_bare=True)
def open_before_tune_ok(talk: Talk) -> None:
    _tuned(talk)
    talk.send(ConnectionOpen("/"), channel=0)


@session("C22", is_bare=True)
def a_channel_before_the_connection_is_open(talk: Talk) -> None:
    _tuned(talk)
    talk.send(ConnectionTuneOk(2047, 131072, 0), channel=0)
    talk.open()


@session("C22")
def start_ok_again(talk: Talk) -> None:
    talk.send(start_ok(), channel=0)


@session("C13", "U13")
def exclusive_queues_are_gone_when_the_close_is_answered(talk: Talk) -> None:
    talk.declare("q", exclusive=True)
    other = talk.connect()
    talk.declare("q", passive=True, connection=other)
    talk.open(connection=other)
    talk.send(ConnectionClose(200, "", 0, 0), channel=0)
    talk.declare("q", connection=other)


@session("C16")
def a_secret_is_updated(talk: Talk) -> None:
    talk.send(ConnectionUpdateSecret(b"guest", "it is time"), channel=0)


# Frames


def _frame(octets: bytes) -> Callable[[Talk], None]:
    return lambda talk: talk.raw(octets)


_QUEUE = QueueDeclare(queue="q").encode()
for name, row, octets in (
    ("an end octet that is not 206", "C18", raw_frame(1, 1, _QUEUE)[:-1] + b"\xcd"),
    ("type 0", "C19", raw_frame(0, 1, b"x")),
    ("type 4", "C19", raw_frame(4, 1, b"x")),
    ("type 255", "C19", raw_frame(255, 1, b"x")),
    ("a heartbeat", "C10", raw_frame(8, 0, b"")),
    ("a heartbeat on a channel", "C10", raw_frame(8, 1, b"")),
    ("a heartbeat with a payload", "C10", raw_frame(8, 0, b"x")),
    ("an empty method frame", "C21", raw_frame(1, 1, b"")),
    ("a method frame of two octets", "C21", raw_frame(1, 1, b"\x00\x3c")),
    ("a method without its arguments", "C21", raw_frame(1, 1, b"\x00\x32\x00\x0a")),
    ("a method with more than its arguments", "C21", raw_frame(1, 1, _QUEUE + b"more")),
    ("an unknown class", "C21", raw_frame(1, 1, b"\x00\x07\x00\x0a")),
    ("an unknown method", "C21", raw_frame(1, 1, b"\x00\x3c\x00\xc8")),
    ("a method of the server", "C21", raw_frame(1, 1, b"\x00\x14\x00\x0b\x00\x00\x00\x00")),
    ("a method of the connection on a channel", "C21", command(1, ConnectionOpen("/"))),
    ("a method of channels on channel 0", "G6", command(0, QueueDeclare(queue="q"))),
    ("channel.open on channel 0", "G6", command(0, ChannelOpen())),
    ("an empty body frame", "C20", raw_frame(3, 1, b"")),
    ("a body that no publish announced", "C20", raw_frame(3, 1, b"x")),
    ("a header that no publish announced", "C20", raw_frame(2, 1, encode_header(1, BasicProperties()))),
    ("a body without a header", "C20", raw_frame(1, 1, BasicPublish(0, "", "q").encode()) + raw_frame(3, 1, b"x")),
    ("a method in the place of a header", "C20", raw_frame(1, 1, BasicPublish(0, "", "q").encode()) * 2),
    (
        "a method in the place of a body",
        "C20",
        raw_frame(1, 1, BasicPublish(0, "", "q").encode())
        + raw_frame(2, 1, encode_header(5, BasicProperties()))
        + raw_frame(1, 1, _QUEUE),
    ),
    (
        "a header of another class",
        "C20",
        raw_frame(1, 1, BasicPublish(0, "", "q").encode()) + raw_frame(2, 1, struct.pack(">HHQH", 50, 0, 0, 0)),
    ),
    (
        "a header with a weight",
        "C20",
        raw_frame(1, 1, BasicPublish(0, "", "q").encode()) + raw_frame(2, 1, struct.pack(">HHQH", 60, 1, 0, 0)),
    ),
    (
        "a body longer than announced",
        "C20",
        raw_frame(1, 1, BasicPublish(0, "", "q").encode())
        + raw_frame(2, 1, encode_header(2, BasicProperties()))
        + raw_frame(3, 1, b"xyz"),
    ),
    (
        "properties that end too early",
        "C20",
        raw_frame(1, 1, BasicPublish(0, "", "q").encode()) + raw_frame(2, 1, struct.pack(">HHQH", 60, 0, 0, 0x8000)),
    ),
    (
        "two heartbeats among content",
        "C10",
        raw_frame(1, 1, BasicPublish(0, "", "none").encode())
        + raw_frame(8, 0, b"")
        + raw_frame(2, 1, encode_header(2, BasicProperties()))
        + raw_frame(8, 0, b"")
        + raw_frame(3, 1, b"xy"),
    ),
    ("a table that cannot be read", "C23", raw_frame(1, 1, _QUEUE[:-4] + b"\0\0\0\x05\x01aQ\0\0")),
    ("a table with a number that is cut", "C23", raw_frame(1, 1, _QUEUE[:-4] + b"\0\0\0\x04\x01aI\0")),
):
    BOOK.add(name, [row], _frame(octets))


def _sized(size: int) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.bare()
        talk.raw(PROTOCOL_HEADER)
        talk.send(start_ok(), channel=0)
        talk.send(ConnectionTuneOk(2047, 4096, 0), channel=0)
        talk.send(ConnectionOpen("/"), channel=0)
        talk.open()
        talk.declare("q")
        talk.raw(
            raw_frame(1, 1, BasicPublish(0, "", "q").encode())
            + raw_frame(2, 1, encode_header(size, BasicProperties()))
            + raw_frame(3, 1, b"x" * size)
        )
        talk.declare("q", passive=True)

    return script


for size in (4088, 4096, 4097, 4104, 5000):
    BOOK.add(f"a body frame of {size} octets where 4096 were agreed", ["C17"], _sized(size), is_bare=True)


@session("C17", is_bare=True)
def the_server_keeps_to_the_size_that_was_agreed(talk: Talk) -> None:
    talk.bare()
    talk.raw(PROTOCOL_HEADER)
    talk.send(start_ok(), channel=0)
    talk.send(ConnectionTuneOk(2047, 4096, 0), channel=0)
    talk.send(ConnectionOpen("/"), channel=0)
    talk.open()
    talk.declare("q")
    for _ in range(2):
        talk.raw(
            raw_frame(1, 1, BasicPublish(0, "", "q").encode())
            + raw_frame(2, 1, encode_header(8000, BasicProperties()))
            + raw_frame(3, 1, b"x" * 4000)
            + raw_frame(3, 1, b"y" * 4000)
        )
    talk.get("q")


_TYPES = {
    "text": "x",
    "boolean": True,
    "small": 1,
    "large": 1 << 40,
    "negative": -5,
    "double": 1.5,
    "none": None,
    "array": [1, "a", [2, {"b": 3}]],
    "table": {"a": {"b": {"c": "d"}}},
    "octets": b"\xff\x00",
}


@session("C23", "B5")
def tables_travel_as_they_are(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q", headers=_TYPES)
    talk.get("q")


@session("C23")
def arguments_of_many_types_are_kept(talk: Talk) -> None:
    arguments = FieldTable.of({f"x-my-{name}": value for name, value in _TYPES.items()})
    talk.send(QueueDeclare(queue="q", arguments=arguments))
    talk.send(QueueDeclare(queue="q", arguments=arguments))


# Channels


@session("H1")
def a_second_open_of_a_channel(talk: Talk) -> None:
    talk.open()


for method in (
    QueueDeclare(queue="q"),
    BasicQos(0, 1),
    ConfirmSelect(),
    BasicConsume(queue="q"),
    BasicGet(queue="q"),
    BasicAck(1),
    ChannelCloseOk(),
    ChannelClose(200, "", 0, 0),
    ChannelFlow(True),
):
    BOOK.add(
        f"{method.name} on a channel that is not open",
        ["H8" if isinstance(method, ChannelClose | ChannelCloseOk) else "H1"],
        lambda talk, method=method: talk.send(method, channel=7),
    )


@session("H1")
def a_channel_is_opened_again(talk: Talk) -> None:
    for _ in range(3):
        talk.send(ChannelClose(200, "", 0, 0))
        talk.open()


@session("H2", is_bare=True)
def more_channels_than_were_agreed(talk: Talk) -> None:
    _tuned(talk)
    talk.send(ConnectionTuneOk(2, 131072, 0), channel=0)
    talk.send(ConnectionOpen("/"), channel=0)
    for channel in (1, 2, 3):
        talk.open(channel)


@session("H2", is_bare=True)
def a_channel_above_the_number_that_was_agreed(talk: Talk) -> None:
    _tuned(talk)
    talk.send(ConnectionTuneOk(2, 131072, 0), channel=0)
    talk.send(ConnectionOpen("/"), channel=0)
    talk.open(500)


@session("H3")
def a_closed_channel_gives_its_messages_back(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q", b"a")
    talk.publish("q", b"b")
    talk.consume("q")
    talk.send(ChannelClose(200, "", 0, 0))
    talk.open()
    talk.declare("q", passive=True)
    talk.get("q")
    talk.get("q")


@session("H3")
def a_closed_channel_rolls_back(talk: Talk) -> None:
    talk.declare("q")
    talk.send(TxSelect())
    talk.publish("q")
    talk.send(ChannelClose(200, "", 0, 0))
    talk.open()
    talk.declare("q", passive=True)


@session("H3", "Q6")
def exclusive_queues_outlive_a_channel(talk: Talk) -> None:
    talk.declare("q", exclusive=True)
    talk.send(ChannelClose(200, "", 0, 0))
    talk.open()
    talk.declare("q", exclusive=True)


@session("H4")
def flow_that_goes_on(talk: Talk) -> None:
    talk.send(ChannelFlow(True))


@session("H5")
def flow_that_stops(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q")
    talk.send(ChannelFlow(False))
    talk.publish("q")
    talk.send(ChannelFlow(True))


@session("H7")
def access_request(talk: Talk) -> None:
    talk.send(AccessRequest("/data", False, False, True, True, True))


@session("H1")
def a_lost_connection_gives_its_messages_back(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q", b"a")
    other = talk.connect()
    talk.consume("q", connection=other)
    talk.drop(other)
    talk.get("q")


@session("U7", "U8")
def an_error_on_one_channel_is_no_matter_for_another(talk: Talk) -> None:
    talk.open(2)
    talk.declare("none", passive=True)
    talk.declare("q", channel=2)
    talk.send(QueuePurge(queue="q"), channel=2)
    talk.send(QueueDelete(queue="q"), channel=2)
