"""The handlers of dtx.*: branches of distributed transactions, as WSO2's broker serves them (docs/jms.md).

What the answers mean is that of X/Open XA. In other virtual hosts the methods are unknown.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from broker.amqp.branch_work import commit_at_once, prepare, refuse_prepared, resolve
from broker.amqp.branches import Branch, BranchSession
from broker.amqp.channel import Channel
from broker.amqp.java_xids import LARGEST_HEAD, LARGEST_XID, serialized
from broker.codec import methods as amqp
from broker.codec.method import Method
from broker.errors import (
    BranchNotAllowed,
    BranchStateInvalid,
    CommandInvalid,
    NotImplementedFault,
    PreconditionFailed,
    SyntaxFault,
)
from broker.ports.branches import BranchKey, Xid

_CLASS: Final = 100
_LONGEST: Final = 64
"""Octets of a global transaction id and of a branch qualifier (X/Open XA, MAXGTRIDSIZE, MAXBQUALSIZE)."""


class Status(IntEnum):
    """The answers: those that `javax.transaction.xa` knows as XA_OK and XA_RB… ."""

    OK = 0
    ROLLBACK = 1
    """The branch was rolled back."""
    TIMEOUT = 2
    """The branch was rolled back, because its time was over."""


def handler_of(channel: Channel, kind: type[Method]) -> Any:
    """Return the handler of a method that only some virtual hosts have, or raise what refuses it."""
    if kind.index >> 16 == _CLASS and not channel.vhost.dialect.has_distributed_transactions:
        raise NotImplementedFault(f"unknown method {kind.index >> 16},{kind.index & 0xFFFF}")
    handler = _HANDLERS.get(kind)
    if handler is None:
        raise CommandInvalid("unimplemented method")
    return handler


def _key(channel: Channel, method: Any) -> BranchKey:
    if max(len(method.global_id), len(method.branch_id)) > _LONGEST:
        raise SyntaxFault(f"{method.name}: more than {_LONGEST} octets of a global id or branch id")
    return BranchKey(channel.vhost.name, Xid(method.format, method.global_id, method.branch_id))


def _session(channel: Channel) -> BranchSession:
    if channel.dtx is None:
        raise BranchNotAllowed("the channel has not selected distributed transactions")
    return channel.dtx


def on_dtx_select(channel: Channel, method: amqp.DtxSelect) -> None:
    if channel.dtx is not None:
        return
    if channel.publisher.transaction is not None or channel.publisher.confirms is not None:
        raise PreconditionFailed("cannot switch from tx or confirm to dtx mode")
    branches = channel.connection.shared.branches
    channel.dtx = branches.select(channel.vhost.name, channel.publisher, channel.deliveries)


async def on_dtx_start(channel: Channel, method: amqp.DtxStart) -> None:
    key = _key(channel, method)
    session = _session(channel)
    if not (method.join or method.resume):
        await refuse_prepared(channel.connection.shared.branch_store, key)
    if channel.is_closing:
        return
    session.start(key, join=method.join, resume=method.resume)
    channel.send(amqp.DtxStartOk(Status.OK))


def on_dtx_end(channel: Channel, method: amqp.DtxEnd) -> None:
    branch = _session(channel).end(_key(channel, method), fail=method.fail, suspend=method.suspend)
    channel.update_direct()
    channel.send(amqp.DtxEndOk(_status(branch)))


def _status(branch: Branch) -> Status:
    if branch.has_expired:
        return Status.TIMEOUT
    return Status.ROLLBACK if branch.has_failed else Status.OK


async def on_dtx_prepare(channel: Channel, method: amqp.DtxPrepare) -> None:
    _session(channel)
    shared, key = channel.connection.shared, _key(channel, method)
    branch = shared.branches.take_finished(key)
    if branch is None:
        raise BranchStateInvalid("no such branch")
    status = _status(branch)
    branch.is_busy = True
    try:
        if status is Status.OK and not await prepare(channel.broker, branch, shared.branches.max_octets):
            status = Status.ROLLBACK
    finally:
        shared.branches.drop(branch)
    channel.send(amqp.DtxPrepareOk(status))


async def on_dtx_commit(channel: Channel, method: amqp.DtxCommit) -> None:
    _session(channel)
    shared, key = channel.connection.shared, _key(channel, method)
    branch = shared.branches.take_finished(key)
    if branch is None:
        if method.one_phase and await shared.branch_store.read_branch(key) is not None:
            raise BranchStateInvalid("the branch is prepared")
        await resolve(channel.broker, shared.branch_store, channel.vhost, key, shared.next_turn, is_commit=True)
        channel.send(amqp.DtxCommitOk(Status.OK))
        return
    status = _status(branch)
    if status is Status.OK and not method.one_phase:
        raise BranchStateInvalid("the branch is not prepared")
    branch.is_busy = True
    try:
        if status is Status.OK and not await commit_at_once(channel.broker, branch, shared.next_turn):
            status = Status.ROLLBACK
    finally:
        shared.branches.drop(branch)
    channel.send(amqp.DtxCommitOk(status))


async def on_dtx_rollback(channel: Channel, method: amqp.DtxRollback) -> None:
    _session(channel)
    shared, key = channel.connection.shared, _key(channel, method)
    branch = shared.branches.take_finished(key)
    status = Status.OK
    if branch is None:
        await resolve(channel.broker, shared.branch_store, channel.vhost, key, shared.next_turn, is_commit=False)
    else:
        status = Status.TIMEOUT if branch.has_expired else Status.OK
        branch.roll_back()
        shared.branches.drop(branch)
    channel.send(amqp.DtxRollbackOk(status))


async def on_dtx_forget(channel: Channel, method: amqp.DtxForget) -> None:
    """No branch is ever decided here without its transaction manager, so there is none to be forgotten."""
    _session(channel)
    shared, key = channel.connection.shared, _key(channel, method)
    if key in shared.branches.by_key or await shared.branch_store.read_branch(key) is not None:
        raise BranchStateInvalid("the branch was not decided heuristically")
    raise BranchNotAllowed("no such branch")


async def on_dtx_recover(channel: Channel, method: amqp.DtxRecover) -> None:
    """Tell which branches of the virtual host are prepared: as many as fit into one frame."""
    _session(channel)
    most = (channel.output.frame_max - LARGEST_HEAD) // LARGEST_XID
    xids = await channel.connection.shared.branch_store.prepared_xids(channel.vhost.name, most)
    channel.send(amqp.DtxRecoverOk(serialized(xids)))


def on_dtx_set_timeout(channel: Channel, method: amqp.DtxSetTimeout) -> None:
    _session(channel)
    branches = channel.connection.shared.branches
    branches.set_timeout(branches.find(_key(channel, method)), method.seconds)
    channel.send(amqp.DtxSetTimeoutOk(Status.OK))


_HANDLERS: Final[dict[type[Method], Any]] = {
    amqp.DtxSelect: on_dtx_select,
    amqp.DtxStart: on_dtx_start,
    amqp.DtxEnd: on_dtx_end,
    amqp.DtxCommit: on_dtx_commit,
    amqp.DtxForget: on_dtx_forget,
    amqp.DtxPrepare: on_dtx_prepare,
    amqp.DtxRecover: on_dtx_recover,
    amqp.DtxRollback: on_dtx_rollback,
    amqp.DtxSetTimeout: on_dtx_set_timeout,
}
