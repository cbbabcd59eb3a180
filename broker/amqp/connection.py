"""A connection: its phases, output, heartbeats, and the one place where errors become closes.

Sans-IO: octets come in by `receive` and go out through `output`, time comes with `on_time`. The edge is told of new
output and of nearer deadlines by a callable each, and runs the coroutines it is handed. A connection leads frames to
channel 0, which it serves itself, or to its channels; it does nothing that concerns messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import inf
from typing import Any, Final

import structlog

from broker.amqp.channel import Channel
from broker.amqp.channel_table import ChannelTable
from broker.amqp.context import ConnectionContext, SharedContext
from broker.amqp.exclusive_queues import ExclusiveQueues
from broker.amqp.frame_reader import FrameReader
from broker.amqp.handshake import Handshake
from broker.amqp.output import Output
from broker.codec import methods as amqp
from broker.codec.constants import (
    FRAME_BODY,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    HEARTBEAT_FRAME,
    PROTOCOL_HEADER,
)
from broker.codec.field_table import FieldTable
from broker.codec.method import Method, kind_of
from broker.errors import (
    AmqpError,
    ChannelFault,
    CommandInvalid,
    ConnectionForced,
    Evicted,
    FrameFault,
    InternalError,
    LoginRefused,
    ReplyCode,
    StoreUnavailable,
    UnexpectedFrame,
    clip,
)
from broker.queue.queue import Queue

_log = structlog.get_logger(__name__)

_PRE_TUNE_FRAME_MAX: Final = 8192
_CLOSE_WAIT: Final = 3.0
_LINGER: Final = 10.0
"""Seconds in which a peer must have read the last of the output."""
_LOOK_AGAIN: Final = 0.5
"""Seconds after which something is looked at again that was due and had to be put off."""
_STORE_AWAY: Final = "the store is unavailable, try again later"
_BASIC_PUBLISH: Final = amqp.BasicPublish.index


class Phase(IntEnum):
    """How far a connection is; each phase accepts only its own methods (reliability.md S-9)."""

    HEADER = 0
    START = 1
    TUNE = 2
    OPEN = 3
    RUNNING = 4
    CLOSING = 5
    """A close is being answered, or ours waits for its answer."""
    FINISHED = 6


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the socket."""

    address: str
    is_loopback: bool


class Connection:
    """The protocol of one client."""

    __slots__ = (
        "_channels",
        "_deadline",
        "_exclusive",
        "_handshake",
        "_is_close_waiting",
        "_log",
        "_look_again_at",
        "_on_deadline",
        "_shared",
        "blocked_reason",
        "broker",
        "last_received",
        "output",
        "phase",
        "reader",
    )

    def __init__(
        self,
        shared: SharedContext,
        peer: Peer,
        on_output: Callable[[], None],
        on_deadline: Callable[[], None],
        now: float,
    ) -> None:
        """`on_output` is called once when there is output, until the edge takes it.

        `on_deadline` is called when `next_deadline` may have come nearer.
        """
        self._on_deadline = on_deadline
        self._shared = shared
        self.broker = shared.broker
        self._log = _log.bind(connection=peer.address)
        self.phase = Phase.HEADER
        self.reader = FrameReader(self, _PRE_TUNE_FRAME_MAX)
        self.output = Output(on_output, now)
        self.last_received = now
        self.blocked_reason = ""
        self._channels: ChannelTable | None = None  # from connection.open on
        self._exclusive: ExclusiveQueues | None = None
        self._deadline: float | None = now + self.broker.limits.handshake_timeout
        self._handshake = Handshake(self.broker, shared.users, is_loopback=peer.is_loopback)
        self._is_close_waiting = False
        self._look_again_at = 0.0

    def unblock_output(self) -> None:
        """There is room in the output buffer again."""
        if self.output.is_blocked:
            self.output.is_blocked = False
            for channel in self.channels.values():
                channel.touch_consumed_queues()

    # Input

    def receive(self, data: bytes, now: float) -> None:
        """Take octets from the peer. The caller dispatches the broker afterwards."""
        self.last_received = now
        if self.phase == Phase.HEADER:
            data = self._take_header(data)
            if not data:
                return
        self.reader.receive(data)

    @property
    def wants_input(self) -> bool:
        """False while too much waits for handlers that are not done."""
        return self._channels is None or self._channels.wants_input

    def _take_header(self, data: bytes) -> bytes:
        """Return what follows the protocol header, nothing while it is incomplete or when it is another one."""
        try:
            rest = self._handshake.take_header(data)
        except ValueError:
            self.output.send(PROTOCOL_HEADER)
            self.finish()
            return b""
        if rest is None:
            return b""
        self.phase = Phase.START
        self.output.send_method(0, self._handshake.start(self._shared.server_properties))
        return rest

    def on_frame(self, frame_type: int, channel_id: int, payload: bytes) -> None:
        """Handle a frame that the reader did not hand to a channel itself; of content, `payload` is the whole tail."""
        if frame_type == FRAME_HEARTBEAT:
            if channel_id != 0:
                raise UnexpectedFrame(f"heartbeat frame on channel {channel_id}")
            if payload:
                raise FrameFault("heartbeat frame with a payload")
            return
        if not FRAME_METHOD <= frame_type <= FRAME_BODY:
            self.reader.is_stopped = True
            raise FrameFault(f"unknown frame type {frame_type}")
        if self.phase == Phase.CLOSING:
            self._on_frame_while_closing(frame_type, channel_id, payload)
        elif channel_id == 0:
            self._on_control_frame(frame_type, payload)
        elif self._channels is None:
            raise ChannelFault(f"channel {channel_id} used before the connection is open")
        else:
            self._channels.on_frame(frame_type, channel_id, payload)

    # Channels

    @property
    def channels(self) -> Mapping[int, Channel]:
        """The channels by number."""
        return self._channels.by_id if self._channels is not None else {}

    @property
    def _is_busy(self) -> bool:
        return self._channels is not None and self._channels.is_busy

    def held_ids(self, queue: Queue) -> Iterator[int]:
        """Return the ids of all messages of `queue` that the client has and has not settled."""
        return (message_id for channel in self.channels.values() for message_id in channel.held_ids(queue))

    def on_handler_done(self) -> None:
        """A handler that waited is done, and what came behind it: send, and answer a close that waited for it."""
        self.broker.dispatch()
        self.output.schedule_flush()
        if self._is_close_waiting and not self._is_busy:
            self._shared.spawn(self._answer_close())

    @property
    def client_properties(self) -> FieldTable:
        """What the client has told of itself."""
        return self._handshake.client_properties

    def has_capability(self, name: str) -> bool:
        """Did the client say that it understands this extension?"""
        return self._handshake.has_capability(name)

    # Channel 0

    def _on_control_frame(self, frame_type: int, payload: bytes) -> None:
        if frame_type != FRAME_METHOD:
            raise UnexpectedFrame("content on channel 0")
        kind = kind_of(payload)
        entry = _CONTROL.get(kind)
        if entry is None:
            raise CommandInvalid("unimplemented method")
        phase, handler = entry
        if phase != self.phase and (kind is not amqp.ConnectionClose or self.phase < Phase.START):
            raise ChannelFault(f"{kind.name} is not expected now")
        handler(self, kind.decode_arguments(payload, 4, len(payload)))

    def _on_start_ok(self, method: amqp.ConnectionStartOk) -> None:
        try:
            tune = self._handshake.on_start_ok(method)
        except LoginRefused:
            self._log.warning("login refused", user=clip(self._handshake.user, 256), mechanism=method.mechanism)
            raise
        self.phase = Phase.TUNE
        self.output.send_method(0, tune)

    def _on_tune_ok(self, method: amqp.ConnectionTuneOk) -> None:
        self._handshake.on_tune_ok(method)
        self.output.frame_max = self.reader.frame_max = self._handshake.frame_max
        self.reader.body_limit = min(self._handshake.frame_max - 8, self.broker.limits.max_message_size)
        self.phase = Phase.OPEN

    def _on_open(self, method: amqp.ConnectionOpen) -> None:
        vhost = self._handshake.on_open(method)
        self._exclusive = ExclusiveQueues(vhost)
        context = ConnectionContext(
            self._shared,
            vhost,
            self._handshake.user,
            self.output,
            self.reader.direct,
            self._exclusive,
            self._handshake.has_capability,
        )
        self._channels = ChannelTable(
            context, self._handshake.channel_max, self.on_error, self._on_deadline, self.on_handler_done
        )
        self.broker.open_connections.add(self)
        self.phase = Phase.RUNNING
        self._deadline = None
        self._on_deadline()
        self.output.send_method(0, amqp.ConnectionOpenOk())
        self._log.info(
            "connection opened",
            user=self._handshake.user,
            vhost=vhost.name,
            name=clip(str(self.client_properties.values.get("connection_name", "")), 256),
        )

    def _on_secure_ok(self, method: amqp.ConnectionSecureOk) -> None:
        raise CommandInvalid("no challenge was sent")

    def _on_update_secret(self, method: amqp.ConnectionUpdateSecret) -> None:
        # Passwords do not expire here, so a new one changes nothing (contract C16).
        self.output.send_method(0, amqp.ConnectionUpdateSecretOk())

    def _on_close(self, method: amqp.ConnectionClose) -> None:
        self.phase = Phase.CLOSING
        self._is_close_waiting = self._is_busy  # what was asked for before the close is done before its answer
        if not self._is_close_waiting:
            self._shared.spawn(self._answer_close())

    async def _answer_close(self) -> None:
        """Answer after everything that was this connection's alone is free again (contract C13)."""
        self._is_close_waiting = False
        try:
            await self._release()
        finally:
            self.output.send_method(0, amqp.ConnectionCloseOk())
            self.finish()
            self.broker.dispatch()

    def _on_frame_while_closing(self, frame_type: int, channel_id: int, payload: bytes) -> None:
        index = int.from_bytes(payload[:4], "big") if frame_type == FRAME_METHOD and channel_id == 0 else 0
        if index == amqp.ConnectionCloseOk.index:
            self.finish()
        elif index == amqp.ConnectionClose.index:
            self.output.send_method(0, amqp.ConnectionCloseOk())
            self.finish()

    # Errors and the end

    def on_error(self, error: Exception, channel_id: int, method: int) -> None:
        """Turn an error into the close that answers it: the one place where that happens (house rule).

        `method` is the index of the method at fault, 0 if there is none.
        """
        if isinstance(error, AmqpError):
            fault = error
        elif isinstance(error, StoreUnavailable):
            fault = InternalError(_STORE_AWAY)
        elif isinstance(error, Evicted):
            fault = ConnectionForced("the node has left the cluster and begins anew")
        else:
            self._log.error("internal error", channel=channel_id, exc_info=error)
            fault = InternalError("internal error")
        channel = self.channels.get(channel_id)
        if self.phase >= Phase.CLOSING:
            if channel is not None:
                channel.release()  # nobody is told any more, but what came behind the error is lost all the same
            return
        if isinstance(fault, LoginRefused) and not self.has_capability("authentication_failure_close"):
            self.finish()
            return
        if isinstance(fault, FrameFault):
            method = 0  # no method is at fault (contract §1.0)
        elif not method and channel is not None and not isinstance(fault, UnexpectedFrame):
            method = _BASIC_PUBLISH  # what else a header or a body can lead to is an error of its publish
        ids = (method >> 16, method & 0xFFFF)
        if fault.closes_connection or channel is None:
            self._log.warning("connection closed for an error", channel=channel_id, reason=fault.reply_text)
            self._close(amqp.ConnectionClose(fault.reply_code, fault.reply_text, *ids))
        elif not channel.is_closing:
            self._log.info("channel closed for an error", channel=channel_id, reason=fault.reply_text)
            channel.release()
            self.output.send_method(channel_id, amqp.ChannelClose(fault.reply_code, fault.reply_text, *ids))

    def force_close(self, reason: str) -> None:
        """Close on behalf of the node or an operator (contract C14)."""
        if self.phase < Phase.TUNE:
            self.finish()
        elif self.phase < Phase.CLOSING:
            self._close(amqp.ConnectionClose(ReplyCode.CONNECTION_FORCED, ConnectionForced(reason).reply_text, 0, 0))

    def _close(self, method: amqp.ConnectionClose) -> None:
        self.phase = Phase.CLOSING
        self._deadline = self._shared.monotonic() + _CLOSE_WAIT
        self._on_deadline()
        self.reader.direct.clear()
        self.output.send_method(0, method)
        self.output.has_sent_close = True
        self._release_channels()
        if self.reader.is_stopped:
            self.finish()
        self._shared.spawn(self._release())

    def finish(self) -> None:
        """Nothing more is read; the edge writes what is left and closes the socket."""
        if self.phase != Phase.FINISHED:
            self.phase = Phase.FINISHED
            self._deadline = self._shared.monotonic() + _LINGER
            self._on_deadline()
        self.reader.is_stopped = True
        self.output.schedule_flush()

    @property
    def is_finished(self) -> bool:
        return self.phase == Phase.FINISHED

    def on_lost(self) -> None:
        """The socket is gone."""
        if self.phase == Phase.RUNNING:
            self._log.info("connection lost", user=self._handshake.user)
        self.phase = Phase.FINISHED
        self._deadline = None
        self._is_close_waiting = False
        self.reader.is_stopped = True
        self._release_channels()
        self._shared.spawn(self._release())

    def _release_channels(self) -> None:
        """Take the consumers away before anything is dispatched again: nobody would get what they are sent."""
        self.reader.direct.clear()
        if self._channels is not None:
            self._channels.release()

    async def _release(self) -> None:
        """Free what belongs to the connection: unacknowledged messages, consumers, exclusive queues."""
        self.broker.open_connections.discard(self)
        self._release_channels()
        if self._exclusive is not None:
            await self._exclusive.delete_all()
        self.broker.dispatch()

    def set_blocked(self, reason: str) -> None:
        """Tell a client that understands it that its publishing is held back, or with "" that it is not (C15)."""
        if reason == self.blocked_reason or self.phase != Phase.RUNNING:
            return
        self.blocked_reason = reason
        if self.has_capability("connection.blocked"):
            self.output.send_method(0, amqp.ConnectionBlocked(reason) if reason else amqp.ConnectionUnblocked())

    # Time

    def next_deadline(self) -> float | None:
        """Return when `on_time` has something to do, None for never. It may move later at any time."""
        if self._deadline is not None or self._channels is None or self.phase != Phase.RUNNING:
            return self._deadline
        again = self._look_again_at
        deadline = max(self._channels.overdue_at, again)
        interval = self._handshake.heartbeat
        if interval:
            silent_at = max(self.last_received + self._allowed_silence, again)
            deadline = min(deadline, silent_at, self.output.last_taken + interval / 2)
        return deadline if deadline < inf else None

    def on_time(self, now: float, *, may_expire: bool) -> bool:
        """Do what is due; return True when the socket must be closed at once.

        `may_expire` is False when the node itself was late, or does not read the socket: then nobody's silence counts
        (design §7). While the store is away a client waits for it so long and no longer: the handler goes on, its
        connection does not (ADR 14).
        """
        if self._deadline is not None:
            return now >= self._deadline
        if self.phase != Phase.RUNNING or self._channels is None:
            return False
        if now >= self._channels.overdue_at:
            if self._shared.is_store_away():
                self.on_error(InternalError(_STORE_AWAY), 0, 0)
                return False
            self._look_again_at = now + _LOOK_AGAIN
        interval = self._handshake.heartbeat
        if interval:
            if now - self.output.last_taken >= interval / 2:
                self.output.send(HEARTBEAT_FRAME)
            if now - self.last_received > self._allowed_silence:
                if may_expire:
                    self._log.warning("missed heartbeats from client", timeout=self._allowed_silence)
                    return True
                self._look_again_at = now + _LOOK_AGAIN
        return False

    @property
    def _allowed_silence(self) -> float:
        return self._handshake.heartbeat * max(self.broker.limits.heartbeat_timeout_factor, 1.0)


_CONTROL: Final[dict[type[Method], tuple[Phase, Any]]] = {
    amqp.ConnectionStartOk: (Phase.START, Connection._on_start_ok),
    amqp.ConnectionSecureOk: (Phase.START, Connection._on_secure_ok),
    amqp.ConnectionTuneOk: (Phase.TUNE, Connection._on_tune_ok),
    amqp.ConnectionOpen: (Phase.OPEN, Connection._on_open),
    amqp.ConnectionClose: (Phase.RUNNING, Connection._on_close),
    amqp.ConnectionUpdateSecret: (Phase.RUNNING, Connection._on_update_secret),
}
