"""Policies, and parameters of the whole cluster.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
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
        "MB_POLICY",
        sa.Column("VHOST", _name(), primary_key=True),
        sa.Column("POLICY_NAME", _name(), primary_key=True),
        sa.Column("IS_OPERATOR", sa.Boolean, primary_key=True),
        sa.Column("PATTERN", _name(1000), nullable=False),
        sa.Column("APPLY_TO", _name(), nullable=False),
        sa.Column("PRIORITY", sa.BigInteger, nullable=False),
        sa.Column("DEFINITION", sa.LargeBinary, nullable=False),
    )
    _create_table(
        "MB_GLOBAL_PARAMETER",
        sa.Column("PARAMETER_NAME", _name(), primary_key=True),
        sa.Column("PARAMETER_VALUE", sa.LargeBinary, nullable=False),
    )


def _create_table(name: str, *items: sa.schema.SchemaItem) -> None:
    # MySQL commits after each statement: after a crash in the midst of this some tables are there already.
    is_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    op.create_table(name, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB", if_not_exists=is_mysql)
