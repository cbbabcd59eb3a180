"""A blocking AMQP client with one connection and one channel, for what a measurement sets up before it starts."""

import socket
import struct
from collections.abc import Mapping

from benchmarks.address import Address
from benchmarks.deliveries import CHANNEL_CLOSE, CONNECTION_CLOSE, PeerFault, describe_close
from benchmarks.frames import (
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_START,
    PROTOCOL_HEADER,
    Argument,
    method,
    short_string,
    table,
)

FRAME_MAX = 131_072
# A broker that throttles a publisher answers its close late. If the socket closed earlier, what the broker has not read
# would be lost.
CLOSE_LIMIT = 30.0
CLOSE = method(0, 10, 50, struct.pack(">HBHH", 200, 0, 0, 0))
NOTHING = table({})
CAPABILITIES = short_string("capabilities") + b"F" + table({"consumer_cancel_notify": True})
NOTIFIED = struct.pack(">I", len(CAPABILITIES)) + CAPABILITIES
"""What a client says of itself: nothing, or that it is to be told when a consumer is cancelled."""
NO_ARGUMENTS: Mapping[str, Argument] = {}
PASSIVE, DURABLE, EXCLUSIVE, AUTO_DELETE, NO_WAIT = 1, 2, 4, 8, 16


class Client:
    """A connected socket with channel 1 open; after the set-up, `sock` may be used directly."""

    def __init__(self, address: Address, timeout: float = 60.0, *, tells_cancels: bool = False) -> None:
        """With `tells_cancels` the broker is told that the client understands when a consumer is cancelled."""
        self.sock = socket.create_connection((address.host, address.port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frame_max = FRAME_MAX
        self.product = ""
        self._ahead = bytearray()
        self._handshake(address, NOTIFIED if tells_cancels else NOTHING)
        self.call(method(1, 20, 10, b"\x00"), 20, 11)

    def _handshake(self, address: Address, properties: bytes) -> None:
        self.sock.sendall(PROTOCOL_HEADER)
        self.product = product_in(self.expect(10, 10))
        response = f"\0{address.user}\0{address.password}".encode()
        answer = properties + short_string("PLAIN") + struct.pack(">I", len(response)) + response
        tune = self.call(method(0, 10, 11, answer + short_string("en_US")), 10, 30)
        channels, frame_max, _ = struct.unpack_from(">HIH", tune, 4)
        self.frame_max = min(frame_max or FRAME_MAX, FRAME_MAX)
        self.sock.sendall(method(0, 10, 31, struct.pack(">HIH", channels, self.frame_max, 0)))
        self.call(method(0, 10, 40, short_string(address.vhost) + b"\x00\x00"), 10, 41)

    def call(self, request: bytes, class_id: int, method_id: int) -> bytes:
        """Send a method and return the payload of the answer."""
        self.sock.sendall(request)
        return self.expect(class_id, method_id)

    def expect(self, class_id: int, method_id: int) -> bytes:
        """Read until the method arrives and return its payload. Raises PeerFault for a close."""
        wanted = struct.pack(">HH", class_id, method_id)
        while True:
            head = self._read(FRAME_START.size)
            frame_type, _, size = FRAME_START.unpack(head)
            payload = self._read(size + 1)[:-1]
            if frame_type == FRAME_HEARTBEAT:
                continue
            if payload[:4] == wanted:
                return payload
            if payload[:4] in (CHANNEL_CLOSE, CONNECTION_CLOSE):
                raise PeerFault(describe_close(payload))
            raise PeerFault(f"method {payload[:4].hex()} where {class_id}.{method_id} was expected")

    def skip_to(self, class_id: int, method_id: int) -> bytes:
        """Read until the method arrives, whatever comes before it, and return its payload."""
        wanted = struct.pack(">HH", class_id, method_id)
        while True:
            frame_type, _, size = FRAME_START.unpack(self._read(FRAME_START.size))
            payload = self._read(size + 1)[:-1]
            if frame_type == FRAME_METHOD and payload[:4] == wanted:
                return payload

    def _read(self, size: int) -> bytes:
        ahead = self._ahead
        while len(ahead) < size:
            data = self.sock.recv(65536)
            if not data:
                raise PeerFault("the broker closed the connection")
            ahead += data
        data = bytes(ahead[:size])
        del ahead[:size]
        return data

    def declare_queue(
        self,
        name: str,
        *,
        durable: bool = False,
        passive: bool = False,
        arguments: Mapping[str, Argument] = NO_ARGUMENTS,
    ) -> int:
        """Declare a queue and return how many messages are ready in it."""
        flags = PASSIVE * passive | DURABLE * durable
        payload = self.call(method(1, 50, 10, queue_declare(name, flags, arguments)), 50, 11)
        return int(struct.unpack_from(">I", payload, 5 + payload[4])[0])

    def delete_queue(self, name: str) -> None:
        """Delete a queue and its messages."""
        self.call(method(1, 50, 40, b"\x00\x00" + short_string(name) + b"\x00"), 50, 41)

    def declare_exchange(self, name: str, kind: str) -> None:
        """Declare a transient exchange."""
        arguments = b"\x00\x00" + short_string(name) + short_string(kind) + b"\x00" + bytes(4)
        self.call(method(1, 40, 10, arguments), 40, 11)

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange and its bindings."""
        self.call(method(1, 40, 20, b"\x00\x00" + short_string(name) + b"\x00"), 40, 21)

    def bind(self, exchange: str, bindings: list[tuple[str, str]]) -> None:
        """Bind (queue, key) pairs; all but the last without waiting for an answer."""
        requests = [method(1, 50, 20, queue_bind(queue, exchange, key, 1)) for queue, key in bindings[:-1]]
        queue, key = bindings[-1]
        self.sock.sendall(b"".join(requests))
        self.call(method(1, 50, 20, queue_bind(queue, exchange, key, 0)), 50, 21)

    def consume(
        self, queue: str, *, no_ack: bool, prefetch: int, arguments: Mapping[str, Argument] = NO_ARGUMENTS
    ) -> None:
        """Start one consumer; deliveries may follow at once."""
        if prefetch:
            self.call(method(1, 60, 10, struct.pack(">IHB", 0, prefetch, 0)), 60, 11)
        request = b"\x00\x00" + short_string(queue) + b"\x00" + (b"\x02" if no_ack else b"\x00") + table(arguments)
        self.call(method(1, 60, 20, request), 60, 21)

    def select_confirms(self) -> None:
        """Make the channel confirm publishes."""
        self.call(method(1, 85, 10, b"\x00"), 85, 11)

    def take_delivery(self) -> tuple[int, bytes]:
        """Wait for the next delivery; return its tag and its body. Raises PeerFault for a close."""
        deliver = self.expect(60, 60)
        tag = int(struct.unpack_from(">Q", deliver, 5 + deliver[4])[0])
        left = int(struct.unpack_from(">Q", self._next_frame(), 4)[0])
        body = bytearray()
        while len(body) < left:
            body += self._next_frame()
        return tag, bytes(body)

    def _next_frame(self) -> bytes:
        _, _, size = FRAME_START.unpack(self._read(FRAME_START.size))
        return self._read(size + 1)[:-1]

    def take_ahead(self) -> bytes:
        """Return what was read beyond the last answer; afterwards the caller reads from `sock` itself."""
        data = bytes(self._ahead)
        self._ahead.clear()
        return data

    def close(self) -> None:
        """Close with the AMQP handshake, so that the broker logs no lost connection."""
        self.sock.settimeout(CLOSE_LIMIT)
        try:
            self.call(CLOSE, 10, 51)
        except (OSError, PeerFault):
            pass
        finally:
            self.sock.close()


def queue_declare(name: str, flags: int, arguments: Mapping[str, Argument] = NO_ARGUMENTS) -> bytes:
    """Encode the arguments of `queue.declare`."""
    return b"\x00\x00" + short_string(name) + bytes((flags,)) + table(arguments)


def queue_bind(queue: str, exchange: str, key: str, no_wait: int) -> bytes:
    """Encode the arguments of `queue.bind`."""
    return b"\x00\x00" + short_string(queue) + short_string(exchange) + short_string(key) + bytes((no_wait,)) + bytes(4)


def product_in(start: bytes) -> str:
    """Return product and version from the server properties of `connection.start`."""
    found = []
    for name in (b"product", b"version"):
        at = start.find(bytes((len(name),)) + name + b"S")
        if at >= 0:
            at += len(name) + 2
            size = int.from_bytes(start[at : at + 4], "big")
            found.append(start[at + 4 : at + 4 + size].decode(errors="replace"))
    return " ".join(found)
