"""The number of a node's last batch, and the incarnation that it belongs to.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_column(sa.Column("INCARNATION", sa.String(32), nullable=False, server_default=""))
    _add_column(sa.Column("BATCH", sa.BigInteger, nullable=False, server_default="0"))


def _add_column(column: sa.Column[object]) -> None:
    # MySQL commits after each statement: after a crash between two of them one column is there already.
    if not op.get_context().as_sql:
        there = sa.inspect(op.get_bind()).get_columns("MB_NODE")
        if column.name in {other["name"] for other in there}:
            return
    op.add_column("MB_NODE", column)
