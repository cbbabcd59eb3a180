"""Named bad inputs against a broker process (reliability.md table 4.A and tests 4.2, 4.3, 4.22).

Each gets its exact code in its exact scope, the socket closes in time, and a canary on the same broker goes on
publishing and consuming all the while. Raw sockets with deadlines; nothing sleeps.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic
from typing import TypeVar

import psutil
import pytest

from broker.amqp import methods as amqp
from broker.amqp.fields import FieldTable
from broker.amqp.method import Method
from broker.amqp.spec import FRAME_END, PROTOCOL_HEADER
from tests.support.broker_process import BrokerProcess
from tests.support.peer import Peer, command, raw_frame
from tests.support.sessions import handshake, start_ok

HANDSHAKE_TIMEOUT = 1.0
MEBIBYTE = 1 << 20
MAX_MESSAGE_SIZE = 20 * MEBIBYTE
LIMITS = f"""\
  <limits>
    <handshakeTimeout>{HANDSHAKE_TIMEOUT}</handshakeTimeout>
    <maxMessageSize>{MAX_MESSAGE_SIZE}</maxMessageSize>
  </limits>
</broker>"""
FRAME_MAX = 131072
DEADLINE = 10.0

M = TypeVar("M", bound=Method)


class RawClient:
    """A socket, and a strict reader of what comes from it."""

    def __init__(self, broker: BrokerProcess, opening: bytes = b"") -> None:
        self.socket = socket.create_connection((broker.host, broker.port), timeout=DEADLINE)
        self.peer = Peer(self.socket.sendall)
        self._early: list[tuple[int, Method]] = []
        self.send(opening)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *unused: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> bool:
        """Take what comes next; False when the broker has closed the socket."""
        try:
            data = self.socket.recv(262144)
        except ConnectionResetError:
            return False
        self.peer.feed(data)
        self._early += self.peer.received()
        return bool(data)

    def wait_for(self, *kinds: type[M]) -> tuple[int, M]:
        """Return the channel and the next method of one of `kinds`; others before it are dropped."""
        until = monotonic() + DEADLINE
        while monotonic() < until:
            while self._early:
                channel, method = self._early.pop(0)
                if isinstance(method, kinds):
                    return channel, method
            assert self.read(), f"closed while waiting for {kinds}"
        raise AssertionError(f"no {kinds} after {DEADLINE} s")

    def seconds_until_closed(self, limit: float = DEADLINE) -> float:
        """Read until the broker closes the socket, and return how long that took."""
        began = monotonic()
        while (left := began + limit - monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if not self.read():
                    return monotonic() - began
            except TimeoutError:
                break
        raise AssertionError(f"still open after {limit} s")


def running(broker: BrokerProcess, frame_max: int = FRAME_MAX) -> RawClient:
    """Return a client with channel 1 open."""
    client = RawClient(broker, handshake(frame_max))
    client.wait_for(amqp.ChannelOpenOk)
    return client


class Canary:
    """A well-behaved client in a thread of its own: publishes, consumes, acknowledges."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.rounds = 0
        self.slowest = 0.0
        self.error: Exception | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._client = running(broker)
        self._client.send(command(1, amqp.QueueDeclare(queue="canary", exclusive=True)))
        self._client.send(command(1, amqp.BasicConsume(queue="canary")))
        self._client.wait_for(amqp.BasicConsumeOk)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.01):
                began = monotonic()
                self._client.send(command(1, amqp.BasicPublish(routing_key="canary"), body=b"still here"))
                _, delivery = self._client.wait_for(amqp.BasicDeliver)
                self._client.send(command(1, amqp.BasicAck(delivery.delivery_tag)))
                with self._changed:
                    self.slowest = max(self.slowest, monotonic() - began)
                    self.rounds += 1
                    self._changed.notify_all()
        except Exception as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def wait_for_rounds(self, number: int) -> None:
        """Return when `number` more messages have made the round."""
        with self._changed:
            goal = self.rounds + number
            assert self._changed.wait_for(lambda: self.error or self.rounds >= goal, DEADLINE), "the canary is stuck"
        assert self.error is None, f"the canary died: {self.error!r}"

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(DEADLINE)
        self._client.socket.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    directory = tmp_path_factory.mktemp("bad-input")
    broker = BrokerProcess(directory)
    xml = directory / "conf" / "broker.xml"
    xml.write_text(xml.read_text().replace("</broker>", LIMITS))
    broker.start()
    yield broker
    log = broker.log
    broker.stop()
    assert "Traceback" not in log
    assert "internal error" not in log


@pytest.fixture(scope="module")
def canary(broker: BrokerProcess) -> Iterator[Canary]:
    canary = Canary(broker)
    yield canary
    canary.stop()


@pytest.fixture(autouse=True)
def canary_goes_on(canary: Canary) -> Iterator[None]:
    """Before, during and after each test the canary gets its messages."""
    yield
    canary.wait_for_rounds(2)
    assert canary.slowest < 5.0


def resident(broker: BrokerProcess) -> int:
    size: int = psutil.Process(broker.pid).memory_info().rss
    return size


# What is sent on a running connection


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
    "a frame above frame_max": (501, raw_frame(1, 1, b"\0" * (FRAME_MAX - 7))),
    "a frame of 4 GiB": (501, struct.pack(">BHI", 3, 1, 0xFFFFFFFF)),
    "a content header above frame_max": (501, PUBLISH + header(0, properties=b"\x20\0" + b"\0" * FRAME_MAX)),
    "a body above frame_max": (501, PUBLISH + header(1 << 20) + raw_frame(3, 1, b"\0" * (FRAME_MAX - 7))),
    "a weight": (501, PUBLISH + header(0, weight=1)),
    "a body longer than announced": (501, PUBLISH + header(1) + BODY),
    "a body longer than announced in two frames": (501, PUBLISH + header(3) + BODY + BODY),
    "a body size above 512 MiB": (501, PUBLISH + header((512 << 20) + 1)),
    "a body size of 2^63": (501, PUBLISH + header(1 << 63)),
    "empty body frames for ever": (501, PUBLISH + header(1) + raw_frame(3, 1, b"") * 1001),
    "a chain of property flags": (501, PUBLISH + header(0, properties=b"\0\1" * 5 + b"\0\0")),
    "the reserved property flag": (501, PUBLISH + header(0, properties=b"\0\2")),
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
    "a key that is not UTF-8": (502, declaring(b"\x01\xfft\1")),
    "a decimal of scale 29": (502, declaring(b"\x01aD\x1d\0\0\0\1")),
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
    "a channel above channel_max": (530, command(2048, amqp.ChannelOpen())),
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

        channel, close = client.wait_for(amqp.ConnectionClose, amqp.ChannelClose)

        assert (channel, close.reply_code, close.name) == (0, code, "connection.close")
        try:
            client.send(command(0, amqp.ConnectionCloseOk()))
        except OSError:
            return  # after a broken frame nothing is read any more
        assert client.seconds_until_closed() < 3.0


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

        channel, close = client.wait_for(amqp.ConnectionClose, amqp.ChannelClose)

        assert (channel, close.reply_code, close.name) == (1, code, "channel.close")
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


# The handshake

HEADERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "AMQP 1.0": b"AMQP\x00\x01\x00\x00",
    "AMQP 1.0 with SASL": b"AMQP\x03\x01\x00\x00",
    "AMQP 0-10": b"AMQP\x01\x01\x00\x0a",
    "AMQP 0-8": b"AMQP\x01\x01\x08\x00",
    "zeros": b"\0" * 64,
}


@pytest.mark.parametrize("name", HEADERS)
def test_another_protocol_is_told_ours_and_closed(broker: BrokerProcess, name: str) -> None:
    with RawClient(broker, HEADERS[name]) as client:
        assert client.seconds_until_closed() < 1.0
        assert client.peer.protocol_header == PROTOCOL_HEADER


TUNED = PROTOCOL_HEADER + command(0, start_ok())
HANDSHAKES = {
    "1 GiB announced before login": (501, PROTOCOL_HEADER + struct.pack(">BHI", 1, 0, 1 << 30)),
    "8 193 octets before login": (501, PROTOCOL_HEADER + raw_frame(1, 0, b"\0" * 8185)),
    "8 193 octets before tune-ok": (501, TUNED + raw_frame(1, 0, b"\0" * 8185)),
    "frame_max below the minimum": (530, TUNED + command(0, amqp.ConnectionTuneOk(0, 4095, 0))),
    "frame_max above ours": (530, TUNED + command(0, amqp.ConnectionTuneOk(0, FRAME_MAX + 1, 0))),
    "channel_max above ours": (530, TUNED + command(0, amqp.ConnectionTuneOk(2048, 0, 0))),
    "an unknown vhost": (530, TUNED + command(0, amqp.ConnectionTuneOk()) + command(0, amqp.ConnectionOpen("nowhere"))),
    "an unknown mechanism": (503, PROTOCOL_HEADER + command(0, start_ok(mechanism="NONE"))),
    "a response that is not PLAIN": (502, PROTOCOL_HEADER + command(0, amqp.ConnectionStartOk(response=b"guest"))),
    "a response that is no table": (502, PROTOCOL_HEADER + command(0, start_ok(mechanism="AMQPLAIN"))),
    "a wrong password": (403, PROTOCOL_HEADER + command(0, start_ok(password="wrong"))),
    "an unknown user": (403, PROTOCOL_HEADER + command(0, start_ok(user="nobody"))),
    "an empty user": (403, PROTOCOL_HEADER + command(0, start_ok(user="", password=""))),
    "open before login": (504, PROTOCOL_HEADER + command(0, amqp.ConnectionOpen())),
    "tune-ok before login": (504, PROTOCOL_HEADER + command(0, amqp.ConnectionTuneOk())),
    "a channel before login": (504, PROTOCOL_HEADER + command(1, amqp.ChannelOpen())),
    "a channel before open": (504, TUNED + command(0, amqp.ConnectionTuneOk()) + command(1, amqp.ChannelOpen())),
    "secure-ok without a challenge": (503, PROTOCOL_HEADER + command(0, amqp.ConnectionSecureOk())),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_an_error_in_the_handshake_closes_the_connection(broker: BrokerProcess, name: str) -> None:
    code, data = HANDSHAKES[name]
    with RawClient(broker, data) as client:
        assert client.wait_for(amqp.ConnectionClose)[1].reply_code == code
        assert client.seconds_until_closed() < 4.0


def test_a_client_that_knows_no_refusals_is_just_closed(broker: BrokerProcess) -> None:
    login = amqp.ConnectionStartOk(response=b"\0guest\0wrong")
    with RawClient(broker, PROTOCOL_HEADER + command(0, login)) as client:
        assert client.seconds_until_closed() < 1.0


def test_two_hundred_failed_logins_in_a_row_change_nothing(broker: BrokerProcess) -> None:
    for number in range(200):
        with RawClient(broker, PROTOCOL_HEADER + command(0, start_ok(password=str(number)))) as client:
            assert client.wait_for(amqp.ConnectionClose)[1].reply_code == 403

    with running(broker):
        pass


UNFINISHED = {
    "nothing": b"",
    "half a protocol header": PROTOCOL_HEADER[:5],
    "a protocol header": PROTOCOL_HEADER,
    "half a frame": PROTOCOL_HEADER + b"\1\0\0\0\0\1",
    "a login": TUNED,
    "all but open": TUNED + command(0, amqp.ConnectionTuneOk()),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_a_handshake_that_is_not_finished_is_dropped_in_time(broker: BrokerProcess, name: str) -> None:
    with RawClient(broker, UNFINISHED[name]) as client:
        assert HANDSHAKE_TIMEOUT * 0.8 < client.seconds_until_closed() < HANDSHAKE_TIMEOUT + 2.0


def test_octets_that_drip_in_do_not_stretch_the_handshake(broker: BrokerProcess) -> None:
    with RawClient(broker) as client:
        began = monotonic()
        for octet in handshake():
            try:
                client.send(bytes((octet,)))
            except OSError:
                break
            readable, _, _ = select.select([client.socket], [], [], 0.05)
            if readable and not client.read():
                break

        assert monotonic() - began < HANDSHAKE_TIMEOUT + 2.0


def test_two_hundred_idle_sockets_keep_nobody_out(broker: BrokerProcess) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(RawClient(broker)) for _ in range(200)]

        with running(broker):
            for client in idle:
                client.seconds_until_closed(HANDSHAKE_TIMEOUT + 4.0)


def test_connecting_and_closing_is_no_event(broker: BrokerProcess) -> None:
    before = broker.log.count("warning")
    for _ in range(100):
        with RawClient(broker):
            pass

    with running(broker):
        assert broker.log.count("warning") == before


def test_a_handshake_and_a_publish_in_one_segment_are_served(broker: BrokerProcess) -> None:
    with RawClient(broker, handshake() + GET_ONE) as client:
        client.wait_for(amqp.BasicGetOk)

        assert client.peer.received_content()[0].body == b"a"


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
