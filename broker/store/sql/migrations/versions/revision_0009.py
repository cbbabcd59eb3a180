"""Users, what they may do, and the settings of virtual hosts.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
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
    _create_table(
        "MB_USER",
        sa.Column("USER_NAME", _name(), primary_key=True),
        sa.Column("PASSWORD_HASH", _name(1000), nullable=False),
        sa.Column("TAGS", _name(1000), nullable=False),
        sa.Column("LOOPBACK_ONLY", sa.Boolean, nullable=False),
        sa.Column("MAX_CONNECTIONS", sa.Integer, nullable=False),
        sa.Column("MAX_CHANNELS", sa.Integer, nullable=False),
    )
    _create_table(
        "MB_PERMISSION",
        sa.Column("USER_NAME", _name(), primary_key=True),
        sa.Column("VHOST", _name(), primary_key=True),
        sa.Column("CONFIGURE_PATTERN", _name(1000), nullable=False),
        sa.Column("WRITE_PATTERN", _name(1000), nullable=False),
        sa.Column("READ_PATTERN", _name(1000), nullable=False),
    )
    _create_table(
        "MB_TOPIC_PERMISSION",
        sa.Column("PERMISSION_ID", _ID, primary_key=True),
        sa.Column("PERMISSION_HASH", sa.String(64), nullable=False),
        sa.Column("USER_NAME", _name(), nullable=False),
        sa.Column("VHOST", _name(), nullable=False),
        sa.Column("EXCHANGE_NAME", _name(), nullable=False),
        sa.Column("WRITE_PATTERN", _name(1000), nullable=False),
        sa.Column("READ_PATTERN", _name(1000), nullable=False),
        sa.UniqueConstraint("PERMISSION_HASH", name="MB_TOPIC_PERMISSION_KEY"),
    )
    _create_table(
        "MB_VIRTUAL_HOST_SETTINGS",
        sa.Column("VHOST", _name(), primary_key=True),
        sa.Column("DESCRIPTION", _name(1000), nullable=False),
        sa.Column("TAGS", _name(1000), nullable=False),
        sa.Column("DEFAULT_QUEUE_TYPE", _name(), nullable=False),
        sa.Column("MAX_CONNECTIONS", sa.Integer, nullable=False),
        sa.Column("MAX_QUEUES", sa.Integer, nullable=False),
    )


def _create_table(name: str, *items: sa.schema.SchemaItem) -> None:
    # MySQL commits after each statement: after a crash in the midst of this some tables are there already.
    is_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    op.create_table(name, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB", if_not_exists=is_mysql)
