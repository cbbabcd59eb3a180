"""Slots between nodes, topology as events, and what of it lives no longer than the cluster.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LONG = (1 << 24) - 1


def _name(length: int = 255) -> sa.String:
    return (
        sa.String(length)
        .with_variant(sa.VARBINARY(length), "mysql", "mariadb")
        .with_variant(sa.Text(collation="C"), "postgresql")
    )


def upgrade() -> None:
    _create_slots()
    _create_events()
    _extend_topology()


def _create_slots() -> None:
    _create_table(
        "MB_SLOT",
        sa.Column("START_MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
        sa.Column("END_MESSAGE_ID", sa.BigInteger, nullable=False),
        sa.Column("QUEUE_ID", sa.BigInteger, nullable=False),
        sa.Column("LANE", sa.SmallInteger, nullable=False),
        sa.Column("MESSAGE_COUNT", sa.BigInteger, nullable=False),
        sa.Column("MAYBE_DELIVERED", sa.Boolean, nullable=False),
        sa.Column("HAS_TRANSIENT", sa.Boolean, nullable=False),
        sa.Column("NODE_ID", _name()),
        sa.Column("INCARNATION", _name(36)),
    )
    _create_index("MB_SLOT_QUEUE_ID_INDEX", "MB_SLOT", ["QUEUE_ID", "LANE"])


def _create_events() -> None:
    _create_table(
        "MB_CLUSTER_EVENT",
        sa.Column("EVENT_ID", _ID, primary_key=True, autoincrement=False),
        sa.Column("NODE_ID", _name(), nullable=False),
        sa.Column("INCARNATION", _name(36), nullable=False),
        sa.Column("TOKEN", _name(36), nullable=False),
        sa.Column("PAYLOAD", sa.LargeBinary(_LONG), nullable=False),
        sa.Column("TIME_STAMP", sa.BigInteger, nullable=False),
    )
    _create_table(
        "MB_CLUSTER_EVENT_HEAD",
        sa.Column("ANCHOR", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("EVENT_ID", sa.BigInteger, nullable=False),
        sa.Column("TOKEN", _name(36), nullable=False),
    )
    _create_table(
        "MB_EVENT_CURSOR",
        sa.Column("NODE_ID", _name(), primary_key=True),
        sa.Column("INCARNATION", _name(36), nullable=False),
        sa.Column("EVENT_ID", sa.BigInteger, nullable=False),
        sa.Column("TOPOLOGY_HASH", _name(64), nullable=False),
    )
    head = sa.table("MB_CLUSTER_EVENT_HEAD", sa.column("ANCHOR"), sa.column("EVENT_ID"), sa.column("TOKEN"))
    literals: list[sa.ColumnElement[str]] = [sa.literal_column(value) for value in ("1", "0", "''")]
    op.execute(sa.insert(head).values(literals).prefix_with("IGNORE", dialect="mysql"))


def _extend_topology() -> None:
    for table in ("MB_EXCHANGE", "MB_QUEUE"):
        _add_column(table, sa.Column("DURABLE", sa.Boolean, nullable=False, server_default=sa.true()))
    _add_column("MB_QUEUE", sa.Column("NODE_ID", _name(), nullable=False, server_default=""))
    _add_column("MB_QUEUE", sa.Column("INCARNATION", _name(36), nullable=False, server_default=""))
    _create_table(
        "MB_SUBSCRIPTION",
        sa.Column("SUBSCRIPTION_ID", _ID, primary_key=True),
        sa.Column("QUEUE_ID", sa.BigInteger, nullable=False),
        sa.Column("NODE_ID", _name(), nullable=False),
        sa.Column("INCARNATION", _name(36), nullable=False),
        sa.Column("EXCLUSIVE", sa.Boolean, nullable=False),
        sa.UniqueConstraint("QUEUE_ID", "NODE_ID", "INCARNATION", name="MB_SUBSCRIPTION_KEY"),
    )


# MySQL commits after each statement: after a crash in the midst of this some of it is there already.


def _create_table(name: str, *items: sa.schema.SchemaItem) -> None:
    op.create_table(name, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB", if_not_exists=_is_mysql())


def _create_index(name: str, table: str, columns: list[str]) -> None:
    if _is_mysql() and not op.get_context().as_sql:
        there = sa.inspect(op.get_bind()).get_indexes(table)
        if name in {index["name"] for index in there}:
            return
    op.create_index(name, table, columns)


def _add_column(table: str, column: sa.Column[object]) -> None:
    if not op.get_context().as_sql:
        there = sa.inspect(op.get_bind()).get_columns(table)
        if column.name in {other["name"] for other in there}:
            return
    op.add_column(table, column)


def _is_mysql() -> bool:
    return op.get_context().dialect.name in ("mysql", "mariadb")
