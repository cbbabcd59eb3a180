"""Streams.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def _name(length: int = 255) -> sa.String:
    return (
        sa.String(length)
        .with_variant(sa.VARBINARY(length), "mysql", "mariadb")
        .with_variant(sa.Text(collation="C"), "postgresql")
    )


def upgrade() -> None:
    _create_table(
        "MB_STREAM_SEGMENT",
        sa.Column("QUEUE_ID", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("FIRST_OFFSET", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("PART", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("MESSAGE_COUNT", sa.Integer, nullable=False),
        sa.Column("LAST_TIME", sa.BigInteger, nullable=False),
        sa.Column("POSITION", sa.BigInteger, nullable=False),
        sa.Column("OCTETS", sa.Integer, nullable=False),
        sa.Column("CHECKSUM", sa.Integer, nullable=False),
        sa.Column("SEGMENT_CONTENT", sa.LargeBinary(65_500), nullable=False),
    )
    _create_table(
        "MB_STREAM_PLACE",
        sa.Column("QUEUE_ID", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("CONSUMER_NAME", _name(), primary_key=True),
        sa.Column("NEXT_OFFSET", sa.BigInteger, nullable=False),
    )


def _create_table(name: str, *items: sa.schema.SchemaItem) -> None:
    # MySQL commits after each statement: after a crash in the midst of this some tables are there already.
    is_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    op.create_table(name, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB", if_not_exists=is_mysql)
