"""Brings a database's schema to the newest revision, or prints the script that does.

Alembic is imported only when there is something to do: that takes a tenth of a second.

    python -m broker.store.sql.migrate --dialect sqlite > dbscripts/mb-store/sqlite-mb.sql
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy import Connection, column, inspect, select, table, text

from broker.errors import ConfigError
from broker.store.sql import taking_effect
from broker.store.wso2.survey import make_way

if TYPE_CHECKING:
    from alembic.config import Config

MakeWay: TypeAlias = Callable[..., None]
"""Lets this broker have the database, or raises `ConfigError`; is told by `is_new` whether it has a schema there."""

REVISIONS: Final = tuple(f"{number:04}" for number in range(1, 18))
HEAD: Final = REVISIONS[-1]
DIALECTS: Final = ("sqlite", "mysql", "postgresql")

_SCRIPTS: Final = Path(__file__).with_name("migrations")
_VERSION: Final = table("alembic_version", column("version_num"))


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the database's schema, None when it has none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(select(_VERSION.c.version_num))
    return revision


def judge(connection: Connection) -> str | None:
    """Return the revision of the database's schema, None when it has none. Changes nothing.

    Raises `ConfigError` for a revision that only a newer program knows, and for a database that cannot hold every name.
    """
    _check_encoding(connection)
    revision = current_revision(connection)
    if revision is not None and revision not in REVISIONS:
        raise ConfigError(
            f"the database has schema revision {revision!r}, this program knows up to {HEAD!r}: "
            "start the version that wrote it, or choose another dataSource"
        )
    return revision


def upgrade(connection: Connection, make_way: MakeWay = make_way) -> None:
    """Create the schema, or bring it up to date, inside the transaction that `connection` is in.

    On a server `make_way` first looks for tables of WSO2's broker. Raises `ConfigError` for a revision that only a
    newer program knows, for a database that cannot hold every name, and for one whose messages would be lost.
    """
    revision = judge(connection)
    if connection.dialect.name != "sqlite":  # which WSO2's broker never had
        make_way(connection, is_new=revision is None)
    if revision == HEAD:
        return
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if revision is not None and revision <= taking_effect.LAST_WITHOUT:
        taking_effect.tell(connection)


def _check_encoding(connection: Connection) -> None:
    """Raise `ConfigError` for a PostgreSQL database whose encoding cannot hold every name."""
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise ConfigError(
            f"the database has the encoding {encoding}, which cannot hold every name of a queue: "
            "create one with ENCODING 'UTF8'"
        )


def script(dialect: str) -> str:
    """Return the SQL that creates the whole schema in an empty database."""
    from alembic import command

    config = _config()
    config.set_main_option("dialect", dialect)
    config.output_buffer = io.StringIO()
    command.upgrade(config, "head", sql=True)
    lines = (line.rstrip() for line in config.output_buffer.getvalue().strip().splitlines())
    return f"-- python -m broker.store.sql.migrate --dialect {dialect}\n\n" + "\n".join(lines) + "\n"


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def main(arguments: list[str] | None = None) -> None:
    """Print the script of one dialect."""
    parser = argparse.ArgumentParser(prog="python -m broker.store.sql.migrate", description=main.__doc__)
    parser.add_argument("--dialect", choices=DIALECTS, required=True)
    print(script(parser.parse_args(arguments).dialect), end="")


if __name__ == "__main__":
    main()
