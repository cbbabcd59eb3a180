"""The coordinator's lease and fence, the nodes' heartbeats, and the timeline of members.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _name(length: int = 255) -> sa.String:
    return (
        sa.String(length)
        .with_variant(sa.VARBINARY(length), "mysql", "mariadb")
        .with_variant(sa.Text(collation="C"), "postgresql")
    )


def upgrade() -> None:
    _create_coordinator()
    _create_members()


def _create_coordinator() -> None:
    _create_table(
        "MB_COORDINATOR_HEARTBEAT",
        sa.Column("ANCHOR", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("EPOCH", sa.BigInteger, nullable=False),
        sa.Column("BEAT", sa.BigInteger, nullable=False),
        sa.Column("TERM", _name(36), nullable=False),
        sa.Column("NODE_ID", _name()),
        sa.Column("LAST_HEARTBEAT", sa.BigInteger, nullable=False),
        sa.Column("THRIFT_HOST", _name()),
        sa.Column("THRIFT_PORT", sa.Integer),
    )
    _create_table(
        "MB_COORDINATOR_FENCE",
        sa.Column("ANCHOR", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("EPOCH", sa.BigInteger, nullable=False),
        sa.Column("TERM", _name(36), nullable=False),
        sa.Column("SEQUENCE", sa.BigInteger, nullable=False),
    )
    _insert_row("MB_COORDINATOR_HEARTBEAT", "BEAT", "LAST_HEARTBEAT")
    _insert_row("MB_COORDINATOR_FENCE", "SEQUENCE")


def _create_members() -> None:
    _create_table(
        "MB_NODE_HEARTBEAT",
        sa.Column("NODE_ID", _name(), primary_key=True),
        sa.Column("INCARNATION", _name(36), nullable=False),
        sa.Column("FENCE", sa.BigInteger, nullable=False),
        sa.Column("BEAT", sa.BigInteger, nullable=False),
        sa.Column("STATE", sa.String(16), nullable=False),
        sa.Column("LAST_HEARTBEAT", sa.BigInteger, nullable=False),
        sa.Column("CLUSTER_AGENT_HOST", _name(), nullable=False),
        sa.Column("CLUSTER_AGENT_PORT", sa.Integer, nullable=False),
    )
    _create_table(
        "MB_MEMBERSHIP",
        sa.Column("EVENT_ID", _ID, primary_key=True),
        sa.Column("NODE_ID", _name()),
        sa.Column("CHANGE_TYPE", sa.SmallInteger, nullable=False),
        sa.Column("CHANGED_MEMBER_ID", _name(), nullable=False),
        sa.Column("INCARNATION", _name(36), nullable=False),
        sa.Column("TIME_STAMP", sa.BigInteger, nullable=False),
    )


def _create_table(name: str, *items: sa.schema.SchemaItem) -> None:
    # MySQL commits after each statement: after a crash in the midst of this some tables, and rows, are there already.
    is_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    op.create_table(name, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB", if_not_exists=is_mysql)


def _insert_row(name: str, *counters: str) -> None:
    """Insert the one row of a lease that nobody ever held."""
    columns = ("ANCHOR", "EPOCH", "TERM", *counters)
    values = ("1", "0", "''", *("0" for _ in counters))
    target = sa.table(name, *(sa.column(column) for column in columns))
    literals: list[sa.ColumnElement[str]] = [sa.literal_column(value) for value in values]
    op.execute(sa.insert(target).values(literals).prefix_with("IGNORE", dialect="mysql"))
