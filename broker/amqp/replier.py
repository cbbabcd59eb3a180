"""What one channel publishes with direct reply-to: its requests, and its replies to others (contract N19)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from broker.amqp.confirms import Confirms
from broker.amqp.direct_reply import ADDRESSES, REPLY_TO_OCTETS, DirectReplies
from broker.auth.access import Access
from broker.errors import PreconditionFailed
from broker.message import FRAME_END, PENDING, SETTLED
from broker.ports.peer_calls import Reply
from broker.topology.routing import Route
from broker.turn_budget import TurnBudget

_KEYS: Final = ADDRESSES.encode()
_PROPERTIES: Final = 16
"""Where the properties begin in the tail of a content header, with their flags."""
_REPLY_STEPS: Final = 4
"""Sending a reply to one address."""


class Replier:
    """Requests and replies of one channel."""

    __slots__ = (
        "_access",
        "_is_closed",
        "_replies",
        "_return",
        "_touched_confirms",
        "_vhost",
        "_work",
        "address",
        "reply_to_at",
    )

    def __init__(
        self,
        replies: DirectReplies,
        vhost: str,
        access: Access,
        work: TurnBudget,
        touched_confirms: set[Any],
        return_unroutable: Callable[[Route, bytes, bytes, list[bytes] | None], None],
    ) -> None:
        self._replies = replies
        self._vhost = vhost
        self._access = access
        self._work = work
        self._touched_confirms = touched_confirms
        self._return = return_unroutable
        self._is_closed = False
        self.address = b""
        """Where replies to this channel's requests go, as the octets of a property; empty while it consumes none."""
        self.reply_to_at = 0
        """Where reply_to stands in the properties of the last request."""

    def close(self) -> None:
        """The channel is gone: nothing is sent on it any more."""
        self._is_closed = True
        self._return = _nobody

    def readdressed(self, header: bytes) -> bytes:
        """Return the tail of a request's content header with the channel's address as reply_to.

        Raises `PreconditionFailed` when the channel consumes no replies.
        """
        if not self.address:
            raise PreconditionFailed("fast reply consumer does not exist")
        start = _PROPERTIES + self.reply_to_at
        payload = header[4:start] + self.address + header[start + len(REPLY_TO_OCTETS) : -1]
        return len(payload).to_bytes(4, "big") + payload + FRAME_END

    def find_route(self, arguments: bytes) -> Route | None:
        """Return the route when these argument octets lead to an address for replies. It is not to be remembered: there
        may be an address for each request.
        """
        if not (
            arguments.startswith(_KEYS, 4)
            and arguments[2] == 0  # the default exchange
            and arguments[3] == len(arguments) - 5
            and arguments[-1] <= 1  # mandatory or not, and no immediate
            and arguments.isascii()
        ):
            return None
        address = arguments[4:-1].decode()
        self._access.require_publish("", address)
        route = Route(arguments, "", address, bool(arguments[-1]), 0)
        route.replies = (address,)
        return route

    def reply(
        self,
        route: Route,
        header: bytes,
        body: bytes,
        chunks: list[bytes] | None,
        confirms: Confirms | None,
        *,
        is_routed: bool,
    ) -> None:
        """Send a message to the channels that wait for replies at the addresses of its route. If it is mandatory and
        reaches none of them it comes back, unless it `is_routed` to a queue too; its confirm waits for that.
        """
        replies = [Reply(self._vhost, address, route.routing, header, body, chunks) for address in route.replies]
        self._work.done += _REPLY_STEPS * len(replies)
        if not route.mandatory or is_routed:
            self._replies.send(replies, _ignore)
            return
        answer = ReplyAnswer(len(replies), lambda: self._send_back(route, header, body, chunks), self._touched_confirms)
        self._replies.send(replies, answer.on_answer)
        if answer.state == PENDING and confirms is not None:
            confirms.expect(answer)

    def _send_back(self, route: Route, header: bytes, body: bytes, chunks: list[bytes] | None) -> None:
        if not self._is_closed:  # otherwise the answer has come too late
            self._return(route, header, body, chunks)


class ReplyAnswer:
    """Whether a mandatory reply has reached a channel: it takes the place of a message among those to be confirmed, as
    the reply must be sent back before its confirm (contract U6).
    """

    __slots__ = ("_is_delivered", "_left", "_on_lost", "_touched_confirms", "confirms", "sequence", "state")

    confirms: Any
    sequence: int

    def __init__(self, addresses: int, on_lost: Callable[[], None], touched_confirms: set[Any]) -> None:
        """So many answers come; `on_lost` is called after the last one if none was good."""
        self._left = addresses
        self._is_delivered = False
        self._on_lost = on_lost
        self._touched_confirms = touched_confirms
        self.confirms = None
        self.state = PENDING

    def on_answer(self, is_delivered: bool) -> None:
        """One of the addresses has got the reply, or has not."""
        self._left -= 1
        self._is_delivered |= is_delivered
        if self._left:
            return
        if not self._is_delivered:
            self._on_lost()
        self.state = SETTLED
        if self.confirms is not None:
            self._touched_confirms.add(self.confirms)


def _ignore(is_delivered: bool) -> None:
    """Nobody asked whether the reply has reached a channel."""


def with_replies(route: Route, keys: Sequence[str]) -> Route:
    """Return a route that leads to the addresses among `keys`, too, if there are any."""
    replies = tuple(key for key in keys if key.startswith(ADDRESSES))
    if not replies:
        return route
    route = Route(route.arguments, route.exchange, route.routing_key, route.mandatory, route.version)
    route.replies = replies
    return route


def _nobody(route: Route, header: bytes, body: bytes, chunks: list[bytes] | None) -> None:
    """Stands where the channel was."""
