"""Commands about `brokerctl` itself: nodes it remembers, and completion for shells."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import click

from broker.cli.command import command
from broker.cli.contexts import LOCAL, Context, Contexts, contexts_path, read_contexts, write_contexts
from broker.cli.failure import EX_USAGE, CommandFailure
from broker.cli.session import CommandSession
from broker.cli.ways import HttpWay, split_url


@command(
    "context add",
    "contexts add",
    example=(
        "brokerctl context add shop http://mq.example.com:15672 --user ops < password.txt",
        "brokerctl context add here --socket /run/cordillera/control",
    ),
)
@click.argument("name")
@click.argument("url", required=False)
def add(session: CommandSession, name: str, url: str | None) -> None:
    """Remember a node by a name: its URL, user and password, or its control socket. The password is asked for, or the
    first line of the input."""
    wanted = session.wanted
    url = url or wanted.url
    if name == LOCAL or not name:
        raise CommandFailure(EX_USAGE, f"{name!r} is the node on this machine: take another name")
    if bool(url) is bool(wanted.socket):
        raise CommandFailure(EX_USAGE, "say the URL of the node, or its --socket")
    context = Context(socket=wanted.socket)
    if url:
        address, user, password = split_url(url)
        HttpWay(address, "", "")
        user = wanted.user or user
        password = password or (_password(user) if user else "")
        context = Context(address, user, password, ca_file=wanted.ca_file)
    path = contexts_path(session.environ)
    known = read_contexts(path)
    write_contexts(path, Contexts({**known.by_name, name: context}, known.selected))
    session.say(f"remembered. Next: brokerctl context select {name}, or brokerctl --context {name} …")


def _password(user: str) -> str:
    from broker.cli.session import new_password

    return new_password(None)


@command("context select", "contexts select", "context use", example="brokerctl context select local")
@click.argument("name")
def select(session: CommandSession, name: str) -> None:
    """Ask this node from now on; local is the one on this machine."""
    path = contexts_path(session.environ)
    known = read_contexts(path)
    known.of(name)
    write_contexts(path, replace(known, selected="" if name == LOCAL else name))
    session.say(f"{name} is selected")


@command("context ls", "contexts ls", "context list", example="brokerctl context ls")
def list_contexts(session: CommandSession) -> None:
    """List the nodes that are remembered; passwords are not shown."""
    known = read_contexts(contexts_path(session.environ))
    rows = [
        {
            "name": name,
            "selected": (known.selected or LOCAL) == name,
            "address": each.url or each.socket or "control socket",
            "user": each.user,
        }
        for name, each in {LOCAL: Context(), **known.by_name}.items()
    ]
    session.show_rows(rows, ("name", "selected", "address", "user"))


@command("context rm", "contexts rm", "context delete", example="brokerctl context rm old")
@click.argument("name")
def remove(session: CommandSession, name: str) -> None:
    """Forget a node."""
    path = contexts_path(session.environ)
    known = read_contexts(path)
    if name not in known.by_name:
        known.of("" if name == LOCAL else name)
    left = {each: context for each, context in known.by_name.items() if each != name}
    write_contexts(path, Contexts(left, "" if known.selected == name else known.selected))
    session.say(f"{name} is forgotten")


@command("completion", example="brokerctl completion bash")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(session: CommandSession, shell: str) -> None:
    """Print what lets a shell complete commands and options: eval "$(brokerctl completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    root = click.get_current_context().find_root()
    if found is None:
        raise CommandFailure(EX_USAGE, f"there is no completion for {shell}")
    made = found(root.command, {}, "brokerctl", "_BROKERCTL_COMPLETE")
    click.echo(made.source_template % made.source_vars())


COMMANDS: Final = (add, select, list_contexts, remove, completion)
