"""Which handler serves which method on a channel, and the handlers of channel.*, access.*, confirm.* and tx.*.

A handler raises what is wrong and never sends a close. One that must wait for a port returns a coroutine: the channel's
later frames wait for it in order, other channels go on.
"""

from __future__ import annotations

from typing import Any, Final

from broker.amqp import basic_methods as basic
from broker.amqp import topology_methods as topology
from broker.amqp import wso2_methods as wso2
from broker.amqp.channel import Channel
from broker.amqp.commit import commit
from broker.amqp.context import Waiting
from broker.amqp.dtx_methods import handler_of as dtx_handler
from broker.amqp.refusals import REFUSALS
from broker.codec import methods as amqp
from broker.codec.constants import FRAME_METHOD
from broker.codec.method import Method, kind_of
from broker.errors import ChannelFault, UnexpectedFrame

_PUBLISH: Final = amqp.BasicPublish.index


def handle_method(channel: Channel, frame_type: int, payload: bytes) -> Waiting | None:
    """Handle one frame outside of content; what is returned must be awaited before the next one."""
    if frame_type != FRAME_METHOD:
        raise UnexpectedFrame("expected method frame, got non method frame instead")
    if int.from_bytes(payload[:4], "big") == _PUBLISH:
        channel.begin_content(payload[4:])
        return None
    kind = kind_of(payload)
    handler = HANDLERS.get(kind) or dtx_handler(channel, kind)
    method = kind.decode_arguments(payload, 4, len(payload))
    refusals = REFUSALS.get(channel.connection.profile.name)
    if refusals is not None and (refusal := refusals.get(kind)) is not None:
        refusal(channel, method)
    waiting: Waiting | None = handler(channel, method)
    return waiting


def on_channel_open(channel: Channel, method: amqp.ChannelOpen) -> None:
    raise ChannelFault("second 'channel.open' seen")


def on_channel_flow(channel: Channel, method: amqp.ChannelFlow) -> None:
    channel.deliveries.is_flowing = method.active
    channel.send(amqp.ChannelFlowOk(method.active))
    channel.resume_later()


def on_channel_flow_ok(channel: Channel, method: amqp.ChannelFlowOk) -> None:
    if channel.flow is not None:
        channel.flow.on_answer(method.active)


def on_channel_close(channel: Channel, method: amqp.ChannelClose) -> None:
    channel.close()
    channel.send(amqp.ChannelCloseOk())


def on_ignored(channel: Channel, method: Method) -> None:
    """A reply nobody waits for."""


def on_access_request(channel: Channel, method: amqp.AccessRequest) -> None:
    channel.send(amqp.AccessRequestOk(1))


def on_confirm_select(channel: Channel, method: amqp.ConfirmSelect) -> None:
    channel.select_confirms()
    if not method.no_wait:
        channel.send(amqp.ConfirmSelectOk())


def on_tx_select(channel: Channel, method: amqp.TxSelect) -> None:
    channel.select_transaction()
    channel.send(amqp.TxSelectOk())


async def on_tx_commit(channel: Channel, method: amqp.TxCommit) -> None:
    shared = channel.connection.shared
    await commit(
        channel.broker,
        channel.output,
        channel.publisher,
        channel.deliveries,
        channel.transaction,
        next_turn=shared.next_turn,
        room=shared.room,
    )
    channel.send(amqp.TxCommitOk())


def on_tx_rollback(channel: Channel, method: amqp.TxRollback) -> None:
    channel.transaction.take()
    channel.send(amqp.TxRollbackOk())


HANDLERS: Final[dict[type[Method], Any]] = {
    amqp.ChannelOpen: on_channel_open,
    amqp.ChannelFlow: on_channel_flow,
    amqp.ChannelFlowOk: on_channel_flow_ok,
    amqp.ChannelClose: on_channel_close,
    amqp.ChannelCloseOk: on_ignored,
    amqp.AccessRequest: on_access_request,
    amqp.ExchangeDeclare: topology.on_exchange_declare,
    amqp.ExchangeDelete: topology.on_exchange_delete,
    amqp.ExchangeBind: topology.on_exchange_bind,
    amqp.ExchangeUnbind: topology.on_exchange_unbind,
    amqp.ExchangeBound: wso2.on_exchange_bound,
    amqp.QueueDeclare: topology.on_queue_declare,
    amqp.QueueBind: topology.on_queue_bind,
    amqp.QueueUnbind: topology.on_queue_unbind,
    amqp.QueuePurge: topology.on_queue_purge,
    amqp.QueueDelete: topology.on_queue_delete,
    amqp.BasicQos: basic.on_basic_qos,
    amqp.BasicConsume: basic.on_basic_consume,
    amqp.BasicCancel: basic.on_basic_cancel,
    amqp.BasicCancelOk: on_ignored,
    amqp.BasicGet: basic.on_basic_get,
    amqp.BasicAck: basic.on_basic_ack,
    amqp.BasicReject: basic.on_basic_reject,
    amqp.BasicNack: basic.on_basic_nack,
    amqp.BasicRecover: basic.on_basic_recover,
    amqp.BasicRecoverAsync: basic.on_basic_recover_async,
    amqp.ConfirmSelect: on_confirm_select,
    amqp.TxSelect: on_tx_select,
    amqp.TxCommit: on_tx_commit,
    amqp.TxRollback: on_tx_rollback,
}
