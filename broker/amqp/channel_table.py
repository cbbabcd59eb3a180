"""The channels of one open connection. They are opened and closed here, and frames wait here for busy handlers."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from broker.amqp.channel import Channel
from broker.amqp.context import ConnectionContext, Waiting
from broker.amqp.handlers import handle_method
from broker.amqp.opening_rate import OpeningRate
from broker.codec import methods as amqp
from broker.codec.constants import FRAME_METHOD
from broker.errors import ChannelFault, NotAllowed

_DEFERRED_LIMIT: Final = 4 * 1024 * 1024
_CHANNEL_OPEN: Final = amqp.ChannelOpen.index
_CHANNEL_CLOSE: Final = amqp.ChannelClose.index
_CHANNEL_CLOSE_OK: Final = amqp.ChannelCloseOk.index
_TX_COMMIT: Final = amqp.TxCommit.index
_BASIC_PUBLISH: Final = amqp.BasicPublish.index
_METHOD_STEPS: Final = 10
"""What handling a method costs, in steps of work, beside what its handler counts itself."""
_STORE_TIMEOUT: Final = 30.0
"""Seconds that a handler may wait for a store that is away."""
_FRAME_STEPS: Final = 5
"""What a kept frame costs, in steps of work."""
_CONNECTIONS_PER_STEP: Final = 8
"""How many connections of a user are looked at for a step of work."""
_HANDLER_STEPS: Final = 100
"""What a handler that waits costs in addition: a task, a decision, an answer."""


class ChannelTable:
    """Channels by number."""

    __slots__ = (
        "_busy",
        "_channel_max",
        "_is_closed",
        "_on_error",
        "_on_handler_done",
        "_on_waiting",
        "_opening_rate",
        "_parked",
        "by_id",
        "connection",
    )

    def __init__(
        self,
        connection: ConnectionContext,
        channel_max: int,
        on_error: Callable[[Exception, int, int], None],
        on_waiting: Callable[[], None],
        on_handler_done: Callable[[], None],
    ) -> None:
        """`on_error` gets an error, the channel's number and the index of the method at fault.

        `on_waiting` is called when a handler begins to wait, so that `overdue_at` may have come nearer;
        `on_handler_done` when it is done, and the frames behind it are handled.
        """
        self.connection = connection
        self._channel_max = channel_max
        self._on_error = on_error
        self._on_waiting = on_waiting
        self._on_handler_done = on_handler_done
        self._busy: dict[Channel, float] = {}  # and when it has waited too long for a store that is away
        self._parked: list[Channel] = []  # their kept frames wait for a later turn of the loop
        self.by_id: dict[int, Channel] = {}
        self._is_closed = False
        per_second = connection.shared.broker.limits.max_channel_rate
        self._opening_rate = OpeningRate(per_second) if per_second else None

    @property
    def wants_input(self) -> bool:
        """False while too much waits for handlers that are not done."""
        return not self._busy or sum(channel.deferred_octets for channel in self._busy) < _DEFERRED_LIMIT

    @property
    def is_busy(self) -> bool:
        """Is a channel still at work on what came before?"""
        return any(not channel.is_closing for channel in self._busy)

    @property
    def overdue_at(self) -> float:
        """When a handler will have waited as long as a client has to wait for a store that is away."""
        waiting = ((channel, at) for channel, at in self._busy.items() if at < inf)
        return next((at for channel, at in waiting if not channel.is_closing), inf)  # who began first is due first

    def on_frame(self, frame_type: int, channel_id: int, payload: bytes) -> None:
        """Handle one frame, or keep it until the handler before it is done."""
        channel = self.by_id.get(channel_id)
        if channel is None:
            self._open(frame_type, channel_id, payload)
        elif channel.is_closing:
            self._on_frame_of_closing(channel, frame_type, payload)
        elif channel.is_busy:
            channel.defer(frame_type, payload)
        else:
            self._hand_over(channel, frame_type, payload)

    def _hand_over(self, channel: Channel, frame_type: int, payload: bytes) -> bool:
        """Let the channel handle a frame; return whether it has to wait for that."""
        content = channel.content
        if content is not None:
            channel.add_content(content, frame_type, payload)
            return channel.is_busy
        self.connection.shared.broker.work.done += _METHOD_STEPS
        waiting = handle_method(channel, frame_type, payload)
        if waiting is None:
            return False
        self._wait(channel, waiting, int.from_bytes(payload[:4], "big"))
        return True

    def wait(self, channel_id: int, waiting: Waiting) -> None:
        """Let a channel wait in the middle of a publish; an error is one of basic.publish."""
        self._wait(self.by_id[channel_id], waiting, _BASIC_PUBLISH)

    def _wait(self, channel: Channel, waiting: Waiting, method: int) -> None:
        channel.set_busy(True)
        # A commit waits as long as a confirm does: nobody could say whether it will be (invariant I43).
        self._busy[channel] = inf if method == _TX_COMMIT else self.connection.shared.monotonic() + _STORE_TIMEOUT
        self._on_waiting()
        self.connection.shared.broker.work.done += _HANDLER_STEPS
        self.connection.shared.spawn(self._finish(channel, waiting, method))

    async def _finish(self, channel: Channel, waiting: Waiting, method: int) -> None:
        """Run a handler that waits, then the frames that came in the meantime."""
        try:
            await waiting
        except Exception as error:
            self._on_error(error, channel.id, method)
        self._handle_kept(channel)
        self._on_handler_done()
        self._detach()

    def _handle_kept(self, channel: Channel) -> None:
        """Handle the frames that came while a handler was waiting, until the next one waits or the turn is used up.

        Answers may be large: while the output takes no more, the frames wait for that too.
        """
        self._busy.pop(channel, None)
        channel.set_busy(False)
        work, continuation = self.connection.shared.broker.work, self.connection.continuation
        output = self.connection.output
        while not channel.is_closing:
            if channel.deferred_octets and (work.is_over or continuation.is_waiting or output.is_blocked):
                self._busy[channel] = inf
                channel.set_busy(True)
                self._parked.append(channel)
                if not (continuation.is_waiting or output.is_blocked):
                    continuation.put_off(channel.id)
                break
            kept = channel.next_deferred()
            if kept is None:
                channel.set_busy(False)
                break
            work.done += _FRAME_STEPS
            try:
                if self._hand_over(channel, *kept):
                    break
            except Exception as error:
                is_method = kept[0] == FRAME_METHOD
                self._on_error(error, channel.id, int.from_bytes(kept[1][:4], "big") if is_method else 0)

    def go_on(self) -> None:
        """Go on with kept frames that waited for this turn, or for room in the output."""
        parked, self._parked = self._parked, []
        for channel in parked:
            self._handle_kept(channel)
        if parked:
            self._on_handler_done()
            self._detach()

    def _open(self, frame_type: int, channel_id: int, payload: bytes) -> None:
        index = int.from_bytes(payload[:4], "big") if frame_type == FRAME_METHOD else 0
        if index == _CHANNEL_CLOSE_OK:
            return
        if index != _CHANNEL_OPEN:
            raise ChannelFault("expected 'channel.open'")
        self._check_user(self.connection.access.identity.user)
        if len(self.by_id) >= self._channel_max:
            raise NotAllowed(
                f"number of channels opened ({len(self.by_id)}) has reached the negotiated channel_max"
                f" ({self._channel_max})"
            )
        rate = self._opening_rate
        if rate is not None and not rate.allows(self.connection.shared.monotonic()):
            limit = self.connection.shared.broker.limits.max_channel_rate
            raise NotAllowed(f"more than {limit} channels opened in a second")
        amqp.ChannelOpen.decode_arguments(payload, 4, len(payload))
        channel = self.by_id[channel_id] = Channel(self.connection, channel_id, self._forget)
        self.connection.shared.broker.churn.channel_created += 1
        channel.send(amqp.ChannelOpenOk())

    def _check_user(self, user: str) -> None:
        """Raise `NotAllowed` when the user has as many channels on all connections as it may (contract A6)."""
        broker = self.connection.shared.broker
        limit = self.connection.shared.access.limits(user).max_channels
        if limit < 0:
            return
        connections = broker.connections_of.get(user, ())
        broker.work.done += len(connections) // _CONNECTIONS_PER_STEP
        if sum(connection.channel_count for connection in connections) >= limit:
            raise NotAllowed(
                f"number of channels opened for user '{user}' has reached the maximum allowed user limit of ({limit})"
            )

    def _forget(self, channel: Channel) -> None:
        """Free the number of a channel that is closed on both sides."""
        del self.by_id[channel.id]

    def _on_frame_of_closing(self, channel: Channel, frame_type: int, payload: bytes) -> None:
        """Drop everything until the client has seen our close (contract G7)."""
        index = int.from_bytes(payload[:4], "big") if frame_type == FRAME_METHOD else 0
        if index == _CHANNEL_CLOSE:
            channel.send(amqp.ChannelCloseOk())
            del self.by_id[channel.id]
        elif index == _CHANNEL_CLOSE_OK:
            del self.by_id[channel.id]

    def release(self) -> None:
        """Let go of everything that the channels hold; their numbers stay taken."""
        for channel in self.by_id.values():
            channel.release()

    def close(self) -> None:
        """The socket is gone: let go of the channels too, and of the connection when no handler needs it any more."""
        self.release()
        self.by_id.clear()
        self._is_closed = True
        self._detach()

    def _detach(self) -> None:
        if self._is_closed and not self._busy:
            self._on_error = _nobody
            self._on_waiting = self._on_handler_done = _nobody


def _nobody(*event: object) -> None:
    """Stands where the connection was."""
