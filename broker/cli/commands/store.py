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
    return _broker(session, "--show-config", path)


@command("db upgrade", example="brokerctl db upgrade /etc/cordillera")
@click.argument("path", metavar="CONFIG")
def upgrade_database(session: CommandSession, path: str) -> int:
    """Create the tables of the configured database, or bring them up to date, as a start would."""
    if session.is_dry_run:
        click.echo(f"would create or migrate the tables of the database in {path}")
        return EX_OK
    return _broker(session, "--setup", path)


COMMANDS: Final = (store_health, check_config, show_config, upgrade_database)
