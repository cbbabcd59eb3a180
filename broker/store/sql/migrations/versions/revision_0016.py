"""Protection of virtual hosts from deletion.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLE = "MB_VIRTUAL_HOST_SETTINGS"
_COLUMN = "PROTECTED_FROM_DELETION"


def upgrade() -> None:
    # MySQL commits after each statement: after a crash in the midst of this it is there already.
    there = None if op.get_context().as_sql else sa.inspect(op.get_bind())
    if there is None or _COLUMN not in {column["name"] for column in there.get_columns(_TABLE)}:
        op.add_column(_TABLE, sa.Column(_COLUMN, sa.Boolean, nullable=False, server_default=sa.false()))
