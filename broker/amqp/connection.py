"""A connection: its phases, output, heartbeats, and the one place where errors become closes.

Sans-IO: octets come in by `receive` and go out through `output`, time comes with `on_time`. The edge is told of new
output and of nearer deadlines by a callable each, and runs the coroutines it is handed. A connection leads frames to
channel 0, which it serves itself, or to its channels; it does nothing that concerns messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from enum import IntEnum
from math import inf
from typing import Any, Final

import structlog

from broker.amqp.channel import Channel
from broker.amqp.channel_table import ChannelTable
from broker.amqp.closes import STORE_AWAY, fault_of, method_at_fault
from broker.amqp.context import ConnectionContext, SharedContext
from broker.amqp.continuation import Continuation
from broker.amqp.exclusive_queues import ExclusiveQueues
from broker.amqp.frame_reader import FrameReader
from broker.amqp.handshake import STEPS, Handshake, Peer
from broker.amqp.heartbeats import Heartbeats
from broker.amqp.output import Output
from broker.amqp.profile import CORDILLERA, Profile
from broker.amqp.publish_watch import PublishWatch
from broker.amqp.publisher_flow import UNDER_WAY, Cause
from broker.auth.access import Access
from broker.auth.audit import ACCESS_REFUSED, CONNECTION_OPENED, tell
from broker.auth.identity import Identity
from broker.codec import methods as amqp
from broker.codec.constants import (
    FRAME_BODY,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    HEARTBEAT_FRAME,
)
from broker.codec.method import Method, kind_of
from broker.errors import (
    AccessRefused,
    ChannelFault,
    CommandInvalid,
    ConnectionForced,
    FrameFault,
    InternalError,
    LoginRefused,
    NotAllowed,
    PreconditionFailed,
    ReplyCode,
    UnexpectedFrame,
    clip,
)
from broker.queue.queue import Queue
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

_PRE_TUNE_FRAME_MAX: Final = 8192
_CLOSE_WAIT: Final = 3.0
"""Seconds in which a peer must have answered a close, and closed its end after the last words."""
_LINGER: Final = 10.0
"""Seconds in which a peer must have read the last words."""
_LOOK_AGAIN: Final = 0.5
"""Seconds after which a handler is looked at again that waits for long, though the store is there."""


class Phase(IntEnum):
    """How far a connection is."""

    OPENING = 0
    """The handshake, with steps of its own."""
    RUNNING = 1
    CLOSING = 2
    """A close is being answered, or ours waits for its answer."""
    FINISHED = 3


class Connection:
    """The protocol of one client."""

    __slots__ = (
        "_channels",
        "_continuation",
        "_cut_off_at",
        "_deadline",
        "_exclusive",
        "_good_until",
        "_handshake",
        "_heartbeats",
        "_is_close_waiting",
        "_log",
        "_look_again_at",
        "_on_deadline",
        "_profile",
        "_resumed",
        "_shared",
        "blocked_reason",
        "broker",
        "last_received",
        "output",
        "phase",
        "reader",
        "reads",
        "received",
    )

    def __init__(
        self,
        shared: SharedContext,
        peer: Peer,
        on_output: Callable[[], None],
        on_deadline: Callable[[], None],
        on_put_off: Callable[[], None],
        now: float,
        profile: Profile = CORDILLERA,
    ) -> None:
        """`on_output` is called once when there is output, until the edge takes it.

        `on_deadline` is called when `next_deadline` may have come nearer, `on_put_off` when `go_on` is to be called in
        a later turn of the loop. `profile` is that of the listener.
        """
        self._on_deadline = on_deadline
        self._shared = shared
        self._profile = profile
        self.broker = shared.broker
        self._log = _log.bind(connection=peer.address)
        self.phase = Phase.OPENING
        self.reader = FrameReader(self, _PRE_TUNE_FRAME_MAX)
        self.output = Output(on_output, now)
        self.last_received = now
        self.received = self.reads = 0
        """Octets that have come, and in how many pieces."""
        self.blocked_reason = ""
        self._channels: ChannelTable | None = None  # from connection.open on
        self._exclusive: ExclusiveQueues | None = None
        self._deadline: float | None = now + self.broker.limits.handshake_timeout
        self._handshake = Handshake(shared, profile, peer, self.reader, self.output, self._log, self)
        self._heartbeats = Heartbeats(0.0, 0.0)
        self._continuation = Continuation(lambda: self._put_off(on_put_off))
        self._is_close_waiting = False
        self._cut_off_at = inf
        self._good_until = inf
        self._look_again_at = 0.0
        self._resumed = 0

    def unblock_output(self) -> None:
        """There is room in the output buffer again."""
        if self.output.is_blocked:
            self.output.unblock()
            channels = deque(channel for channel in self.channels.values() if channel.waits_for_room)
            self._resumed += 1
            channels.rotate(-self._resumed)  # no channel is always the first that fills the buffer again
            for channel in channels:
                channel.resume_later()
            if self._channels is not None:
                self._channels.go_on()

    # Input

    def receive(self, data: bytes, now: float) -> None:
        """Take octets from the peer. The caller dispatches the broker afterwards."""
        self.last_received = now
        self.received += len(data)
        self.reads += 1
        if self.phase != Phase.OPENING:
            self.reader.receive(data)
        elif not self._handshake.receive(data):
            self.finish()

    @property
    def wants_input(self) -> bool:
        """False while too much waits for handlers that are not done. What comes behind a close does not wait."""
        wants = self._handshake.wants_input if self._channels is None else self._channels.wants_input
        return wants or self.is_ending

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
            if self.broker.work.is_over and not self.is_put_off and self.phase == Phase.RUNNING:
                self._continuation.put_off(channel_id)

    @property
    def was_opened(self) -> bool:
        """Did the client come as far as connection.open-ok, whatever has happened since?"""
        return self._channels is not None

    # Alarms

    def watch_publishing(self, on_content: Callable[[], None] | None) -> None:
        """Read nothing behind the next frame that carries a message, and call `on_content` then: `go_on` reads on. With
        None, read as before.
        """
        if self.phase != Phase.FINISHED:
            self.reader.divert(None if on_content is None else PublishWatch(self, on_content))

    def stop_behind_content(self, channel_id: int) -> bool:
        """Stop reading, unless a close is under way; return whether it was stopped."""
        if self.phase != Phase.RUNNING:
            return False
        if not self.is_put_off:
            self._continuation.put_off(channel_id)
        return True

    # Turns of the loop

    def _put_off(self, tell_edge: Callable[[], None]) -> None:
        if not self.is_finished:  # then nothing is read any more, and nothing may be kept
            self.reader.hold()
        tell_edge()

    @property
    def is_put_off(self) -> bool:
        """Does input wait for a later turn of the loop?"""
        return self._continuation.is_waiting

    def go_on(self) -> None:
        """Do in this turn what was put off; what is left of it is put off again. The caller dispatches the broker
        afterwards.
        """
        continuation = self._continuation
        if not continuation.is_waiting:
            return
        try:
            if not continuation.go_on():
                return
        except Exception as error:
            continuation.end()
            self.on_error(error, continuation.channel_id, amqp.BasicPublish.index)
        if self._channels is not None:
            self._channels.go_on()
        if not self.is_put_off:
            self.reader.resume()
        self.output.schedule_flush()

    # Channels

    @property
    def channels(self) -> Mapping[int, Channel]:
        """The channels by number."""
        return self._channels.by_id if self._channels is not None else {}

    @property
    def unfinished_octets(self) -> int:
        """What the client has sent that no queue has yet. Its memory is free again when the connection is closed."""
        return self.reader.buffered + sum(channel.unfinished_octets for channel in self.channels.values())

    @property
    def _is_busy(self) -> bool:
        return self._channels is not None and self._channels.is_busy

    def held_ids(self, queue: Queue) -> Iterator[int]:
        """Return the ids of all messages of `queue` that the client has and has not settled."""
        return (message_id for channel in self.channels.values() for message_id in channel.held_ids(queue))

    def consumers(self) -> Iterator[tuple[int, str, Queue]]:
        """Return the channel, the tag and the queue of every consumer."""
        for channel in self.channels.values():
            for tag, consumer in channel.consumers.items():
                yield channel.id, tag, consumer.queue

    def end_consumer(self, channel_id: int, consumer_tag: str, reason: str) -> bool:
        """Take a consumer away on behalf of an administrator, and tell the client; return whether there was one.

        The channel of a client that does not know that consumers are cancelled is closed.
        """
        channel = self.channels.get(channel_id)
        consumer = None if channel is None else channel.consumers.get(consumer_tag)
        if channel is None or consumer is None:
            return False
        if not channel.end_consumer(consumer):
            self.on_error(PreconditionFailed(reason), channel_id, amqp.BasicConsume.index)
        self.on_handler_done()
        return True

    def on_handler_done(self) -> None:
        """A handler that waited is done, and what came behind it: send, and answer a close that waited for it."""
        self.broker.dispatch()
        self.output.schedule_flush()
        if self._is_close_waiting and not self._is_busy:
            self._shared.spawn(self._answer_close())

    def has_capability(self, name: str) -> bool:
        """Did the client say that it understands this extension?"""
        return self._handshake.has_capability(name)

    # Channel 0

    def _on_control_frame(self, frame_type: int, payload: bytes) -> None:
        if frame_type != FRAME_METHOD:
            raise UnexpectedFrame("content on channel 0")
        kind = kind_of(payload)
        if kind in STEPS:
            self._handshake.on_method(kind, payload)
            return
        handler = CONTROL.get(kind)
        if handler is None:
            raise CommandInvalid("unimplemented method")
        if self.phase == Phase.OPENING and kind is not amqp.ConnectionClose:
            raise ChannelFault(f"{kind.name} is not expected now")
        handler(self, kind.decode_arguments(payload, 4, len(payload)))

    def on_opened(self, vhost: VirtualHost, access: Access) -> None:
        """The handshake is done."""
        self._exclusive = ExclusiveQueues(vhost)
        context = ConnectionContext(
            self._shared,
            self._profile,
            vhost,
            access,
            self.output,
            self.reader.direct,
            self._exclusive,
            self._continuation,
            self._handshake.has_capability,
            self._log,
        )
        self._channels = ChannelTable(
            context, self._handshake.channel_max, self.on_error, self._on_deadline, self.on_handler_done
        )
        self._continuation.wait = self._channels.wait
        self._heartbeats = Heartbeats(self._handshake.heartbeat, self.broker.limits.heartbeat_timeout_factor)
        self.broker.add_connection(self)
        self.phase = Phase.RUNNING
        self._deadline = None
        self._good_until = access.identity.good_until
        self._on_deadline()
        tell(
            self._log,
            CONNECTION_OPENED,
            user=access.identity.user,
            vhost=vhost.name,
            name=clip(str(self._handshake.client_properties.values.get("connection_name", "")), 256),
        )

    def _on_update_secret(self, method: amqp.ConnectionUpdateSecret) -> None:
        identity = self._handshake.identity
        # A password does not end, so a new one changes nothing (contract C16).
        if identity is None or identity.renew is None:
            self.output.send_method(0, amqp.ConnectionUpdateSecretOk())
        elif self._channels is not None:
            access = self._channels.connection.access
            secret = method.new_secret.decode("utf-8", "replace")
            self._shared.spawn(self._renew(identity.renew(identity, secret, self._handshake.host), access))

    async def _renew(self, answer: Coroutine[Any, Any, Identity | None], access: Access) -> None:
        """Take a new token for the one that the connection was opened with."""
        try:
            renewed = await answer
            if renewed is None:
                raise NotAllowed("New secret was refused by one of the backends")
            found = self._shared.access.permissions(renewed, access.vhost)
            permissions = await found if isinstance(found, Coroutine) else found
        except Exception as error:
            self.on_error(error, 0, amqp.ConnectionUpdateSecret.index)
            return
        if self.phase != Phase.RUNNING:
            return
        self._handshake.identity = renewed
        self._good_until = renewed.good_until
        self._on_deadline()
        self._take_permissions(access.renew(renewed, permissions))
        self._log.info("the token was renewed", user=renewed.user)
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
        """Turn an error into the close that answers it; this is the one place where that happens.

        `method` is the index of the method at fault, 0 if there is none.
        """
        fault = fault_of(error)
        if fault is None:
            self._log.error("internal error", channel=channel_id, exc_info=error)
            fault = InternalError("internal error")
        channel = self.channels.get(channel_id)
        if self.phase >= Phase.CLOSING:
            if channel is not None:
                channel.release()  # nobody is told any more, but what came behind the error is lost all the same
            return
        if isinstance(fault, LoginRefused) and not self._handshake.is_told_of_refusal:
            self.finish()
            return
        ids = method_at_fault(fault, method, is_on_channel=channel is not None)
        if fault.closes_connection or channel is None:
            self._log.warning("connection closed for an error", channel=channel_id, reason=fault.reply_text)
            self._close(amqp.ConnectionClose(fault.reply_code, fault.reply_text, *ids))
        elif not channel.is_closing:
            if isinstance(fault, AccessRefused):
                tell(self._log, ACCESS_REFUSED, user=self.user, channel=channel_id, reason=fault.reply_text)
            else:
                self._log.info("channel closed for an error", channel=channel_id, reason=fault.reply_text)
            channel.release()
            self.output.send_method(channel_id, amqp.ChannelClose(fault.reply_code, fault.reply_text, *ids))

    @property
    def handshake(self) -> Handshake:
        """Who the client is, and what was agreed on. Only to be read."""
        return self._handshake

    @property
    def address(self) -> str:
        """The client's address and port."""
        return self._handshake.peer.address

    @property
    def user(self) -> str:
        """The name of the user who has logged in, empty before that."""
        return "" if self._handshake.identity is None else self._handshake.identity.user

    @property
    def vhost(self) -> str:
        """The virtual host that is open, empty before that."""
        return "" if self._channels is None else self._channels.connection.vhost.name

    @property
    def channel_count(self) -> int:
        """How many channels there are."""
        return len(self.channels)

    def owns(self, queue: Queue) -> bool:
        """Does the exclusive `queue` end with this connection?"""
        return self._exclusive is not None and queue.owner is self._exclusive

    def on_permissions_changed(self) -> None:
        """The user may do something else from now on."""
        if self._channels is None:
            return
        access = self._channels.connection.access
        self._take_permissions(access.change(self._shared.access.permissions_now(access.identity, access.vhost)))

    def _take_permissions(self, are_others: bool) -> None:
        if are_others:
            for channel in list(self.channels.values()):
                channel.on_permissions_changed()
            self.output.schedule_flush()

    def force_close(self, reason: str) -> None:
        """Close on behalf of the node or an operator (contract C14)."""
        if self._handshake.identity is None:
            self.finish()
        elif self.phase < Phase.CLOSING:
            self._close(amqp.ConnectionClose(ReplyCode.CONNECTION_FORCED, ConnectionForced(reason).reply_text, 0, 0))

    def _close(self, method: amqp.ConnectionClose) -> None:
        self.phase = Phase.CLOSING
        self._handshake.end()
        self._deadline = self._shared.monotonic() + _CLOSE_WAIT
        self._on_deadline()
        self.reader.direct.clear()
        self.output.send_method(0, method)
        self.output.has_sent_close = True
        self._release_channels()
        self.reader.resume()  # if it waits for a step of the handshake: only close-ok is listened for now
        if self.reader.is_stopped:
            self.finish()
        self._shared.spawn(self._release())

    def finish(self) -> None:
        """The conversation is over: the edge writes what is left, and drops what comes until the peer closes."""
        if self.phase != Phase.FINISHED:
            self.phase = Phase.FINISHED
            now = self._shared.monotonic()
            self._deadline, self._cut_off_at = now + _CLOSE_WAIT, now + _LINGER
            self._on_deadline()
        self._handshake.end()
        self.reader.stop()
        self.output.schedule_flush()

    @property
    def is_ending(self) -> bool:
        """Is a close under way, or done? What comes is not held back then: it is dropped, but for close-ok."""
        return self.phase >= Phase.CLOSING

    @property
    def is_finished(self) -> bool:
        """Is there nothing more to say or to hear?"""
        return self.phase == Phase.FINISHED

    def on_lost(self) -> None:
        """The socket is gone."""
        if self.phase == Phase.RUNNING:
            identity = self._handshake.identity
            self._log.info("connection lost", user=identity.user if identity is not None else "")
        self.phase = Phase.FINISHED
        self._deadline = None
        self._is_close_waiting = False
        self._release_channels()
        self._shared.spawn(self._release())
        self._detach()

    def _detach(self) -> None:
        """Let go of everything that refers back to this: a connection that is over is freed at once (ADR 28)."""
        self._on_deadline = _nobody
        self.output.detach()
        self._continuation.detach()
        self.reader.close()
        self._handshake.close()
        if self._channels is not None:
            self._channels.close()

    def _release_channels(self) -> None:
        """Take the consumers away before anything is dispatched again: nobody would get what they are sent."""
        self.reader.direct.clear()
        if self._channels is not None:
            self._channels.release()

    async def _release(self) -> None:
        """Free what belongs to the connection: unacknowledged messages, consumers, exclusive queues."""
        self.broker.remove_connection(self)
        self._release_channels()
        if self._exclusive is not None:
            await self._exclusive.delete_all()
        self.broker.dispatch()

    def set_blocked(self, reason: str) -> None:
        """Tell a client that its publishing is held back, or with "" that it is not any more (contract C15)."""
        if reason == self.blocked_reason or self.phase != Phase.RUNNING:
            return
        self.blocked_reason = reason
        if self.has_capability("connection.blocked"):
            self.output.send_method(0, amqp.ConnectionBlocked(reason) if reason else amqp.ConnectionUnblocked())

    def ask_to_wait(self) -> bool:
        """Ask a client that knows channel.flow alone to publish nothing while there is an alarm. Return whether it may
        be read nevertheless, because it obeys.
        """
        flows = []
        for channel in self.channels.values():
            if channel.flow is not None:
                flows.append(channel.flow)
                if channel.content is not None or channel.flow.has_published:
                    channel.flow.stop(Cause.ALARM)
        late = self.unfinished_octets + sum(flow.late_octets for flow in flows)
        return bool(flows) and late <= UNDER_WAY and not any(flow.is_deaf for flow in flows)

    def end_wait(self) -> None:
        """There is no alarm any more."""
        for channel in self.channels.values():
            if channel.flow is not None:
                channel.flow.go_on(Cause.ALARM)

    # Time

    def next_deadline(self) -> float | None:
        """Return when `on_time` has something to do, None for never. It may move later at any time."""
        if self._deadline is not None or self._channels is None or self.phase != Phase.RUNNING:
            return self._deadline
        overdue_at = max(self._channels.overdue_at, self._look_again_at)
        heartbeat = self._heartbeats.next_deadline(self.output.last_taken, self.last_received)
        deadline = min(overdue_at, heartbeat, self._good_until)
        return deadline if deadline < inf else None

    def on_time(self, now: float, *, may_expire: bool, has_unread: bool = False) -> bool:
        """Do what is due; return True when the socket must be closed at once.

        `may_expire` is False when the node itself was late, or does not read the socket: then nobody's silence counts.
        `has_unread` says that the peer has not read everything that was written to it.
        While the store is away a client waits for it so long and no longer: the handler goes on, its
        connection does not (ADR 14).
        """
        if self._deadline is not None:
            if self.is_finished and has_unread:
                self._deadline = self._cut_off_at
            return now >= self._deadline
        if self.phase != Phase.RUNNING or self._channels is None:
            return False
        if now >= self._channels.overdue_at:
            if self._shared.is_store_away():
                self.on_error(InternalError(STORE_AWAY), 0, 0)
                return False
            self._look_again_at = now + _LOOK_AGAIN
        if now >= self._good_until:
            self._log.warning("the token of a connection has ended", user=self.user)
            self.force_close("credential expired")
            return False
        heartbeats = self._heartbeats
        if heartbeats.is_due(now, self.output.last_taken):
            self.output.send(HEARTBEAT_FRAME)
        if not heartbeats.is_overdue(now, self.last_received):
            return False
        if may_expire:
            self._log.warning("missed heartbeats from client", timeout=heartbeats.allowed_silence)
        else:
            heartbeats.put_off(now)
        return may_expire


def _nobody() -> None:
    """Stands where the edge was."""


CONTROL: Final[dict[type[Method], Any]] = {
    amqp.ConnectionClose: Connection._on_close,
    amqp.ConnectionUpdateSecret: Connection._on_update_secret,
}
