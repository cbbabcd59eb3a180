"""From the first octet to connection.open-ok: contract C1 to C12, C24, U1 to U3."""

from __future__ import annotations

import pytest

from broker.broker import Limits
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicPublish,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionSecureOk,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTune,
    ConnectionTuneOk,
    QueueDeclare,
    QueueDeclareOk,
)
from tests.support.harness import GUEST, Client, Harness, start_ok
from tests.support.peer import command, raw_frame

REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."
SERVED = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)
CAPABLE = ("authentication_failure_close",)


def started(harness: Harness, *, is_loopback: bool = True, certificate_user: str = "") -> Client:
    client = harness.connect(is_loopback=is_loopback, certificate_user=certificate_user)
    client.send_raw(PROTOCOL_HEADER)
    client.received()
    return client


def tuned(harness: Harness) -> Client:
    client = started(harness)
    client.send(0, start_ok(CAPABLE))
    client.received()
    return client


def opening(harness: Harness) -> Client:
    client = tuned(harness)
    client.send(0, ConnectionTuneOk())
    return client


def test_the_protocol_header_is_answered_with_connection_start(harness: Harness) -> None:
    client = harness.connect()
    client.send_raw(PROTOCOL_HEADER)
    ((channel, start),) = client.received()
    assert isinstance(start, ConnectionStart)
    assert (channel, start.version_major, start.version_minor) == (0, 0, 9)
    assert (start.mechanisms, start.locales) == (b"PLAIN AMQPLAIN", b"en_US")


def test_connection_start_names_product_version_and_the_capabilities_that_are_served(harness: Harness) -> None:
    client = harness.connect()
    client.send_raw(PROTOCOL_HEADER)
    ((_, start),) = client.received()
    assert isinstance(start, ConnectionStart)
    properties = start.server_properties.values
    assert properties["capabilities"] == dict.fromkeys(SERVED, True)
    assert {name: properties[name] for name in ("product", "version", "platform", "cluster_name")} == {
        "product": "Cordillera",
        "version": "0.1.0",
        "platform": "Python 3.11",
        "cluster_name": "NODE:1",
    }
    assert {start.server_properties.types[name] for name in properties if name != "capabilities"} == {"longstr"}
    assert len(start.encode()) < 4096 - 8


def test_the_header_of_0_9_is_answered_as_well(harness: Harness) -> None:
    client = harness.connect()
    client.send_raw(b"AMQP\x01\x01\x00\x09")
    assert isinstance(client.received()[0][1], ConnectionStart)


def test_the_header_may_come_octet_by_octet(harness: Harness) -> None:
    client = harness.connect()
    for octet in PROTOCOL_HEADER:
        client.send_raw(bytes([octet]))
    assert isinstance(client.received()[0][1], ConnectionStart)


@pytest.mark.parametrize(
    "header", [b"GET / HTTP/1.1\r\n", b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00", b"\x16\x03\x01", b"amqp", b"X"]
)
def test_another_header_is_answered_with_ours_and_the_end(harness: Harness, header: bytes) -> None:
    client = harness.connect()
    client.send_raw(header)
    assert client.protocol_header == PROTOCOL_HEADER
    assert client.received() == []
    assert client.is_closed


def test_no_complete_handshake_in_time_closes_the_socket(harness: Harness) -> None:
    client = started(harness)
    harness.clock.advance(9.9)
    assert not client.tick()
    client.send(0, start_ok())
    harness.clock.advance(0.2)
    assert client.tick()


def test_an_open_connection_has_no_deadline(harness: Harness) -> None:
    peer = harness.peer()
    harness.clock.advance(3600.0)
    assert not peer.tick()


def test_a_whole_handshake_may_be_sent_without_waiting(harness: Harness) -> None:
    client = harness.connect()
    client.send_raw(
        PROTOCOL_HEADER
        + command(0, start_ok())
        + command(0, ConnectionTuneOk())
        + command(0, ConnectionOpen())
        + command(1, ChannelOpen())
        + command(1, QueueDeclare(queue="q"))
        + command(1, BasicPublish(routing_key="q"), body=b"m")
        + command(1, QueueDeclare(queue="q", passive=True))
    )
    assert [method for _, method in client.received()][2:] == [
        ConnectionOpenOk(),
        ChannelOpenOk(),
        QueueDeclareOk("q", 0, 0),
        QueueDeclareOk("q", 1, 0),
    ]


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", GUEST),
        ("PLAIN", b"anyone\0guest\0guest"),
        ("PLAIN", b"\0admin\0secret"),
        ("AMQPLAIN", FieldTable.of({"LOGIN": "guest", "PASSWORD": "guest"}).raw),
    ],
)
def test_the_right_password_is_answered_with_tune(harness: Harness, mechanism: str, response: bytes) -> None:
    client = started(harness)
    client.send(0, start_ok((), mechanism, response))
    assert client.received() == [(0, ConnectionTune(2047, 131072, 60))]


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\0guest\0wrong"),
        ("PLAIN", b"\0nobody\0guest"),
        ("PLAIN", b"\0\0"),
        ("AMQPLAIN", FieldTable.of({"LOGIN": "guest", "PASSWORD": "wrong"}).raw),
    ],
)
def test_a_failed_login_is_told_to_clients_that_understand_it(
    harness: Harness, mechanism: str, response: bytes
) -> None:
    client = started(harness)
    client.send(0, start_ok(CAPABLE, mechanism, response))
    assert client.received() == [(0, ConnectionClose(403, REFUSED.format(mechanism), 10, 11))]
    client.send(0, ConnectionCloseOk())
    assert client.is_closed


def test_a_failed_login_ends_without_a_word_for_other_clients(harness: Harness) -> None:
    client = started(harness)
    client.send(0, start_ok((), response=b"\0guest\0wrong"))
    assert client.received() == []
    assert client.is_closed


def test_guest_is_refused_from_another_machine(harness: Harness) -> None:
    client = started(harness, is_loopback=False)
    client.send(0, start_ok(CAPABLE))
    assert client.received() == [(0, ConnectionClose(403, REFUSED.format("PLAIN"), 10, 11))]


def test_others_may_come_from_another_machine(harness: Harness) -> None:
    client = started(harness, is_loopback=False)
    client.send(0, start_ok((), response=b"\0admin\0secret"))
    assert client.received() == [(0, ConnectionTune(2047, 131072, 60))]


def test_external_is_offered_to_a_client_whose_certificate_names_a_user(harness: Harness) -> None:
    client = harness.connect(certificate_user="admin")
    client.send_raw(PROTOCOL_HEADER)
    ((_, start),) = client.received()
    assert isinstance(start, ConnectionStart)
    assert start.mechanisms == b"PLAIN AMQPLAIN EXTERNAL"


@pytest.mark.parametrize("response", [b"", b"guest", b"\0*\0*", b"\xff"])
def test_external_logs_in_whom_the_certificate_names_whatever_the_client_says(
    harness: Harness, response: bytes
) -> None:
    client = started(harness, is_loopback=False, certificate_user="admin")
    client.send(0, start_ok((), "EXTERNAL", response))
    assert client.received() == [(0, ConnectionTune(2047, 131072, 60))]


@pytest.mark.parametrize(("name", "is_loopback"), [("nobody", True), ("guest", False)])
def test_external_is_for_users_that_there_are_and_who_may_come_from_there(
    harness: Harness, name: str, is_loopback: bool
) -> None:
    client = started(harness, is_loopback=is_loopback, certificate_user=name)
    client.send(0, start_ok(CAPABLE, "EXTERNAL", b""))
    assert client.received() == [(0, ConnectionClose(403, REFUSED.format("EXTERNAL"), 10, 11))]


def test_with_a_certificate_a_password_still_counts(harness: Harness) -> None:
    client = started(harness, certificate_user="admin")
    client.send(0, start_ok(CAPABLE, response=b"\0guest\0wrong"))
    assert client.received() == [(0, ConnectionClose(403, REFUSED.format("PLAIN"), 10, 11))]


@pytest.mark.parametrize(
    ("mechanism", "response", "code", "text"),
    [
        ("CRAM-MD5", b"", 503, "COMMAND_INVALID - unknown authentication mechanism 'CRAM-MD5'"),
        ("EXTERNAL", b"", 503, "COMMAND_INVALID - unknown authentication mechanism 'EXTERNAL'"),
        ("PLAIN", b"guest", 502, "SYNTAX_ERROR - PLAIN response is not authorisation identity, user and password"),
        ("PLAIN", b"\0\xff\0guest", 502, "SYNTAX_ERROR - credentials are not UTF-8"),
        ("AMQPLAIN", b"", 502, "SYNTAX_ERROR - AMQPLAIN response lacks LOGIN or PASSWORD"),
    ],
)
def test_a_response_that_makes_no_sense_closes_the_connection(
    harness: Harness, mechanism: str, response: bytes, code: int, text: str
) -> None:
    client = started(harness)
    client.send(0, start_ok((), mechanism, response))
    assert client.received() == [(0, ConnectionClose(code, text, 10, 11))]


@pytest.mark.parametrize("response", [b"\x05LOGIN", b"\x05LOGINS\0\0\0\xffguest", b"\x01x?", b"\xff"])
def test_a_broken_table_in_amqplain_is_a_syntax_error(harness: Harness, response: bytes) -> None:
    client = started(harness)
    client.send(0, start_ok((), "AMQPLAIN", response))
    ((_, close),) = client.received()
    assert isinstance(close, ConnectionClose)
    assert close.reply_code == 502


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (ConnectionTuneOk(1, 4096, 0), ""),
        (ConnectionTuneOk(2047, 131072, 0), ""),
        (ConnectionTuneOk(0, 0, 0), ""),
        (ConnectionTuneOk(0, 4095, 0), "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"),
        (
            ConnectionTuneOk(0, 131073, 0),
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (ConnectionTuneOk(2048, 0, 0), "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"),
    ],
)
def test_tuning_is_held_to_the_offer(harness: Harness, method: ConnectionTuneOk, text: str) -> None:
    client = tuned(harness)
    client.send(0, method)
    assert client.received() == ([(0, ConnectionClose(530, f"NOT_ALLOWED - {text}", 10, 31))] if text else [])


@pytest.mark.parametrize("name", ["/", "carbon", "/carbon"])
def test_a_virtual_host_is_found_with_and_without_a_slash_before_its_name(harness: Harness, name: str) -> None:
    client = opening(harness)
    client.send(0, ConnectionOpen(name))
    assert client.received() == [(0, ConnectionOpenOk())]


def test_both_names_of_a_virtual_host_lead_to_the_same_one(harness: Harness) -> None:
    one, other = opening(harness), opening(harness)
    one.send(0, ConnectionOpen("carbon"))
    other.send(0, ConnectionOpen("/carbon"))
    one.send(1, ChannelOpen())
    other.send(1, ChannelOpen())
    one.send(1, QueueDeclare(queue="q"))
    assert other.call(1, QueueDeclare(queue="q")) == QueueDeclareOk("q", 0, 0)
    assert "q" not in harness.vhost.queues


@pytest.mark.parametrize("name", ["nowhere", "", "Carbon", "carbon/"])
def test_an_unknown_virtual_host_closes_the_connection(harness: Harness, name: str) -> None:
    client = opening(harness)
    client.send(0, ConnectionOpen(name))
    assert client.received() == [(0, ConnectionClose(530, f"NOT_ALLOWED - vhost {name} not found", 10, 40))]


def test_a_node_has_room_for_so_many_connections() -> None:
    harness = Harness(limits=Limits(max_connections=1))
    first, second = opening(harness), opening(harness)
    first.send(0, ConnectionOpen())
    second.send(0, ConnectionOpen())
    text = "NOT_ALLOWED - connection refused: node connection limit (1) is reached"
    assert second.received() == [(0, ConnectionClose(530, text, 10, 40))]
    first.lose()
    third = opening(harness)
    third.send(0, ConnectionOpen())
    assert third.received() == [(0, ConnectionOpenOk())]


def test_a_node_that_takes_no_clients_says_why_to_those_that_are_there_and_those_that_come() -> None:
    harness = Harness()
    there, waiting = harness.peer(), opening(harness)
    closed = ConnectionClose(320, "CONNECTION_FORCED - too few members", 0, 0)
    harness.broker.refuse_clients("too few members")
    harness.run()
    assert there.received() == [(0, closed)]
    waiting.send(0, ConnectionOpen())
    assert waiting.received() == [(0, ConnectionClose(320, "CONNECTION_FORCED - too few members", 10, 40))]
    harness.broker.take_clients()
    late = opening(harness)
    late.send(0, ConnectionOpen())
    assert late.received() == [(0, ConnectionOpenOk())]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (ConnectionTuneOk(), "connection.tune-ok"),
        (ConnectionOpen(), "connection.open"),
    ],
)
def test_a_method_of_a_later_phase_is_refused(harness: Harness, method: Method, name: str) -> None:
    client = started(harness)
    client.send(0, method)
    assert client.received() == [(0, ConnectionClose(504, f"CHANNEL_ERROR - {name} is not expected now", *method.ids))]


def test_a_login_cannot_be_repeated(harness: Harness) -> None:
    client = tuned(harness)
    client.send(0, start_ok())
    assert client.received() == [
        (0, ConnectionClose(504, "CHANNEL_ERROR - connection.start-ok is not expected now", 10, 11))
    ]


def test_an_answer_to_a_challenge_that_was_not_sent_is_refused(harness: Harness) -> None:
    client = started(harness)
    client.send(0, ConnectionSecureOk(b"x"))
    assert client.received() == [(0, ConnectionClose(503, "COMMAND_INVALID - no challenge was sent", 10, 21))]


def test_channels_do_not_exist_before_the_connection_is_open(harness: Harness) -> None:
    client = opening(harness)
    client.send(1, ChannelOpen())
    assert client.received() == [
        (0, ConnectionClose(504, "CHANNEL_ERROR - channel 1 used before the connection is open", 20, 10))
    ]


def test_a_client_may_close_before_it_has_opened(harness: Harness) -> None:
    client = started(harness)
    client.send(0, ConnectionClose(200, "Goodbye"))
    assert client.received() == [(0, ConnectionCloseOk())]
    assert client.is_closed


@pytest.mark.parametrize("size", [8193, 1 << 30, 0xFFFF_FFFF])
def test_a_frame_of_more_than_8_kib_is_refused_before_tuning(harness: Harness, size: int) -> None:
    client = started(harness)
    client.send_raw(b"\x01\0\0" + size.to_bytes(4, "big") + b"\0")
    assert client.received() == [
        (
            0,
            ConnectionClose(
                501, f"FRAME_ERROR - frame of {size + 8} octets is larger than the negotiated maximum of 8192", 0, 0
            ),
        )
    ]
    assert client.is_closed


def test_a_frame_of_8_kib_is_accepted_before_tuning(harness: Harness) -> None:
    client = started(harness)
    padding = 8184 - len(ConnectionStartOk(FieldTable.of({"x": ""}), "PLAIN", GUEST).encode())
    client.send(0, ConnectionStartOk(FieldTable.of({"x": "y" * padding}), "PLAIN", GUEST))
    assert client.received() == [(0, ConnectionTune(2047, 131072, 60))]


def test_little_is_buffered_of_a_client_that_has_not_logged_in(harness: Harness) -> None:
    client = started(harness)
    frame = raw_frame(1, 0, b"x" * 8184)[:-1]
    for start in range(0, len(frame), 100):
        client.send_raw(frame[start : start + 100])
    assert client.connection.reader.buffered == 8191
    assert client.received() == []


def test_names_of_clients_and_their_capabilities_are_kept(harness: Harness) -> None:
    client = started(harness)
    table = FieldTable.of({"product": "test", "connection_name": "mine", "capabilities": {"basic.nack": True}})
    client.send(0, ConnectionStartOk(table, "PLAIN", GUEST))
    assert client.connection._handshake.client_properties == table
    assert client.connection.has_capability("basic.nack")
    assert not client.connection.has_capability("connection.blocked")


@pytest.mark.parametrize("capabilities", ["all", None, {"authentication_failure_close": "yes"}])
def test_capabilities_that_are_no_table_of_flags_are_none(harness: Harness, capabilities: object) -> None:
    client = started(harness)
    client.send(0, ConnectionStartOk(FieldTable.of({"capabilities": capabilities}), "PLAIN", b"\0guest\0wrong"))
    assert client.received() == []
    assert client.is_closed


def test_a_smaller_offer_is_made_as_configured() -> None:
    client = started(Harness(limits=Limits(channel_max=10, frame_max=8192, heartbeat=5)))
    client.send(0, start_ok())
    assert client.received() == [(0, ConnectionTune(10, 8192, 5))]


def test_the_connection_after_the_last_one_allowed_is_refused() -> None:
    harness = Harness(limits=Limits(max_connections=1))
    first = harness.peer()
    second = started(harness)
    second.send(0, start_ok())
    second.send(0, ConnectionTuneOk(2047, 131072, 0))
    second.received()
    second.send(0, ConnectionOpen("/"))
    text = "NOT_ALLOWED - connection refused: node connection limit (1) is reached"
    assert second.received() == [(0, ConnectionClose(530, text, 10, 40))]
    first.send(0, ConnectionClose(200, "bye"))
    harness.run()
    assert harness.peer().call(1, QueueDeclare(queue="q")) == QueueDeclareOk("q", 0, 0)
