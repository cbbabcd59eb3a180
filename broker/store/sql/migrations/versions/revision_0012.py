"""Keys of de-duplication.

A released revision is never edited, and so shares nothing with `schema.py`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def _name(length: int = 255) -> sa.String:
    return (
        sa.String(length)
        .with_variant(sa.VARBINARY(length), "mysql", "mariadb")
        .with_variant(sa.Text(collation="C"), "postgresql")
    )


def upgrade() -> None:
    # MySQL commits after each statement: after a crash in the midst of this the table is there already.
    is_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    op.create_table(
        "MB_DEDUPLICATION_KEY",
        sa.Column("SCOPE_ID", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("KEY_DIGEST", _name(32), primary_key=True),
        sa.Column("MESSAGE_ID", sa.BigInteger, nullable=False),
        sa.Column("UNTIL_TIME", sa.BigInteger, nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        if_not_exists=is_mysql,
    )
