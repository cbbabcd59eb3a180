"""What can go wrong, and what the peer is told about it.

The class of an error *is* its mapping to the wire: handlers raise, and `Connection` alone turns an error into a close.
"""

from __future__ import annotations

from enum import IntEnum


class ReplyCode(IntEnum):
    """Reply codes of AMQP 0-9-1 (contract G4, G5). The name is the first word of a reply text."""

    REPLY_SUCCESS = 200
    CONTENT_TOO_LARGE = 311
    NO_ROUTE = 312
    NO_CONSUMERS = 313
    CONNECTION_FORCED = 320
    INVALID_PATH = 402
    ACCESS_REFUSED = 403
    NOT_FOUND = 404
    RESOURCE_LOCKED = 405
    PRECONDITION_FAILED = 406
    INVALID_SELECTOR = 409
    """Of clients of JMS: the specification does not have it."""
    FRAME_ERROR = 501
    SYNTAX_ERROR = 502
    COMMAND_INVALID = 503
    CHANNEL_ERROR = 504
    UNEXPECTED_FRAME = 505
    RESOURCE_ERROR = 506
    NOT_ALLOWED = 530
    NOT_IMPLEMENTED = 540
    INTERNAL_ERROR = 541


class BrokerError(Exception):
    """Anything this broker raises on purpose."""


class AmqpError(BrokerError):
    """An error the client is told about. It closes the channel unless its class is a `ConnectionFault`."""

    reply_code = ReplyCode.INTERNAL_ERROR
    closes_connection = False

    @property
    def reply_text(self) -> str:
        """The text for the close, in RabbitMQ's form `CODE_NAME - explanation` (contract G1), at most 255 bytes."""
        return clip(f"{self.reply_code.name} - {self}", 255)


def clip(text: str, limit: int) -> str:
    """Return `text` cut to `limit` bytes of UTF-8, never inside a character; what UTF-8 cannot write becomes `?`."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


class ContentTooLarge(AmqpError):
    reply_code = ReplyCode.CONTENT_TOO_LARGE


class AccessRefused(AmqpError):
    reply_code = ReplyCode.ACCESS_REFUSED


class InvalidSelector(AmqpError):
    reply_code = ReplyCode.INVALID_SELECTOR


class NotFound(AmqpError):
    reply_code = ReplyCode.NOT_FOUND


class ResourceLocked(AmqpError):
    reply_code = ReplyCode.RESOURCE_LOCKED


class BranchNotAllowed(AmqpError):
    """A branch of a distributed transaction that is not what the method needs: its channel ends, as with Andes."""

    reply_code = ReplyCode.NOT_ALLOWED


class BranchStateInvalid(AmqpError):
    """A branch of a distributed transaction is in a state in which the method makes no sense."""

    reply_code = ReplyCode.COMMAND_INVALID


class PreconditionFailed(AmqpError):
    reply_code = ReplyCode.PRECONDITION_FAILED


class ConnectionFault(AmqpError):
    """An error after which the connection cannot go on."""

    closes_connection = True


class ConnectionForced(ConnectionFault):
    reply_code = ReplyCode.CONNECTION_FORCED


class InvalidPath(ConnectionFault):
    reply_code = ReplyCode.INVALID_PATH


class LoginRefused(ConnectionFault):
    reply_code = ReplyCode.ACCESS_REFUSED


class FrameFault(ConnectionFault):
    reply_code = ReplyCode.FRAME_ERROR


class SyntaxFault(ConnectionFault):
    reply_code = ReplyCode.SYNTAX_ERROR


class CommandInvalid(ConnectionFault):
    reply_code = ReplyCode.COMMAND_INVALID


class ChannelFault(ConnectionFault):
    reply_code = ReplyCode.CHANNEL_ERROR


class UnexpectedFrame(ConnectionFault):
    reply_code = ReplyCode.UNEXPECTED_FRAME


class ContentExpected(UnexpectedFrame):
    """Something else came in the place of a publish's content."""


class ResourceFault(ConnectionFault):
    reply_code = ReplyCode.RESOURCE_ERROR


class NotAllowed(ConnectionFault):
    reply_code = ReplyCode.NOT_ALLOWED


class NotImplementedFault(ConnectionFault):
    reply_code = ReplyCode.NOT_IMPLEMENTED


class InternalError(ConnectionFault):
    reply_code = ReplyCode.INTERNAL_ERROR


class StoreError(BrokerError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or cannot write now; the same call may succeed later."""


class StoreFull(StoreUnavailable):
    """The store has no room for new rows now; deletes may still succeed."""


class StoreUnsafe(StoreUnavailable):
    """The store would confirm less than was promised (`storeSafetyCheck` is `enforce`)."""


class StoreLocked(StoreError):
    """Another process holds the store."""


class StoreShared(StoreLocked):
    """A cluster uses the store, and this node is not to be a member."""


class BranchConflict(StoreError):
    """A branch to be prepared is prepared already, or one to be resolved is resolved: nothing was done.

    `digest` is that of its `BranchKey`.
    """

    def __init__(self, digest: str) -> None:
        super().__init__(f"the branch {digest} is not in the state that was expected")
        self.digest = digest


class CoordinationError(BrokerError):
    """An error between the nodes of a cluster."""


class Fenced(CoordinationError):
    """A newer coordinator has taken over: nothing was done (invariant I51)."""


class Evicted(CoordinationError):
    """This incarnation of the node is over: it owns no slots and must not write any more (invariant I54)."""


class StoreWentBack(Evicted):
    """A fail-over of the database has lost batches that this incarnation had committed: their confirms are void."""


class AdministrationError(BrokerError):
    """What an administrator asks for cannot be; one line says why."""


class DeletionProtected(AdministrationError):
    """A virtual host is protected from deletion."""

    def __init__(self, vhost: str) -> None:
        super().__init__(f"Refusing to delete virtual host '{vhost}' because it is protected from deletion")


class ConfigError(BrokerError):
    """A configuration value is wrong. The text names file, line, element and what was expected."""


class InvalidPasswordHash(BrokerError):
    """A stored password hash is of no form that this broker knows. The text names the form, never the hash."""
