"""What the nodes of a cluster must agree about.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def _name(length: int = 255) -> sa.String:
    return (
        sa.String(length)
        .with_variant(sa.VARBINARY(length), "mysql", "mariadb")
        .with_variant(sa.Text(collation="C"), "postgresql")
    )


def upgrade() -> None:
    # MySQL commits after each statement: after a crash in the midst of this it is there already.
    there = None if op.get_context().as_sql else sa.inspect(op.get_bind())
    if there is None or "TERMS" not in {column["name"] for column in there.get_columns("MB_NODE_HEARTBEAT")}:
        op.add_column("MB_NODE_HEARTBEAT", sa.Column("TERMS", _name(), nullable=False, server_default=""))
