"""Bad handshakes: other protocols, refusals, limits before login, and peers that never finish (invariant I81, I86).

Meanwhile a canary on the same broker goes on publishing and consuming.
"""

from __future__ import annotations

import select
import struct
from contextlib import ExitStack
from time import monotonic

import pytest

from benchmarks.nodes.process import BrokerProcess
from broker.codec import methods as amqp
from broker.codec.constants import PROTOCOL_HEADER
from tests.integration.bad_input_fixtures import (
    FRAME_MAX,
    HANDSHAKE_TIMEOUT,
    RawClient,
    broker,
    canary,
    canary_goes_on,
    running,
)
from tests.support.peer import command, raw_frame
from tests.support.sessions import handshake, start_ok

__all__ = ["broker", "canary", "canary_goes_on"]

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
    "8 201 octets before login": (501, PROTOCOL_HEADER + raw_frame(1, 0, b"\0" * 8193)),
    "8 201 octets before tune-ok": (501, TUNED + raw_frame(1, 0, b"\0" * 8193)),
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
        assert client.agree() < 2.5


def test_a_client_that_never_answers_a_close_is_closed_all_the_same(broker: BrokerProcess) -> None:
    with RawClient(broker, PROTOCOL_HEADER + command(0, start_ok(password="wrong"))) as client:
        client.wait_for(amqp.ConnectionClose)

        assert client.seconds_until_closed() < 5.0


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
    opening = handshake() + command(1, amqp.QueueDeclare(queue="at once", exclusive=True))
    publish = command(1, amqp.BasicPublish(routing_key="at once"), body=b"a")
    with RawClient(broker, opening + publish + command(1, amqp.BasicGet(queue="at once"))) as client:
        client.wait_for(amqp.BasicGetOk)

        assert client.peer.received_content()[0].body == b"a"
