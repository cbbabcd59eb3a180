"""Policies, operator policies, and parameters of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from broker.cli.command import BrokerCommand, command
from broker.cli.commands.given import json_of
from broker.cli.commands.missing import warn_of_missing
from broker.cli.session import CommandSession
from broker.cli.ways import escaped

_USUAL: Final = ("vhost", "name", "pattern", "apply-to", "definition", "priority")
_APPLY_TO: Final = click.Choice(("all", "queues", "classic_queues", "quorum_queues", "streams", "exchanges"))


def _set_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in (
        click.option("--apply-to", type=_APPLY_TO, default="all", show_default=True, help="to what of these names"),
        click.option("--priority", type=int, default=0, show_default=True, help="of several the highest applies"),
        click.argument("definition", metavar="JSON"),
        click.argument("pattern"),
        click.argument("name"),
    ):
        function = decorate(function)
    return function


def _policies(kind: str, word: str, path: str) -> tuple[BrokerCommand, ...]:
    """Return the commands for policies of one kind: `kind` is its name in commands, `word` in texts."""
    names = f"{kind}_policies", f"{kind}_policy"
    names = ("policies", "policy") if not kind else names
    ours = "policies" if not kind else f"{kind}-policies"

    def place(session: CommandSession, name: str) -> str:
        return f"{path}/{escaped(session.vhost)}/{escaped(name)}"

    @command(f"list_{names[0]}", f"{ours} ls", f"{ours} list", example=f"brokerctl list_{names[0]}", of_vhost=True)
    def listing(session: CommandSession) -> None:
        rows = session.rows(f"{path}/{escaped(session.vhost)}", f"virtual host '{session.vhost}'")
        title = f'Listing {word} policies for vhost "{session.vhost}"'.replace("  ", " ")
        session.show_rows(rows, _USUAL, title=title)

    @command(
        f"set_{names[1]}",
        f"{ours} set",
        f"{ours} declare",
        example=f"brokerctl set_{names[1]} short '^log\\.' '{{\"max-length\": 1000}}' --apply-to queues",
        of_vhost=True,
    )
    @_set_options
    def setting(
        session: CommandSession, name: str, pattern: str, definition: str, priority: int, apply_to: str
    ) -> None:
        given = json_of(definition, "the definition")
        body = {"pattern": pattern, "definition": given, "priority": priority, "apply-to": apply_to}
        session.send("PUT", place(session, name), body, what=f"virtual host '{session.vhost}'")
        session.say(f"{word} policy {name!r} set".strip())
        warn_of_missing(session, given, "dead-letter-exchange", "alternate-exchange")

    @command(
        f"clear_{names[1]}",
        f"{ours} rm",
        f"{ours} delete",
        example=f"brokerctl clear_{names[1]} limit",
        of_vhost=True,
        completes={"name": ours},
    )
    @click.argument("name")
    def clearing(session: CommandSession, name: str) -> None:
        what = f"{word} policy '{name}' in vhost '{session.vhost}'".strip()
        session.send("DELETE", place(session, name), what=what)
        session.say(f"{word} policy {name!r} cleared".strip())

    limits = ", limits that no other policy loosens" if kind else ""
    listing.help = f"List the {word} policies of a virtual host{limits}.".replace("the  ", "the ")
    setting.help = f"Let a definition apply to queues and exchanges whose names match, at once{limits}."
    clearing.help = f"Let {'an operator' if kind else 'a'} policy apply no more."
    return listing, setting, clearing


@command("list_global_parameters", "parameters ls", example="brokerctl list_global_parameters")
def list_parameters(session: CommandSession) -> None:
    """List values that are kept for the whole cluster."""
    session.show_rows(session.rows("/global-parameters"), ("name", "value"), title="Listing global runtime parameters")


@command(
    "set_global_parameter", "parameters set", example="brokerctl set_global_parameter contact '\"ops@example.com\"'"
)
@click.argument("name")
@click.argument("value", metavar="JSON")
def set_parameter(session: CommandSession, name: str, value: str) -> None:
    """Keep a value for the whole cluster."""
    body = {"value": json_of(value, "the value")}
    session.send("PUT", f"/global-parameters/{escaped(name)}", body, what=f"parameter '{name}'")
    session.say(f"parameter {name!r} set")


@command("clear_global_parameter", "parameters rm", example="brokerctl clear_global_parameter place")
@click.argument("name")
def clear_parameter(session: CommandSession, name: str) -> None:
    """Keep a value no more."""
    session.send("DELETE", f"/global-parameters/{escaped(name)}", what=f"parameter '{name}'")
    session.say(f"parameter {name!r} cleared")


@command("set_cluster_name", "cluster name", example="brokerctl set_cluster_name shop")
@click.argument("name")
def set_cluster_name(session: CommandSession, name: str) -> None:
    """Name the cluster, as clients and the console are told."""
    session.send("PUT", "/cluster-name", {"name": name})
    session.say(f"the cluster is {name!r}")


COMMANDS: Final = (
    *_policies("", "", "/policies"),
    *_policies("operator", "operator", "/operator-policies"),
    list_parameters,
    set_parameter,
    clear_parameter,
    set_cluster_name,
)
