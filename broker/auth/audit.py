"""Who logged in, who was refused, and who changed what: events of the log that have stable names (ADR 54).

Each is a line of the log whose field `audit` has the name. `docs/audit.md` lists them for operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One kind of event."""

    name: str
    """Never changes. Where RabbitMQ's event exchange has such an event, it is its routing key."""
    sentence: str
    """What the line says."""
    fields: tuple[str, ...]
    """What is told beside that. Never a password, a hash, or the body of a message."""
    is_warning: bool = False


LOGGED_IN: Final = AuditEvent("user.authentication.success", "logged in", ("user", "mechanism"))
LOGIN_REFUSED: Final = AuditEvent(
    "user.authentication.failure", "login refused", ("user", "mechanism", "reason"), is_warning=True
)
CONNECTION_OPENED: Final = AuditEvent("connection.created", "connection opened", ("user", "vhost", "name"))
VHOST_REFUSED: Final = AuditEvent("vhost.refused", "virtual host refused", ("user", "vhost", "reason"), is_warning=True)
ACCESS_REFUSED: Final = AuditEvent("access.refused", "channel closed for an error", ("user", "channel", "reason"))

USER_CREATED: Final = AuditEvent("user.created", "user created", ("user", "tags"))
USER_CHANGED: Final = AuditEvent("user.changed", "user changed", ("user", "tags", "changed"))
USER_DELETED: Final = AuditEvent("user.deleted", "user deleted", ("user",))
PERMISSIONS_SET: Final = AuditEvent(
    "permission.created", "permissions set", ("user", "vhost", "configure", "write", "read")
)
PERMISSIONS_CLEARED: Final = AuditEvent("permission.deleted", "permissions cleared", ("user", "vhost"))
TOPIC_PERMISSIONS_SET: Final = AuditEvent(
    "topic.permission.created", "topic permissions set", ("user", "vhost", "exchange", "write", "read")
)
TOPIC_PERMISSIONS_CLEARED: Final = AuditEvent(
    "topic.permission.deleted", "topic permissions cleared", ("user", "vhost", "exchange")
)
VHOST_CREATED: Final = AuditEvent("vhost.created", "virtual host created", ("vhost",))
VHOST_CHANGED: Final = AuditEvent("vhost.changed", "virtual host changed", ("vhost", "changed"))
VHOST_DELETED: Final = AuditEvent("vhost.deleted", "virtual host deleted", ("vhost",))
POLICY_SET: Final = AuditEvent("policy.set", "policy set", ("vhost", "policy", "is_operator"))
POLICY_CLEARED: Final = AuditEvent("policy.cleared", "policy cleared", ("vhost", "policy", "is_operator"))
PARAMETER_SET: Final = AuditEvent("parameter.set", "parameter set", ("parameter",))
PARAMETER_CLEARED: Final = AuditEvent("parameter.cleared", "parameter cleared", ("parameter",))
DEFINITIONS_IMPORTED: Final = AuditEvent("definitions.imported", "definitions imported", ("changes", "left_out"))
DEFINITIONS_EXPORTED: Final = AuditEvent("definitions.exported", "definitions exported", ())
COMMAND_DONE: Final = AuditEvent("command.done", "administered", ("command",))
COMMAND_REFUSED: Final = AuditEvent("command.refused", "administration refused", ("command", "reason"))

QUEUE_CREATED: Final = AuditEvent("queue.created", "queue created", ("user", "vhost", "queue", "type"))
QUEUE_DELETED: Final = AuditEvent("queue.deleted", "queue deleted", ("user", "vhost", "queue", "messages"))
QUEUE_PURGED: Final = AuditEvent("queue.purged", "queue purged", ("user", "vhost", "queue", "messages"))
DEAD_LETTERS_MOVED: Final = AuditEvent(
    "dead.letters.moved", "dead letters moved", ("user", "vhost", "action", "messages", "left", "state")
)
MESSAGES_BROWSED: Final = AuditEvent("messages.browsed", "messages browsed", ("user", "vhost", "queue", "messages"))
EXCHANGE_CREATED: Final = AuditEvent("exchange.created", "exchange created", ("user", "vhost", "exchange", "type"))
EXCHANGE_DELETED: Final = AuditEvent("exchange.deleted", "exchange deleted", ("user", "vhost", "exchange"))


@dataclass(frozen=True, slots=True)
class Told:
    """An event that is to be logged once it has happened."""

    event: AuditEvent
    fields: dict[str, Any]

    def to(self, log: FilteringBoundLogger) -> None:
        """Log it."""
        tell(log, self.event, **self.fields)


def told(event: AuditEvent, **fields: Any) -> Told:
    """Return an event that is to be logged once it has happened."""
    return Told(event, fields)


def tell(log: FilteringBoundLogger, event: AuditEvent, **fields: Any) -> None:
    """Log an event with its fields, on a logger that is bound to the connection if a client is concerned."""
    if event.is_warning:
        log.warning(event.sentence, audit=event.name, **fields)
    else:
        log.info(event.sentence, audit=event.name, **fields)
