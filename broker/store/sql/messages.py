"""The rare deletes of messages: plain functions over a connection, for every dialect.

Knows SQLAlchemy Core; knows no driver. Hot statements are a dialect's own business. The caller holds the transaction.
"""

from __future__ import annotations

from itertools import islice

from sqlalchemy import ColumnElement, Connection, delete, exists, select

from broker.store.sql.schema import CONTENT, METADATA

_IDS_PER_STATEMENT = 500


def delete_queue_messages(connection: Connection, queue_id: int) -> None:
    """Delete every message of a queue, under either sign of its id, and what content only they named."""
    _delete_messages(connection, METADATA.c.queue_id.in_((queue_id, -queue_id)))


def delete_transient_messages(connection: Connection) -> None:
    """Delete what must not survive a restart: the rows under negative queue ids."""
    _delete_messages(connection, METADATA.c.queue_id < 0)


def _delete_messages(connection: Connection, condition: ColumnElement[bool]) -> None:
    named = select(METADATA.c.content_id).where(condition, METADATA.c.content_id.is_not(None)).distinct()
    content_ids = iter(connection.scalars(named).all())
    connection.execute(delete(METADATA).where(condition))
    is_named = exists().where(METADATA.c.content_id == CONTENT.c.message_id)
    while part := list(islice(content_ids, _IDS_PER_STATEMENT)):
        connection.execute(delete(CONTENT).where(CONTENT.c.message_id.in_(part), ~is_named))
