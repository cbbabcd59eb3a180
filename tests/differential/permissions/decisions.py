"""Which methods need no permission, and why; and why answers differ from RabbitMQ's. Both lists are reviewed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from broker.codec import methods as amqp
from broker.codec.method import Method

_LOGIN: Final = "the login comes before any permission"
_PROTOCOL: Final = "is about the channel or the connection alone"
_OWN: Final = "is about messages and consumers that the channel has already"
_ANSWER: Final = "answers the server"

NEED_NOTHING: Final[Mapping[type[Method], str]] = {
    **dict.fromkeys((amqp.ConnectionStartOk, amqp.ConnectionSecureOk, amqp.ConnectionTuneOk), _LOGIN),
    amqp.ConnectionOpen: "needs permissions in the virtual host, of which all may be empty: otherwise it is 530",
    **dict.fromkeys((amqp.ConnectionUpdateSecret, amqp.ConnectionClose), _PROTOCOL),
    **dict.fromkeys((amqp.ChannelOpen, amqp.ChannelFlow, amqp.ChannelClose, amqp.BasicQos), _PROTOCOL),
    **dict.fromkeys((amqp.ConnectionCloseOk, amqp.ChannelFlowOk, amqp.ChannelCloseOk, amqp.BasicCancelOk), _ANSWER),
    amqp.ExchangeBound: "tells what is bound, as a passive declaration does, in virtual hosts with the dialect `wso2`",
    amqp.AccessRequest: "gives the ticket 1, which means nothing",
    **dict.fromkeys((amqp.BasicCancel, amqp.BasicAck, amqp.BasicNack, amqp.BasicReject), _OWN),
    **dict.fromkeys((amqp.BasicRecover, amqp.BasicRecoverAsync), _OWN),
    **dict.fromkeys((amqp.ConfirmSelect, amqp.TxSelect, amqp.TxCommit, amqp.TxRollback), _PROTOCOL),
}
"""All others are refused to a user without permissions."""

_UNKNOWN_TYPE: Final = "an unknown type is 406, as from RabbitMQ 4 on; RabbitMQ 3.10 closes the connection with 503"
DIFFERENCES: Final[Mapping[str, str]] = {
    "exchange.declare of an unknown type (exchange)": _UNKNOWN_TYPE,
    "exchange.declare of one that is there as of an unknown type (exchange)": _UNKNOWN_TYPE,
    "queue.declare by its name (server-named queue)": (
        "a queue that is there may be declared again whatever its name is (0-9-1, queue.declare); RabbitMQ refuses"
        " names that begin with `amq.`"
    ),
}
"""Why the answers to a case differ."""

_PERMISSION: Final = re.compile(r"(?:configure|write|read) (?=access to (?:queue|exchange|topic) )")


def without_permission(answer: str) -> str:
    """Return an answer without the name of the permission that is missing: RabbitMQ names it only from version 4 on."""
    return _PERMISSION.sub("", answer)
