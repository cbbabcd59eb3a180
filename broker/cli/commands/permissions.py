"""What users may do in virtual hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from broker.cli.command import command
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_USUAL: Final = ("user", "configure", "write", "read")


def _who(session: CommandSession, user: str) -> str:
    return f"user '{user}' with permissions in vhost '{session.vhost}'"


def _put(session: CommandSession, user: str, path: str, body: Mapping[str, str]) -> None:
    """Set permissions. Raises `CommandFailure`, which says whether the user or the virtual host is not there."""
    needed = (
        (f"/vhosts/{escaped(session.vhost)}", f"virtual host '{session.vhost}'"),
        (f"/users/{escaped(user)}", f"user '{user}'"),
    )
    for place, what in needed:
        session.try_out(place, what)
    status, value = session.ask("PUT", path, body)
    if status < 400:
        return
    if status == 400:
        for place, what in needed:
            session.send("GET", place, what=what)
    raise session.refused(status, value, f"user '{user}'")


@command("list_permissions", "permissions ls", "permissions list", example="brokerctl list_permissions", of_vhost=True)
def list_permissions(session: CommandSession) -> None:
    """List who may do what in a virtual host."""
    rows = session.rows(f"/vhosts/{escaped(session.vhost)}/permissions", f"virtual host '{session.vhost}'")
    session.show_rows(rows, _USUAL, title=f'Listing permissions for vhost "{session.vhost}"')


@command("list_user_permissions", "users permissions", example="brokerctl list_user_permissions ann")
@click.argument("user")
def list_user_permissions(session: CommandSession, user: str) -> None:
    """List what a user may do in all virtual hosts."""
    rows = session.rows(f"/users/{escaped(user)}/permissions", f"user '{user}'")
    usual = ("vhost", "configure", "write", "read")
    session.show_rows(rows, usual, title=f'Listing permissions for user "{user}"')


@command(
    "set_permissions",
    "permissions set",
    "permissions declare",
    example="brokerctl set_permissions ann '^ann-' '.*' '^ann-'",
    of_vhost=True,
)
@click.argument("user")
@click.argument("configure")
@click.argument("write")
@click.argument("read")
def set_permissions(session: CommandSession, user: str, configure: str, write: str, read: str) -> None:
    """Let a user configure, write and read queues and exchanges whose names these expressions match."""
    body = {"configure": configure, "write": write, "read": read}
    _put(session, user, f"/permissions/{escaped(session.vhost)}/{escaped(user)}", body)
    session.say(f"permissions of {user!r} in {session.vhost!r} set")


@command(
    "clear_permissions",
    "permissions clear",
    "permissions delete",
    example="brokerctl clear_permissions ann",
    of_vhost=True,
)
@click.argument("user")
def clear_permissions(session: CommandSession, user: str) -> None:
    """Let a user do nothing in a virtual host."""
    session.send("DELETE", f"/permissions/{escaped(session.vhost)}/{escaped(user)}", what=_who(session, user))
    session.say(f"permissions of {user!r} in {session.vhost!r} cleared")


@command("list_user_topic_permissions", "users topics", example="brokerctl list_user_topic_permissions ann")
@click.argument("user")
def list_user_topic_permissions(session: CommandSession, user: str) -> None:
    """List what keys a user may use at topic exchanges of all virtual hosts."""
    rows = session.rows(f"/users/{escaped(user)}/topic-permissions", f"user '{user}'")
    usual = ("vhost", "exchange", "write", "read")
    session.show_rows(rows, usual, title=f'Listing topic permissions for user "{user}"')


@command("list_topic_permissions", "permissions topics", example="brokerctl list_topic_permissions", of_vhost=True)
def list_topic_permissions(session: CommandSession) -> None:
    """List what keys users may use at topic exchanges of a virtual host."""
    rows = session.rows(f"/vhosts/{escaped(session.vhost)}/topic-permissions", f"virtual host '{session.vhost}'")
    usual = ("user", "exchange", "write", "read")
    session.show_rows(rows, usual, title=f'Listing topic permissions for vhost "{session.vhost}"')


@command(
    "set_topic_permissions",
    "permissions set-topic",
    example="brokerctl set_topic_permissions ann amq.topic '^ann\\.' '.*'",
    of_vhost=True,
)
@click.argument("user")
@click.argument("exchange")
@click.argument("write")
@click.argument("read")
def set_topic_permissions(session: CommandSession, user: str, exchange: str, write: str, read: str) -> None:
    """Let a user write and read keys that these expressions match, at a topic exchange."""
    body = {"exchange": exchange, "write": write, "read": read}
    _put(session, user, f"/topic-permissions/{escaped(session.vhost)}/{escaped(user)}", body)
    session.say(f"keys of {user!r} at {exchange!r} set")


@command(
    "clear_topic_permissions",
    "permissions clear-topic",
    example="brokerctl clear_topic_permissions ann",
    of_vhost=True,
)
@click.argument("user")
@click.argument("exchange", required=False)
def clear_topic_permissions(session: CommandSession, user: str, exchange: str | None) -> None:
    """Let a user use all keys again, at one exchange or all."""
    path = f"/topic-permissions/{escaped(session.vhost)}/{escaped(user)}"
    session.send("DELETE", f"{path}/{escaped(exchange)}" if exchange else path, what=_who(session, user))
    session.say(f"keys of {user!r} cleared")


COMMANDS: Final = (
    list_permissions,
    list_user_permissions,
    set_permissions,
    clear_permissions,
    list_topic_permissions,
    list_user_topic_permissions,
    set_topic_permissions,
    clear_topic_permissions,
)
