"""A client in the process of the node: a channel without a socket, for a user who has come by another way than AMQP.

What it asks for is done by the handlers of AMQP's methods, with the permissions and limits of AMQP. Errors are raised,
and end nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from broker.amqp.channel import Channel
from broker.amqp.context import ConnectionContext, SharedContext, Waiting
from broker.amqp.continuation import Continuation
from broker.amqp.exclusive_queues import ExclusiveQueues
from broker.amqp.handlers import handle_method
from broker.amqp.output import Output
from broker.amqp.profile import CORDILLERA
from broker.auth.access import Access
from broker.codec import methods as amqp
from broker.codec.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from broker.codec.method import Method, kind_of
from broker.codec.properties import BasicProperties, encode_header
from broker.errors import ConnectionForced, PreconditionFailed
from broker.message import body_tails, tail
from broker.queue.queue import Queue
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

_CHANNEL: Final = 1
_FRAME_HEAD: Final = 7
"""Octets of a frame before its payload: type, channel, size."""


class Bell(Protocol):
    """Wakes one who waits."""

    def set(self) -> None:
        """Wake whoever waits."""
        ...

    def clear(self) -> None:
        """Let the next one wait."""
        ...

    async def wait(self) -> object:
        """Return when it has been set."""
        ...


@dataclass(slots=True)
class SentMethod:
    """A method that the channel has sent, with its content if it has one."""

    method: Method
    header: bytes = b""
    """The payload of the header frame."""
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)


class LocalClient:
    """One user in one virtual host. It is used for one thing, and closed then."""

    def __init__(
        self,
        shared: SharedContext,
        vhost: VirtualHost,
        access: Access,
        bell: Bell,
        now_ms: Callable[[], int],
    ) -> None:
        """`now_ms` is the time that message ids carry, in milliseconds since 1970."""
        self._shared = shared
        self._broker = shared.broker
        self._bell = bell
        self._now_ms = now_ms
        self._reason = ""
        self._output = Output(bell.set, shared.monotonic())
        self._output.frame_max = self._broker.limits.frame_max
        self._continuation = Continuation(bell.set)
        self._waiting: list[Waiting] = []
        self._continuation.wait = lambda channel_id, waiting: self._waiting.append(waiting)
        self._context = ConnectionContext(
            shared,
            CORDILLERA,
            vhost,
            access,
            self._output,
            {},
            ExclusiveQueues(vhost),
            self._continuation,
            lambda name: True,
            _log.bind(connection="HTTP"),
        )
        self._channel = Channel(self._context, _CHANNEL, _nobody)
        self._broker.local_clients.add(self)

    # What the broker asks of those that hold messages

    @property
    def user(self) -> str:
        return self._context.access.identity.user

    @property
    def vhost(self) -> str:
        return self._context.vhost.name

    def held_ids(self, queue: Queue) -> Iterator[int]:
        """Return the ids of all messages of `queue` that it has and has not settled."""
        return self._channel.held_ids(queue)

    def force_close(self, reason: str) -> None:
        """Give back what it holds; what it waits for ends."""
        self._reason = reason
        self._channel.release()
        self._bell.set()

    # What it does

    async def call(self, method: Method) -> Sequence[SentMethod]:
        """Let the channel handle a method; return what it sends. Raises what the client of a channel would be told."""
        self._require_open()
        self._broker.ids.advance(self._now_ms())
        waiting = handle_method(self._channel, FRAME_METHOD, method.encode())
        if waiting is not None:
            await waiting
        self._require_open()
        self._broker.dispatch()
        return self._told()

    async def publish(self, exchange: str, routing_key: str, properties: BasicProperties, body: bytes) -> str:
        """Publish a message; return `routed`, `unroutable` or `rejected` when it is as safe as a confirm says.

        Raises ValueError when a property or a name does not fit its field.
        """
        self._require_open()
        limits, channel = self._broker.limits, self._channel
        if len(body) > limits.max_message_size:
            raise PreconditionFailed(
                f"message size {len(body)} is larger than configured max size {limits.max_message_size}"
            )
        arguments = amqp.BasicPublish(0, exchange, routing_key, True).encode()[4:]
        header = tail(encode_header(len(body), properties))
        channel.select_confirms()
        self._broker.ids.advance(self._now_ms())
        channel.publisher.publish(channel.resolve(arguments), header, *body_tails(body, limits.frame_max))
        while self._waiting:
            await self._waiting.pop()
        while self._continuation.is_waiting:
            await self._shared.next_turn()
            self._continuation.go_on()
        self._broker.dispatch()
        return await self._outcome()

    async def _outcome(self) -> str:
        outcome = "routed"
        while True:
            for told in self._told():
                if isinstance(told.method, amqp.BasicReturn):
                    outcome = "unroutable"
                elif isinstance(told.method, amqp.BasicNack):
                    return "rejected"
                elif isinstance(told.method, amqp.BasicAck):
                    return outcome
            self._bell.clear()
            await self._bell.wait()
            self._require_open()

    def close(self) -> None:
        """Give back what it holds."""
        self._channel.release()
        self._broker.local_clients.discard(self)
        self._output.detach()
        self._continuation.detach()
        self._broker.dispatch()

    def _require_open(self) -> None:
        if self._reason:
            raise ConnectionForced(self._reason)

    def _told(self) -> list[SentMethod]:
        """Return what the channel has sent since the last time."""
        octets = b"".join(self._output.take(self._shared.monotonic())[0])
        told: list[SentMethod] = []
        at = 0
        while at < len(octets):
            size = int.from_bytes(octets[at + 3 : at + _FRAME_HEAD], "big")
            payload = octets[at + _FRAME_HEAD : at + _FRAME_HEAD + size]
            if octets[at] == FRAME_METHOD:
                told.append(SentMethod(kind_of(payload).decode_arguments(payload, 4, len(payload))))
            elif octets[at] == FRAME_HEADER:
                told[-1].header = payload
            elif octets[at] == FRAME_BODY:
                told[-1].pieces.append(payload)
            at += _FRAME_HEAD + size + 1
        return told


def _nobody(channel: Channel) -> None:
    """Nobody closes its channel but itself."""
