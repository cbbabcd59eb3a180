"""A checksum for each message, and the table of those that are damaged.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # MySQL commits after each statement: after a crash in the midst of this some of it is there already.
    there = None if op.get_context().as_sql else sa.inspect(op.get_bind())
    if there is None or "CHECKSUM" not in {column["name"] for column in there.get_columns("MB_METADATA")}:
        op.add_column("MB_METADATA", sa.Column("CHECKSUM", sa.Integer))
    has_table = there is not None and there.has_table("MB_DAMAGED_MESSAGE")
    if not has_table:
        op.create_table(
            "MB_DAMAGED_MESSAGE",
            sa.Column("MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
            sa.Column("QUEUE_ID", sa.BigInteger, nullable=False),
            sa.Column("REASON", sa.String(255), nullable=False),
            sa.Column("TIME_STAMP", sa.BigInteger, nullable=False),
            mysql_engine="InnoDB",
            mariadb_engine="InnoDB",
        )
    if not (has_table and there is not None and there.get_indexes("MB_DAMAGED_MESSAGE")):
        op.create_index("MB_DAMAGED_MESSAGE_QUEUE_ID_INDEX", "MB_DAMAGED_MESSAGE", ["QUEUE_ID"])
