"""The index of message groups.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "MB_MESSAGE_GROUP",
        sa.Column(
            "MESSAGE_ID", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("QUEUE_ID", sa.BigInteger, nullable=False),
        sa.Column("GROUP_ID", sa.BigInteger, nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        if_not_exists=_is_mysql(),
    )
    rest = [] if op.get_context().dialect.name == "sqlite" else ["MESSAGE_ID"]
    _create_index("MB_MESSAGE_GROUP_INDEX", "MB_MESSAGE_GROUP", ["QUEUE_ID", "GROUP_ID", *rest])


# MySQL commits after each statement: after a crash in the midst of this some of it is there already.


def _create_index(name: str, table: str, columns: list[str]) -> None:
    if _is_mysql() and not op.get_context().as_sql:
        there = sa.inspect(op.get_bind()).get_indexes(table)
        if name in {index["name"] for index in there}:
            return
    op.create_index(name, table, columns)


def _is_mysql() -> bool:
    return op.get_context().dialect.name in ("mysql", "mariadb")
