"""Messages, topology and nodes of a single-node store.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _name(length: int = 255) -> sa.String:
    return (
        sa.String(length)
        .with_variant(sa.VARBINARY(length), "mysql", "mariadb")
        .with_variant(sa.Text(collation="C"), "postgresql")
    )


_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LONG = (1 << 24) - 1


def upgrade() -> None:
    _create_topology()
    _create_messages()
    _create_nodes()


def _create_table(name: str, *items: sa.schema.SchemaItem) -> None:
    # MySQL commits after each statement: after a crash in the midst of a first start some tables are there already.
    op.create_table(name, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB", if_not_exists=_is_mysql())


def _create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    if _is_mysql() and not op.get_context().as_sql:
        there = sa.inspect(op.get_bind()).get_indexes(table)
        if name in {index["name"] for index in there}:
            return
    op.create_index(name, table, columns, **options)


def _is_mysql() -> bool:
    return op.get_context().dialect.name in ("mysql", "mariadb")


def _create_topology() -> None:
    _create_table("MB_VIRTUAL_HOST", sa.Column("VHOST", _name(), primary_key=True))
    _create_table(
        "MB_EXCHANGE",
        sa.Column("VHOST", _name(), primary_key=True),
        sa.Column("EXCHANGE_NAME", _name(), primary_key=True),
        sa.Column("EXCHANGE_TYPE", _name(), nullable=False),
        sa.Column("AUTO_DELETE", sa.Boolean, nullable=False),
        sa.Column("INTERNAL", sa.Boolean, nullable=False),
        sa.Column("ARGUMENTS", sa.LargeBinary(_LONG), nullable=False),
    )
    _create_table(
        "MB_QUEUE",
        sa.Column("QUEUE_ID", _ID, primary_key=True, autoincrement=False),
        sa.Column("VHOST", _name(), nullable=False),
        sa.Column("QUEUE_NAME", _name(), nullable=False),
        sa.Column("EXCLUSIVE", sa.Boolean, nullable=False),
        sa.Column("AUTO_DELETE", sa.Boolean, nullable=False),
        sa.Column("ARGUMENTS", sa.LargeBinary(_LONG), nullable=False),
        sa.UniqueConstraint("VHOST", "QUEUE_NAME", name="MB_QUEUE_NAME_KEY"),
    )
    _create_table(
        "MB_BINDING",
        sa.Column("BINDING_ID", _ID, primary_key=True),
        sa.Column("BINDING_HASH", sa.String(64), nullable=False),
        sa.Column("VHOST", _name(), nullable=False),
        sa.Column("SOURCE", _name(), nullable=False),
        sa.Column("DESTINATION_KIND", sa.String(8), nullable=False),
        sa.Column("DESTINATION", _name(), nullable=False),
        sa.Column("ROUTING_KEY", _name(), nullable=False),
        sa.Column("ARGUMENTS", sa.LargeBinary(_LONG), nullable=False),
        sa.UniqueConstraint("BINDING_HASH", name="MB_BINDING_HASH_KEY"),
    )


def _create_messages() -> None:
    _create_table(
        "MB_METADATA",
        sa.Column("MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
        sa.Column("QUEUE_ID", sa.BigInteger, nullable=False),
        sa.Column("CONTENT_ID", sa.BigInteger),
        sa.Column("REDELIVERED", sa.SmallInteger, nullable=False),
        sa.Column("MESSAGE_METADATA", sa.LargeBinary(_LONG), nullable=False),
        sa.Column("MESSAGE_CONTENT", sa.LargeBinary(65_500)),
    )
    is_sqlite = op.get_context().dialect.name == "sqlite"
    by_queue = ["QUEUE_ID"] if is_sqlite else ["QUEUE_ID", "MESSAGE_ID"]
    _create_index("MB_METADATA_QUEUE_ID_INDEX", "MB_METADATA", by_queue)
    has_content = sa.column("CONTENT_ID").is_not(None)
    _create_index(
        "MB_METADATA_CONTENT_ID_INDEX",
        "MB_METADATA",
        ["CONTENT_ID"],
        sqlite_where=has_content,
        postgresql_where=has_content,
    )
    _create_table(
        "MB_CONTENT",
        sa.Column("MESSAGE_ID", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("CONTENT_OFFSET", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("MESSAGE_CONTENT", sa.LargeBinary(65_500), nullable=False),
    )
    if op.get_context().dialect.name == "postgresql":
        for table in ("MB_METADATA", "MB_CONTENT"):
            op.execute(f'ALTER TABLE "{table}" ALTER COLUMN "MESSAGE_CONTENT" SET STORAGE EXTERNAL')


def _create_nodes() -> None:
    _create_table(
        "MB_NODE",
        sa.Column("NODE_ID", _name(), primary_key=True),
        sa.Column("LANE", sa.SmallInteger, nullable=False),
        sa.Column("STATE", sa.String(16), nullable=False),
        sa.UniqueConstraint("LANE", name="MB_NODE_LANE_KEY"),
    )
    _create_table(
        "MB_NODE_TO_LAST_PUBLISHED_ID",
        sa.Column("NODE_ID", _name(), primary_key=True),
        sa.Column("MESSAGE_ID", sa.BigInteger, nullable=False),
    )
    _create_table(
        "MB_MSG_STORE_STATUS",
        sa.Column("NODE_ID", _name(), primary_key=True),
        sa.Column("TIME_STAMP", sa.BigInteger, nullable=False),
    )
    _create_table(
        "MB_SEQUENCE",
        sa.Column("NAME", _name(64), primary_key=True),
        sa.Column("NEXT_VALUE", sa.BigInteger, nullable=False),
    )
