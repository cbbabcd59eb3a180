"""Why this broker says something else than RabbitMQ 3.10 in some sessions, and which rows no session shows.

A reason is that of all sessions whose names its patterns match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

REASONS: Final[Mapping[str, tuple[str, ...]]] = {
    "RabbitMQ tells nothing of an error in a handshake and closes the socket after some seconds": (
        r"C4 login (EXTERNAL|CRAM|plain| b|PLAIN b'(guest|'|.x00guest.x00guest.x00more)|AMQPLAIN)",
        r"C5 ",
        r"C6 a client that does not",
        r"C9 tune-ok (2048|65535|2047 (131073|4095)|0 [48])",
        r"C22 (tune|open)",
    ),
    "a name that is not UTF-8 is a response that cannot be read (C4)": (r"C4 login PLAIN b'.x00.xff",),
    "a login that is refused names the method that was refused (G3)": (r"C4 login PLAIN b'.x00",),
    "0 in tune-ok takes the offer (C9); RabbitMQ takes it for more than the offer": (r"C9 tune-ok 0 0 0",),
    "only 0-9-1 and the header of its first drafts are spoken (C1)": (r"C1 header b'AMQP.x01.x01.x08",),
    "clients of WSO2 write a slash before the name of a virtual host (C11)": (r"C11 virtual host //",),
    "a text is cut to 255 octets, with or without what follows the name (G1)": (r"C11 virtual host aaa",),
    "texts for people: RabbitMQ's are Erlang terms of the frame, or none (C18 to C23)": (
        r"C(10|17|18|19|20|21|23) ",
        r"C22 (a|start)",
    ),
    "a method of channels on channel 0 is not for the connection (C21, G6)": (r"G6 ",),
    "the socket is closed with the answer; RabbitMQ's comes a moment later (G8)": (
        r"(G8 a close beside that of the servers|G10 a normal close of the connection|C13) ?",
    ),
    "a close-ok that nobody waits for is ignored (H8)": (r"H8 channel.close-ok",),
    "an error of channel.open names it (G3)": (r"H2 more channels",),
    "channel.flow is served (H5)": (r"H5 flow that stops",),
    "an unknown exchange type is 406, as from RabbitMQ 4 on (X4)": (
        r"X1 declare type '(none||DIRECT)'",
        r"X11 no wait",
    ),
    "the exchange types of RabbitMQ's plugins are there (E5)": (r"X1 declare type 'x-consistent-hash'",),
    "an empty name means the queue declared last in a passive declare too (Q3)": (
        r"Q2 a server names",
        r"Q3 declare passively",
    ),
    "unbind of another connection's exclusive queue is 405 like all else (Q6)": (r"Q6 queue.unbind",),
    "strategy and locator are arguments of classic queues too, as in RabbitMQ 3.13 (Q16)": (
        r"Q16 x-dead-letter-strategy",
        r"Q16 x-queue-leader-locator",
    ),
    "a locator that means nothing here is no reason to fail (Q16); RabbitMQ 3.10 fails by itself": (
        r"Q16 x-queue-master-locator",
    ),
    "classic queues have delivery limits here, and all limits are checked (F10)": (r"Q16 x-delivery-limit",),
    "the size of a message is known from its header (B4)": (r"B4 ",),
    "properties arrive as they were sent, whatever the delivery mode (B5)": (r"B5 properties .'delivery_mode'",),
    "the flags requeue and multiple of a nack to a publisher mean nothing, or the same (P3, P4)": (
        r"P4 a full queue",
        r"F8 (overflow reject|one queue)",
    ),
    "delivery tags of direct replies count, and a reply that was delivered is not returned (N19)": (
        r"N19 a reply comes",
    ),
    "a reply to nobody is not routed (N19); RabbitMQ 3.10 fails by itself": (r"N19 reply-to: a reply to nobody",),
    "x-last-death headers, as from RabbitMQ 3.13 on (L3)": (
        r"F[2456] ",
        r"F8 overflow",
        r"L\d ",
    ),
    "counts of deliveries as from RabbitMQ 4 on, and x-last-death (F10, L3)": (r"F10 ",),
    "the prefetch of a channel is served on queues of every type (F12)": (r"F12 the prefetch",),
}

_TIME: Final = "shows only over time or under load"
_ELSEWHERE: Final = "needs an operator, a restart or another machine"
_PLUGIN: Final = "RabbitMQ has it in a plugin, or not at all"
_ASSUMED: Final = "is an assumption of clients, shown by their own suites"
NOT_SHOWN: Final[Mapping[str, str]] = {
    **dict.fromkeys(("B30", "C2", "C15", "C26", "H6", "P3", "Q19", "U10", "U11"), _TIME),
    **dict.fromkeys(("B31", "C7", "C12", "C14", "C24", "C25", "N1", "N2", "Q8", "Q15", "X8"), _ELSEWHERE),
    **dict.fromkeys(("E5", "E6", "E7", "E8", "E9", "E12", "E13", "F13", "F16", "F21", "F32", "F33", "T5"), _PLUGIN),
    **dict.fromkeys(("U1", "U2", "U3", "U4"), _ASSUMED),
}


def reason_for(name: str) -> str | None:
    """Return why a session differs: the first reason that says so."""
    for reason, patterns in REASONS.items():
        if any(re.match(pattern, name) for pattern in patterns):
            return reason
    return None
