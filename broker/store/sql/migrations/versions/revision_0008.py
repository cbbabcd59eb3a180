"""The priority of a node's consumers of a queue that has a single active one.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # MySQL commits after each statement: after a crash in the midst of this it is there already.
    there = None if op.get_context().as_sql else sa.inspect(op.get_bind())
    if there is None or "PRIORITY" not in {column["name"] for column in there.get_columns("MB_SUBSCRIPTION")}:
        op.add_column("MB_SUBSCRIPTION", sa.Column("PRIORITY", sa.BigInteger, nullable=False, server_default="0"))
