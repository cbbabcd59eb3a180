"""The store of a node, and its configuration before it starts."""

from __future__ import annotations

import sys
from typing import Final

import click

from broker.cli.command import command
from broker.cli.failure import EX_OK, EX_UNAVAILABLE
from broker.cli.session import CommandSession


@command("store health", "store status", "db check", example="brokerctl store health")
def store_health(session: CommandSession) -> int:
    """Show whether the database answers, since when, and how long it took last; exit code 69 when it does not."""
    found = session.get("/broker/store")
    session.show(found, found.items())
    return EX_OK if found["health"] == "Healthy" else EX_UNAVAILABLE


def _broker(session: CommandSession, option: str, path: str) -> int:
    code: int = session.shell.execute([sys.executable, "-m", "broker", option, "--config", path])
    return code


@command("config check", example="brokerctl config check /etc/cordillera")
@click.argument("path", metavar="PATH")
def check_config(session: CommandSession, path: str) -> int:
    """Check a configuration, its files of keys and definitions, without a start; exit code 78 says that it is wrong."""
    return _broker(session, "--check-config", path)


@command("config show", example="brokerctl config show /etc/cordillera")
@click.argument("path", metavar="PATH")
def show_config(session: CommandSession, path: str) -> int:
    """Print a configuration as it takes effect, secrets masked, and where each value comes from."""
    if session.is_json:
        raise click.UsageError("a configuration is printed as text only: leave --json out")
    return _broker(session, "--show-config", path)


@command(
    "config convert",
    example=(
        "brokerctl config convert /opt/wso2/conf /etc/cordillera",
        "brokerctl config convert broker.xml /etc/cordillera",
    ),
)
@click.argument("path", metavar="PATH")
@click.argument("folder")
def convert_config(session: CommandSession, path: str, folder: str) -> int:
    """Write what WSO2's files mean here into a new folder: elements that have an effect, under the names of today. What
    is left out is listed with the reason, and the new files are read once more to see that they mean the same."""
    if session.is_dry_run:
        click.echo(f"would write what {path} means into {folder}")
        return EX_OK
    command = [sys.executable, "-m", "broker", "convert", "--config", path, *(["--quiet"] if session.is_quiet else [])]
    return session.shell.execute([*command, folder])


@command("db upgrade", example="brokerctl db upgrade /etc/cordillera")
@click.argument("path", metavar="CONFIG")
def upgrade_database(session: CommandSession, path: str) -> int:
    """Create the tables of the configured database, or bring them up to date, as a start would."""
    if session.is_dry_run:
        click.echo(f"would create or migrate the tables of the database in {path}")
        return EX_OK
    return _broker(session, "--setup", path)


@command("db sql", "db schema", example="brokerctl db sql /etc/cordillera")
@click.argument("path", metavar="CONFIG")
def print_sql(session: CommandSession, path: str) -> int:
    """Print the SQL that makes the tables in an empty database of the configured kind, for somebody who may do what the
    broker's own user may not."""
    return session.shell.execute([sys.executable, "-m", "broker", "database", "sql", "--config", path])


@command("db backup", example="brokerctl db backup /etc/cordillera backup.sql")
@click.argument("path", metavar="CONFIG")
@click.argument("file")
def back_up(session: CommandSession, path: str, file: str) -> int:
    """Write the configured database to a new file that only its owner may read: of a server a dump of one moment, by
    its own tool, beside running nodes; of an embedded store an archive, while its node is stopped."""
    if session.is_dry_run:
        click.echo(f"would write the database in {path} to {file}")
        return EX_OK
    return session.shell.execute([sys.executable, "-m", "broker", "database", "backup", "--config", path, file])


COMMANDS: Final = (store_health, check_config, show_config, convert_config, upgrade_database, print_sql, back_up)
