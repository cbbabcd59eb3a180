"""The table of messages that expire by their own property.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # MySQL commits after each statement: after a crash in the midst of this some of it is there already.
    there = None if op.get_context().as_sql else sa.inspect(op.get_bind())
    has_table = there is not None and there.has_table("MB_EXPIRATION_DATA")
    if not has_table:
        op.create_table(
            "MB_EXPIRATION_DATA",
            sa.Column("MESSAGE_ID", _ID, primary_key=True, autoincrement=False),
            sa.Column("QUEUE_ID", sa.BigInteger, nullable=False),
            sa.Column("EXPIRATION_TIME", sa.BigInteger, nullable=False),
            mysql_engine="InnoDB",
            mariadb_engine="InnoDB",
        )
    if not (has_table and there is not None and there.get_indexes("MB_EXPIRATION_DATA")):
        is_sqlite = op.get_context().dialect.name == "sqlite"
        columns = ["QUEUE_ID", "EXPIRATION_TIME"] if is_sqlite else ["QUEUE_ID", "EXPIRATION_TIME", "MESSAGE_ID"]
        op.create_index("MB_EXPIRATION_DATA_DUE_INDEX", "MB_EXPIRATION_DATA", columns)
