"""Users, their passwords, tags and limits."""

from __future__ import annotations

import base64
from typing import Final

import click

from broker.cli.command import command
from broker.cli.commands.given import json_of
from broker.cli.failure import EX_DATAERR, EX_USAGE, CommandFailure
from broker.cli.session import CommandSession, NothingToDo, new_password
from broker.cli.ways import escaped

_NO_TAGS: Final = "not_authorised"
"""What the API tells a user who has logged in and has none of its tags."""
_TAGS: Final = ("administrator", "monitoring", "policymaker", "management", "impersonator")
_LIMITS: Final = ("max-connections", "max-channels")


@command("list_users", "users ls", "users list", example="brokerctl list_users")
@click.argument("columns", nargs=-1)
def list_users(session: CommandSession, columns: tuple[str, ...]) -> None:
    """List users with their tags."""
    session.show_rows(session.rows("/users"), ("user", "tags"), columns, {"user": "name"}, title="Listing users")


@command(
    "add_user",
    "users add",
    "user add",
    "users declare",
    example=("brokerctl add_user bob < password.txt", "brokerctl add_user bob"),
)
@click.argument("name")
@click.argument("password", required=False)
def add_user(session: CommandSession, name: str, password: str | None) -> None:
    """Add a user, who may do nothing yet. The password is asked for, or the first line of the input; as an argument
    others on this machine can see it."""
    session.send("GET", "/whoami")  # a password is not asked for in vain
    if session.ask("GET", f"/users/{escaped(name)}")[0] == 200:
        if session.is_idempotent:
            raise NothingToDo
        raise CommandFailure(EX_DATAERR, f"there is a user '{name}' already: brokerctl change_password {name}")
    body = {"password": new_password(password), "tags": []}
    session.send("PUT", f"/users/{escaped(name)}", body, what=f"user '{name}'")
    session.say(f"user {name!r} added. Next: brokerctl set_permissions {name} '.*' '.*' '.*'")


@command(
    "delete_user",
    "users rm",
    "user rm",
    "users delete",
    example="brokerctl delete_user ann --yes",
    completes={"name": "users"},
)
@click.argument("name")
def delete_user(session: CommandSession, name: str) -> None:
    """Delete a user; open connections are closed."""
    session.confirm(f"delete the user {name!r} and close the user's connections", name)
    session.send("DELETE", f"/users/{escaped(name)}", what=f"user '{name}'")
    session.say(f"user {name!r} deleted")


@command(
    "change_password",
    "users passwd",
    "user passwd",
    example="brokerctl change_password ann < password.txt",
    completes={"name": "users"},
)
@click.argument("name")
@click.argument("password", required=False)
def change_password(session: CommandSession, name: str, password: str | None) -> None:
    """Give a user another password, which is asked for, or the first line of the input."""
    known = session.send("GET", f"/users/{escaped(name)}", what=f"user '{name}'")
    chosen = new_password(password)
    if session.way.is_local:
        session.command("change_password", {"name": name, "password": chosen})
    else:
        body = {"password": chosen, "tags": known["tags"], "limits": known.get("limits", {})}
        session.send("PUT", f"/users/{escaped(name)}", body, what=f"user '{name}'")
    session.say(f"the password of {name!r} is changed")


@command(
    "authenticate_user",
    "users authenticate",
    "user authenticate",
    example="brokerctl authenticate_user ann < password.txt",
    completes={"name": "users"},
)
@click.argument("name")
@click.argument("password", required=False)
def authenticate_user(session: CommandSession, name: str, password: str | None) -> None:
    """Try a user's password, which is asked for, or the first line of the input; exit code 65 when it is wrong. The
    node counts that as a login."""
    login = base64.b64encode(f"{name}:{new_password(password, is_new=False)}".encode()).decode()
    status, answer = session.ask("GET", "/whoami", headers={"authorization": f"Basic {login}"})
    may_not_manage = status == 401 and answer and answer["error"] == _NO_TAGS
    if status == 401 and not may_not_manage:
        raise CommandFailure(
            EX_DATAERR, f"the node does not let '{name}' in: the password is wrong, or there is no such user"
        )
    if status != 200 and not may_not_manage:
        raise session.refused(status, answer, f"user '{name}'")
    tags = [] if may_not_manage else answer["tags"]
    session.show({"name": name, "tags": tags}, (("user", name), ("tags", tags)))


@command(
    "set_user_tags",
    "users tag",
    "user tag",
    example="brokerctl set_user_tags ann monitoring policymaker",
    completes={"name": "users"},
)
@click.argument("name")
@click.argument("tags", nargs=-1)
def set_user_tags(session: CommandSession, name: str, tags: tuple[str, ...]) -> None:
    """Replace the tags of a user; none takes all: administrator, monitoring, policymaker, management, impersonator."""
    known = session.send("GET", f"/users/{escaped(name)}", what=f"user '{name}'")
    for tag in tags:
        if tag not in _TAGS:
            click.echo(f"note: the tag {tag!r} permits nothing; those that do are {', '.join(_TAGS)}", err=True)
    if session.way.is_local:
        session.command("set_user_tags", {"name": name, "tags": list(tags)})
    elif known.get("password_hash"):
        session.send("PUT", f"/users/{escaped(name)}", {**known, "tags": list(tags)}, what=f"user '{name}'")
    else:  # a PUT replaces the user, and the API shows no hash of this kind
        raise CommandFailure(
            EX_USAGE,
            f"over HTTP the tags of {name!r} cannot be set without the password: run this on the node's own machine",
        )
    session.say(f"tags of {name!r}: {', '.join(tags) or 'none'}")


@command("list_user_limits", "users limits", example="brokerctl list_user_limits")
@click.option("--user", "of_user", metavar="NAME", help="only those of this user")
def list_user_limits(session: CommandSession, of_user: str | None) -> None:
    """List the limits of users."""
    path = f"/user-limits/{escaped(of_user)}" if of_user else "/user-limits"
    rows = session.rows(path, f"user '{of_user}'")
    session.show_rows(rows, ("user", "limits"), (), {"limits": "value"}, title="Listing user limits")


@command(
    "set_user_limits",
    "users limit",
    example="brokerctl set_user_limits ann '{\"max-connections\": 10}'",
    completes={"name": "users"},
)
@click.argument("name")
@click.argument("limits", metavar="JSON")
def set_user_limits(session: CommandSession, name: str, limits: str) -> None:
    """Limit connections and channels of a user on each node: max-connections, max-channels; -1 for any number."""
    given = json_of(limits, "the limits")
    if not isinstance(given, dict):
        raise click.UsageError("limits are an object, such as '{\"max-connections\": 10}'")
    for limit, value in given.items():
        path = f"/user-limits/{escaped(name)}/{escaped(limit)}"
        session.send("PUT", path, {"value": value}, what=f"user '{name}'")
    session.say(f"limits of {name!r} set")


@command(
    "clear_user_limits",
    "users unlimit",
    example="brokerctl clear_user_limits ann max-connections",
    completes={"name": "users"},
)
@click.argument("name")
@click.argument("limit", type=click.Choice((*_LIMITS, "all")))
def clear_user_limits(session: CommandSession, name: str, limit: str) -> None:
    """Take a limit of a user away, or all."""
    for each in _LIMITS if limit == "all" else (limit,):
        session.send("DELETE", f"/user-limits/{escaped(name)}/{each}", what=f"user '{name}'")
    session.say(f"{limit} of {name!r} cleared")


@command("hash_password", "passwords salt_and_hash", example="brokerctl hash_password < password.txt")
@click.argument("password", required=False)
def hash_password(session: CommandSession, password: str | None) -> None:
    """Print a hash for definitions and for the API's password_hash, as RabbitMQ makes it. Asks no node. The password is
    asked for, or the first line of the input."""
    import hashlib
    import secrets

    salt = secrets.token_bytes(4)
    hashed = hashlib.sha256(salt + new_password(password).encode()).digest()
    click.echo(base64.b64encode(salt + hashed).decode())


COMMANDS: Final = (
    list_users,
    add_user,
    delete_user,
    change_password,
    authenticate_user,
    set_user_tags,
    list_user_limits,
    set_user_limits,
    clear_user_limits,
    hash_password,
)
