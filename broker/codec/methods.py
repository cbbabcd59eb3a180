"""Every method of AMQP 0-9-1, of RabbitMQ's extensions to it and of those that WSO2's clients use, by their numbers.

The annotations give the layout on the wire; the defaults are those of the specification. What a method does is in
`amqp/`.
"""

from __future__ import annotations

from typing import ClassVar

from broker.codec.field_table import EMPTY_TABLE
from broker.codec.method import Bit, Long, LongLong, LongStr, Method, Octet, Short, ShortStr, Table, method

# connection


@method(10, 10)
class ConnectionStart(Method):
    version_major: Octet = 0
    version_minor: Octet = 9
    server_properties: Table = EMPTY_TABLE
    mechanisms: LongStr = b"PLAIN"
    locales: LongStr = b"en_US"


@method(10, 11)
class ConnectionStartOk(Method):
    client_properties: Table = EMPTY_TABLE
    mechanism: ShortStr = "PLAIN"
    response: LongStr = b""
    locale: ShortStr = "en_US"


@method(10, 20)
class ConnectionSecure(Method):
    challenge: LongStr = b""


@method(10, 21)
class ConnectionSecureOk(Method):
    response: LongStr = b""


@method(10, 30)
class ConnectionTune(Method):
    channel_max: Short = 0
    frame_max: Long = 0
    heartbeat: Short = 0


@method(10, 31)
class ConnectionTuneOk(Method):
    channel_max: Short = 0
    frame_max: Long = 0
    heartbeat: Short = 0


@method(10, 40)
class ConnectionOpen(Method):
    virtual_host: ShortStr = "/"
    reserved_1: ShortStr = ""
    reserved_2: Bit = False


@method(10, 41)
class ConnectionOpenOk(Method):
    reserved_1: ShortStr = ""


@method(10, 50)
class ConnectionClose(Method):
    reply_code: Short = 0
    reply_text: ShortStr = ""
    class_id: Short = 0
    method_id: Short = 0


@method(10, 51)
class ConnectionCloseOk(Method):
    pass


@method(10, 60)
class ConnectionBlocked(Method):
    reason: ShortStr = ""


@method(10, 61)
class ConnectionUnblocked(Method):
    pass


@method(10, 70)
class ConnectionUpdateSecret(Method):
    new_secret: LongStr = b""
    reason: ShortStr = ""


@method(10, 71)
class ConnectionUpdateSecretOk(Method):
    pass


# channel


@method(20, 10)
class ChannelOpen(Method):
    reserved_1: ShortStr = ""


@method(20, 11)
class ChannelOpenOk(Method):
    reserved_1: LongStr = b""


@method(20, 20)
class ChannelFlow(Method):
    active: Bit = True


@method(20, 21)
class ChannelFlowOk(Method):
    active: Bit = True


@method(20, 40)
class ChannelClose(Method):
    reply_code: Short = 0
    reply_text: ShortStr = ""
    class_id: Short = 0
    method_id: Short = 0


@method(20, 41)
class ChannelCloseOk(Method):
    pass


# access: a class of AMQP 0-8 that old clients still send (contract H7)


@method(30, 10)
class AccessRequest(Method):
    realm: ShortStr = "/data"
    exclusive: Bit = False
    passive: Bit = True
    active: Bit = True
    write: Bit = True
    read: Bit = True


@method(30, 11)
class AccessRequestOk(Method):
    ticket: Short = 1


# exchange


@method(40, 10)
class ExchangeDeclare(Method):
    reserved_1: Short = 0
    exchange: ShortStr = ""
    type: ShortStr = "direct"
    passive: Bit = False
    durable: Bit = False
    auto_delete: Bit = False
    internal: Bit = False
    no_wait: Bit = False
    arguments: Table = EMPTY_TABLE


@method(40, 11)
class ExchangeDeclareOk(Method):
    pass


@method(40, 20)
class ExchangeDelete(Method):
    reserved_1: Short = 0
    exchange: ShortStr = ""
    if_unused: Bit = False
    no_wait: Bit = False


@method(40, 21)
class ExchangeDeleteOk(Method):
    pass


@method(40, 30)
class ExchangeBind(Method):
    reserved_1: Short = 0
    destination: ShortStr = ""
    source: ShortStr = ""
    routing_key: ShortStr = ""
    no_wait: Bit = False
    arguments: Table = EMPTY_TABLE


@method(40, 31)
class ExchangeBindOk(Method):
    pass


@method(40, 40)
class ExchangeUnbind(Method):
    reserved_1: Short = 0
    destination: ShortStr = ""
    source: ShortStr = ""
    routing_key: ShortStr = ""
    no_wait: Bit = False
    arguments: Table = EMPTY_TABLE


@method(40, 51)
class ExchangeUnbindOk(Method):
    pass


# These two are Qpid's, for the dialect of WSO2's clients.


@method(40, 22)
class ExchangeBound(Method):
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    queue: ShortStr = ""


@method(40, 23)
class ExchangeBoundOk(Method):
    reply_code: Short = 0
    reply_text: ShortStr = ""


# queue


@method(50, 10)
class QueueDeclare(Method):
    reserved_1: Short = 0
    queue: ShortStr = ""
    passive: Bit = False
    durable: Bit = False
    exclusive: Bit = False
    auto_delete: Bit = False
    no_wait: Bit = False
    arguments: Table = EMPTY_TABLE


@method(50, 11)
class QueueDeclareOk(Method):
    queue: ShortStr = ""
    message_count: Long = 0
    consumer_count: Long = 0


@method(50, 20)
class QueueBind(Method):
    reserved_1: Short = 0
    queue: ShortStr = ""
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    no_wait: Bit = False
    arguments: Table = EMPTY_TABLE


@method(50, 21)
class QueueBindOk(Method):
    pass


@method(50, 30)
class QueuePurge(Method):
    reserved_1: Short = 0
    queue: ShortStr = ""
    no_wait: Bit = False


@method(50, 31)
class QueuePurgeOk(Method):
    message_count: Long = 0


@method(50, 40)
class QueueDelete(Method):
    reserved_1: Short = 0
    queue: ShortStr = ""
    if_unused: Bit = False
    if_empty: Bit = False
    no_wait: Bit = False


@method(50, 41)
class QueueDeleteOk(Method):
    message_count: Long = 0


@method(50, 50)
class QueueUnbind(Method):
    reserved_1: Short = 0
    queue: ShortStr = ""
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    arguments: Table = EMPTY_TABLE


@method(50, 51)
class QueueUnbindOk(Method):
    pass


# basic


@method(60, 10)
class BasicQos(Method):
    prefetch_size: Long = 0
    prefetch_count: Short = 0
    # `global` is a keyword of Python
    global_: Bit = False


@method(60, 11)
class BasicQosOk(Method):
    pass


@method(60, 20)
class BasicConsume(Method):
    reserved_1: Short = 0
    queue: ShortStr = ""
    consumer_tag: ShortStr = ""
    no_local: Bit = False
    no_ack: Bit = False
    exclusive: Bit = False
    no_wait: Bit = False
    arguments: Table = EMPTY_TABLE


@method(60, 21)
class BasicConsumeOk(Method):
    consumer_tag: ShortStr = ""


@method(60, 30)
class BasicCancel(Method):
    consumer_tag: ShortStr = ""
    no_wait: Bit = False


@method(60, 31)
class BasicCancelOk(Method):
    consumer_tag: ShortStr = ""


@method(60, 40)
class BasicPublish(Method):
    has_content: ClassVar[bool] = True

    reserved_1: Short = 0
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    mandatory: Bit = False
    immediate: Bit = False


@method(60, 50)
class BasicReturn(Method):
    has_content: ClassVar[bool] = True

    reply_code: Short = 0
    reply_text: ShortStr = ""
    exchange: ShortStr = ""
    routing_key: ShortStr = ""


@method(60, 60)
class BasicDeliver(Method):
    has_content: ClassVar[bool] = True

    consumer_tag: ShortStr = ""
    delivery_tag: LongLong = 0
    redelivered: Bit = False
    exchange: ShortStr = ""
    routing_key: ShortStr = ""


@method(60, 70)
class BasicGet(Method):
    reserved_1: Short = 0
    queue: ShortStr = ""
    no_ack: Bit = False


@method(60, 71)
class BasicGetOk(Method):
    has_content: ClassVar[bool] = True

    delivery_tag: LongLong = 0
    redelivered: Bit = False
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    message_count: Long = 0


@method(60, 72)
class BasicGetEmpty(Method):
    reserved_1: ShortStr = ""


@method(60, 80)
class BasicAck(Method):
    delivery_tag: LongLong = 0
    multiple: Bit = False


@method(60, 90)
class BasicReject(Method):
    delivery_tag: LongLong = 0
    requeue: Bit = True


@method(60, 100)
class BasicRecoverAsync(Method):
    requeue: Bit = False


@method(60, 110)
class BasicRecover(Method):
    requeue: Bit = False


@method(60, 111)
class BasicRecoverOk(Method):
    pass


@method(60, 120)
class BasicNack(Method):
    delivery_tag: LongLong = 0
    multiple: Bit = False
    requeue: Bit = True


# confirm


@method(85, 10)
class ConfirmSelect(Method):
    no_wait: Bit = False


@method(85, 11)
class ConfirmSelectOk(Method):
    pass


# tx


@method(90, 10)
class TxSelect(Method):
    pass


@method(90, 11)
class TxSelectOk(Method):
    pass


@method(90, 20)
class TxCommit(Method):
    pass


@method(90, 21)
class TxCommitOk(Method):
    pass


@method(90, 30)
class TxRollback(Method):
    pass


@method(90, 31)
class TxRollbackOk(Method):
    pass


# dtx: Qpid's, for the dialect of WSO2's clients. The answers are those of X/Open XA.


@method(100, 10)
class DtxSelect(Method):
    pass


@method(100, 20)
class DtxStart(Method):
    format: Short = 0
    global_id: LongStr = b""
    branch_id: LongStr = b""
    join: Bit = False
    resume: Bit = False


@method(100, 21)
class DtxStartOk(Method):
    status: Short = 0


@method(100, 30)
class DtxEnd(Method):
    format: Short = 0
    global_id: LongStr = b""
    branch_id: LongStr = b""
    fail: Bit = False
    suspend: Bit = False


@method(100, 31)
class DtxEndOk(Method):
    status: Short = 0


@method(100, 40)
class DtxCommit(Method):
    format: Short = 0
    global_id: LongStr = b""
    branch_id: LongStr = b""
    one_phase: Bit = False


@method(100, 41)
class DtxCommitOk(Method):
    status: Short = 0


@method(100, 50)
class DtxForget(Method):
    format: Short = 0
    global_id: LongStr = b""
    branch_id: LongStr = b""


@method(100, 51)
class DtxForgetOk(Method):
    status: Short = 0


@method(100, 70)
class DtxPrepare(Method):
    format: Short = 0
    global_id: LongStr = b""
    branch_id: LongStr = b""


@method(100, 71)
class DtxPrepareOk(Method):
    status: Short = 0


@method(100, 80)
class DtxRecover(Method):
    pass


@method(100, 81)
class DtxRecoverOk(Method):
    xids: LongStr = b""


@method(100, 90)
class DtxRollback(Method):
    format: Short = 0
    global_id: LongStr = b""
    branch_id: LongStr = b""


@method(100, 91)
class DtxRollbackOk(Method):
    status: Short = 0


@method(100, 100)
class DtxSetTimeout(Method):
    format: Short = 0
    global_id: LongStr = b""
    branch_id: LongStr = b""
    seconds: Long = 0


@method(100, 101)
class DtxSetTimeoutOk(Method):
    status: Short = 0
