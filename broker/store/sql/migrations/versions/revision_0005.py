"""Batches as rows of their own, and indexes for what is looked up by destination, source or owner.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "MB_NODE_BATCH",
        sa.Column("LANE", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("BATCH", sa.BigInteger, primary_key=True, autoincrement=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        if_not_exists=_is_mysql(),
    )
    _create_index("MB_BINDING_SOURCE_INDEX", "MB_BINDING", ["VHOST", "SOURCE"])
    _create_index("MB_BINDING_DESTINATION_INDEX", "MB_BINDING", ["VHOST", "DESTINATION"])
    _create_index("MB_SLOT_OWNER_INDEX", "MB_SLOT", ["NODE_ID", "INCARNATION"])


# MySQL commits after each statement: after a crash in the midst of this some of it is there already.


def _create_index(name: str, table: str, columns: list[str]) -> None:
    if _is_mysql() and not op.get_context().as_sql:
        there = sa.inspect(op.get_bind()).get_indexes(table)
        if name in {index["name"] for index in there}:
            return
    op.create_index(name, table, columns)


def _is_mysql() -> bool:
    return op.get_context().dialect.name in ("mysql", "mariadb")
