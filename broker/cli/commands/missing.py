"""Tells of exchanges that something names and that are not there: the broker takes that, as RabbitMQ does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from broker.cli.session import CommandSession
from broker.cli.ways import escaped


def warn_of_missing(session: CommandSession, given: Mapping[str, Any], *keys: str) -> None:
    """Say on the error output which exchanges that `given` names under these keys are not there."""
    for key in keys:
        name = given.get(key)
        if isinstance(name, str) and name:
            status, _ = session.ask("GET", f"/exchanges/{escaped(session.vhost)}/{escaped(name)}")
            if status == 404:
                where = f"in virtual host '{session.vhost}'"
                click.echo(f"warning: {key}: there is no exchange '{name}' {where}: messages are lost", err=True)
