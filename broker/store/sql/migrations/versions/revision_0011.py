"""Prepared branches of distributed transactions.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
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
        "MB_DTX_BRANCH",
        sa.Column("BRANCH_KEY", sa.String(64), primary_key=True),
        sa.Column("VHOST", _name(), nullable=False),
        sa.Column("FORMAT_CODE", sa.Integer, nullable=False),
        sa.Column("GLOBAL_ID", sa.LargeBinary(64), nullable=False),
        sa.Column("BRANCH_ID", sa.LargeBinary(64), nullable=False),
    )
    _create_index("MB_DTX_BRANCH_VHOST_INDEX", "MB_DTX_BRANCH", ["VHOST", "BRANCH_KEY"])
    _create_table(
        "MB_DTX_BRANCH_CONTENT",
        sa.Column("BRANCH_KEY", sa.String(64), primary_key=True),
        sa.Column("CONTENT_OFFSET", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("BRANCH_CONTENT", sa.LargeBinary(65_500), nullable=False),
    )


def _create_table(name: str, *items: sa.schema.SchemaItem) -> None:
    # MySQL commits after each statement: after a crash in the midst of this some tables are there already.
    op.create_table(name, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB", if_not_exists=_is_mysql())


def _create_index(name: str, table: str, columns: list[str]) -> None:
    if _is_mysql() and not op.get_context().as_sql:
        there = sa.inspect(op.get_bind()).get_indexes(table)
        if name in {index["name"] for index in there}:
            return
    op.create_index(name, table, columns)


def _is_mysql() -> bool:
    return op.get_context().dialect.name in ("mysql", "mariadb")
