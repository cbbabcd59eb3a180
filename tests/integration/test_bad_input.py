"""Named bad inputs on a running connection (contract C10, C17 to C23; invariant I82, I83, I85).

Each gets its exact code in its exact scope, the socket closes in time, and a canary on the same broker goes on
publishing and consuming all the while.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic

import pytest

from benchmarks.nodes.process import BrokerProcess
from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.errors import ReplyCode
from tests.integration.bad_input_fixtures import (
    DEADLINE,
    FRAME_MAX,
    MAX_MESSAGE_SIZE,
    MEBIBYTE,
    Canary,
    RawClient,
    broker,
    canary,
    canary_goes_on,
    resident,
    running,
)
from tests.support.peer import command, raw_frame
from tests.support.sessions import start_ok

__all__ = ["broker", "canary", "canary_goes_on"]


def header(body_size: int, *, class_id: int = 60, weight: int = 0, properties: bytes = b"\0\0") -> bytes:
    return raw_frame(2, 1, struct.pack(">HHQ", class_id, weight, body_size) + properties)


def declaring(arguments: bytes) -> bytes:
    """Return a queue.declare with these octets as its table."""
    return raw_frame(1, 1, b"\0\x32\0\x0a\0\0\x03bad\0" + struct.pack(">I", len(arguments)) + arguments)


def nested(levels: int) -> bytes:
    table = b""
    for _ in range(levels - 1):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    return table


PUBLISH = command(1, amqp.BasicPublish(routing_key="nowhere"))[: -len(header(0))]
BODY = raw_frame(3, 1, b"ab")
DECLARE = command(1, amqp.QueueDeclare(queue="bad"))
GET_ONE = DECLARE + command(1, amqp.BasicPublish(routing_key="bad"), body=b"a") + command(1, amqp.BasicGet(queue="bad"))
CONSUME = command(1, amqp.BasicConsume(queue="bad", consumer_tag="again"))

HARD = {
    "a wrong frame end": (501, raw_frame(1, 1, b"\0\x14\0\x28")[:-1] + b"\xcd"),
    "frame type 0": (501, raw_frame(0, 1, b"")),
    "frame type 4": (501, raw_frame(4, 1, b"\0\0\0\0")),
    "frame type 255": (501, raw_frame(255, 0, b"\0" * 40)),
    "a frame above frame_max": (501, raw_frame(1, 1, b"\0" * (FRAME_MAX + 1))),
    "a frame of 4 GiB": (501, struct.pack(">BHI", 3, 1, 0xFFFFFFFF)),
    "a content header above frame_max": (501, PUBLISH + header(0, properties=b"\x20\0" + b"\0" * FRAME_MAX)),
    "a body above frame_max": (501, PUBLISH + header(1 << 20) + raw_frame(3, 1, b"\0" * (FRAME_MAX + 1))),
    "a weight": (501, PUBLISH + header(0, weight=1)),
    "a body longer than announced": (501, PUBLISH + header(1) + BODY),
    "a body longer than announced in two frames": (501, PUBLISH + header(3) + BODY + BODY),
    "a body size above 512 MiB": (501, PUBLISH + header((512 << 20) + 1)),
    "a body size of 2^63": (501, PUBLISH + header(1 << 63)),
    "empty body frames for ever": (501, PUBLISH + header(1) + raw_frame(3, 1, b"") * 1001),
    "a chain of property flags": (501, PUBLISH + header(0, properties=b"\0\1" * 5 + b"\0\0")),
    "a heartbeat with a payload": (501, raw_frame(8, 0, b"x")),
    "a heartbeat on a channel": (505, raw_frame(8, 1, b"")),  # contract C10
    "a content header that is cut short": (501, PUBLISH + raw_frame(2, 1, b"\0\x3c\0\0\0")),
    "properties that are cut short": (502, PUBLISH + header(0, properties=b"\x80\0\x05a")),
    "properties with octets left over": (502, PUBLISH + header(0, properties=b"\0\0left over")),
    "a table 33 levels deep": (502, declaring(nested(33))),
    "a table 500 levels deep": (502, declaring(nested(500))),
    "a table longer than its frame": (502, raw_frame(1, 1, b"\0\x32\0\x0a\0\0\x03bad\0\0\0\0\x09")),
    "a string longer than its table": (502, declaring(b"\x01aS\0\0\0\x09a")),
    "an unknown type tag": (502, declaring(b"\x01aZ\0")),
    "1 025 entries": (502, declaring(b"\x01at\1" * 1025)),
    "a name that is not UTF-8": (502, raw_frame(1, 1, b"\0\x32\0\x0a\0\0\x01\xff\0\0\0\0\0")),
    "a lone surrogate": (502, raw_frame(1, 1, b"\0\x32\0\x0a\0\0\x03\xed\xa0\x80\0\0\0\0\0")),
    "a short string past the end": (502, raw_frame(1, 1, b"\0\x32\0\x0a\0\0\xffbad")),
    "octets after the arguments": (502, raw_frame(1, 1, b"\0\x14\0\x28" + b"\0")),
    "a method without ids": (502, raw_frame(1, 1, b"\0\x14")),
    "a queue method on channel 0": (503, command(0, amqp.QueueDeclare())),
    "a connection method on channel 1": (503, command(1, amqp.ConnectionOpen())),
    "a method only brokers send": (503, command(1, amqp.QueueDeclareOk())),
    "a method on a channel that is not open": (504, command(2, amqp.QueueDeclare())),
    "closing a channel that is not open": (504, command(2, amqp.ChannelClose())),
    "a channel opened twice": (504, command(1, amqp.ChannelOpen())),
    "a connection opened twice": (504, command(0, amqp.ConnectionOpen())),
    "start-ok on a running connection": (504, command(0, start_ok())),
    "a channel above channel_max": (
        530,
        b"".join(command(number, amqp.ChannelOpen()) for number in range(60000, 62048)),
    ),
    "a consumer tag used again": (530, DECLARE + CONSUME + CONSUME),
    "a content header without a method": (505, header(0)),
    "a body without a header": (505, BODY),
    "a body where the header should be": (505, PUBLISH + BODY),
    "a method where the header should be": (505, PUBLISH + DECLARE),
    "a method amid the body": (505, PUBLISH + header(4) + BODY + DECLARE),
    "content on channel 0": (505, raw_frame(3, 0, b"ab")),
    "a content header of another class": (505, PUBLISH + header(0, class_id=50)),
    "an unknown class": (540, raw_frame(1, 1, b"\0\x63\0\x0a")),
    "an unknown method": (540, raw_frame(1, 1, b"\0\x3c\0\x63")),
    "an unknown method on channel 0": (540, raw_frame(1, 0, b"\0\x0a\0\x63")),
    "immediate": (540, command(1, amqp.BasicPublish(immediate=True))),
    "a prefetch size": (540, command(1, amqp.BasicQos(prefetch_size=1))),
}


@pytest.mark.parametrize("name", HARD)
def test_a_hard_error_closes_the_connection(broker: BrokerProcess, name: str) -> None:
    code, data = HARD[name]
    with running(broker) as client:
        client.send(data)

        channel, close = client.wait_for_close()

        assert (channel, close.reply_code, close.name) == (0, code, "connection.close")
        assert close.reply_text.startswith(f"{ReplyCode(code).name} - ")
        assert client.agree() < 2.5


SOFT = {
    "delivery tag 0": (406, GET_ONE + command(1, amqp.BasicAck(0))),
    "an unknown delivery tag": (406, GET_ONE + command(1, amqp.BasicAck(2))),
    "a delivery tag used again": (406, GET_ONE + command(1, amqp.BasicAck(1)) * 2),
    "rejecting what is settled": (406, GET_ONE + command(1, amqp.BasicAck(1)) + command(1, amqp.BasicReject(1))),
    "a body above the maximum": (406, PUBLISH + header(MAX_MESSAGE_SIZE + 1)),
    "committing without a transaction": (406, command(1, amqp.TxCommit())),
    "rolling back without a transaction": (406, command(1, amqp.TxRollback())),
    "confirms in a transaction": (406, command(1, amqp.TxSelect()) + command(1, amqp.ConfirmSelect())),
    "a transaction with confirms": (406, command(1, amqp.ConfirmSelect()) + command(1, amqp.TxSelect())),
    "an error of a method without reply": (404, command(1, amqp.QueuePurge(queue="missing", no_wait=True))),
    "an exchange that is missing": (404, command(1, amqp.BasicPublish(exchange="missing"))),
    "a reserved queue name": (403, command(1, amqp.QueueDeclare(queue="amq.mine"))),
    "a reserved exchange name": (403, command(1, amqp.ExchangeDeclare(exchange="amq.mine"))),
    "an unknown exchange type": (406, command(1, amqp.ExchangeDeclare(exchange="odd", type="odd"))),
    "a forged user id": (406, PUBLISH + header(0, properties=b"\0\x10\x04root")),
}


@pytest.mark.parametrize("name", SOFT)
def test_a_soft_error_closes_the_channel_alone(broker: BrokerProcess, name: str) -> None:
    code, data = SOFT[name]
    with running(broker) as client:
        client.send(data)

        channel, close = client.wait_for_close()

        assert (channel, close.reply_code, close.name) == (1, code, "channel.close")
        assert close.reply_text.startswith(f"{ReplyCode(code).name} - ")
        client.send(command(1, amqp.ChannelCloseOk()) + command(1, amqp.ChannelOpen()))
        assert client.wait_for(amqp.ChannelOpenOk)[0] == 1


def test_acknowledging_on_another_channel_closes_that_channel(broker: BrokerProcess) -> None:
    with running(broker) as client:
        client.send(GET_ONE + command(2, amqp.ChannelOpen()))
        client.wait_for(amqp.BasicGetOk)
        client.send(command(2, amqp.BasicAck(1)))

        channel, close = client.wait_for(amqp.ChannelClose)

        assert (channel, close.reply_code) == (2, 406)


def test_content_on_the_wrong_channel_closes_the_connection(broker: BrokerProcess) -> None:
    with running(broker) as client:
        client.send(command(2, amqp.ChannelOpen()) + PUBLISH + raw_frame(2, 2, header(0)[7:-1]))

        assert client.wait_for(amqp.ConnectionClose)[1].reply_code == 505


def test_a_channel_is_not_opened_again_before_its_close_ok(broker: BrokerProcess) -> None:
    with running(broker) as client:
        client.send(command(1, amqp.TxCommit()))
        client.wait_for(amqp.ChannelClose)

        client.send(command(1, amqp.ChannelOpen()) + DECLARE + command(2, amqp.ChannelOpen()))

        assert client.wait_for(amqp.ChannelOpenOk)[0] == 2


NAMES = (
    "x" * 255,
    "a\0b",
    "../../etc",
    "'; DROP TABLE MB_QUEUE; --",
    '"',
    "%s%n{}",
    "\x1b[31m",
    "🦜🏔",
    "ä" * 127,
    " ",
    "$1",
    "\\",
)


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_names(broker: BrokerProcess, name: str) -> None:
    with running(broker) as client:
        client.send(command(1, amqp.QueueDeclare(queue=name, durable=True)))
        client.send(command(1, amqp.BasicPublish(routing_key=name), body=b"a"))
        client.send(command(1, amqp.QueueDeclare(queue=name, passive=True)))
        client.send(command(1, amqp.QueueDelete(queue=name)))

        assert client.wait_for(amqp.QueueDeclareOk)[1] == amqp.QueueDeclareOk(name)
        assert client.wait_for(amqp.QueueDeclareOk)[1] == amqp.QueueDeclareOk(name, 1)
        assert client.wait_for(amqp.QueueDeleteOk)[1] == amqp.QueueDeleteOk(1)


def test_of_a_key_given_twice_the_last_counts(broker: BrokerProcess) -> None:
    again = FieldTable(b"\x09x-expires" + b"S\0\0\0\x03abc" + b"\x09x-expires" + b"I\0\0\x27\x10")
    with running(broker) as client:
        client.send(command(1, amqp.QueueDeclare(queue="twice", exclusive=True, arguments=again)))

        assert client.wait_for(amqp.QueueDeclareOk)[1].queue == "twice"


def test_sixty_five_thousand_channels_in_a_row_leave_nothing(broker: BrokerProcess) -> None:
    with running(broker) as client:
        once = command(2, amqp.ChannelOpen()) + command(2, amqp.ChannelClose(200, ""))
        before = resident(broker)
        for _ in range(65):
            client.send(once * 1000)
            for _ in range(1000):
                client.wait_for(amqp.ChannelCloseOk)

        assert resident(broker) < before + 16 * MEBIBYTE


# Bodies


def half_an_upload(client: RawClient) -> None:
    client.send(PUBLISH + header(16 * MEBIBYTE))
    body = raw_frame(3, 1, b"\0" * (FRAME_MAX - 8))
    for _ in range(8 * MEBIBYTE // FRAME_MAX):
        client.send(body)


def wait_until(canary: Canary, is_so: Callable[[], bool]) -> bool:
    """Let the canary fly until `is_so`; False when that takes too long."""
    until = monotonic() + DEADLINE
    while not is_so() and monotonic() < until:
        canary.wait_for_rounds(2)
    return is_so()


def test_uploads_broken_off_half_way_give_their_memory_back(broker: BrokerProcess, canary: Canary) -> None:
    with running(broker) as client:
        half_an_upload(client)
    before = resident(broker)
    with ExitStack() as stack:
        clients = [stack.enter_context(running(broker)) for _ in range(10)]
        threads = [threading.Thread(target=half_an_upload, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert resident(broker) < before + 10 * 8 * MEBIBYTE + 64 * MEBIBYTE

    assert wait_until(canary, lambda: resident(broker) < before * 1.2 + 16 * MEBIBYTE)


def test_the_body_of_a_refused_message_is_not_kept(broker: BrokerProcess) -> None:
    with running(broker) as client:
        before = resident(broker)
        client.send(PUBLISH + header(MAX_MESSAGE_SIZE + 1))
        assert client.wait_for(amqp.ChannelClose)[1].reply_code == 406

        for _ in range(MAX_MESSAGE_SIZE // FRAME_MAX):
            client.send(raw_frame(3, 1, b"\0" * (FRAME_MAX - 8)))
        client.send(command(1, amqp.ChannelCloseOk()) + command(1, amqp.ChannelOpen()))

        client.wait_for(amqp.ChannelOpenOk)
        assert resident(broker) < before + 10 * MEBIBYTE


def test_the_largest_message_allowed_is_taken(broker: BrokerProcess) -> None:
    with running(broker, FRAME_MAX) as client:
        client.send(command(1, amqp.QueueDeclare(queue="large", exclusive=True)))
        client.send(command(1, amqp.BasicPublish(routing_key="large"), body=b"a" * MAX_MESSAGE_SIZE))
        client.send(command(1, amqp.BasicGet(queue="large", no_ack=True)))

        client.wait_for(amqp.BasicGetOk)
        while not (contents := client.peer.received_content()):
            assert client.read()
        assert len(contents[0].body) == MAX_MESSAGE_SIZE
