"""What a virtual host does with a declaration of a queue that differs from the queue that is there.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TABLE = "MB_VIRTUAL_HOST_SETTINGS"


def upgrade() -> None:
    # MySQL commits after each statement: after a crash in the midst of this it is there already.
    there = None if op.get_context().as_sql else sa.inspect(op.get_bind())
    if there is None or "REDECLARATION" not in {column["name"] for column in there.get_columns(_TABLE)}:
        name = (
            sa.String(16)
            .with_variant(sa.VARBINARY(16), "mysql", "mariadb")
            .with_variant(sa.Text(collation="C"), "postgresql")
        )
        op.add_column(_TABLE, sa.Column("REDECLARATION", name, nullable=False, server_default=""))
