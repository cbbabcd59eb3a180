"""The whole command line: commands by all their spellings, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import click

from broker import __version__
from broker.cli.command import BrokerCommand, common_options
from broker.cli.commands import (
    bindings,
    clients,
    contexts,
    dead_letters,
    definitions,
    delayed,
    diagnostics,
    exchanges,
    finding,
    following,
    maintenance,
    measuring,
    messages,
    nodes,
    permissions,
    policies,
    queues,
    redrives,
    store,
    streams,
    users,
    vhosts,
)
from broker.cli.failure import EX_INTERRUPTED, EX_OK, EX_SOFTWARE, EX_USAGE, CommandFailure
from broker.cli.session import CommandSession, Connect, DryRun, NothingToDo
from broker.cli.shell import Shell

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM: Final = "brokerctl"
_RABBITMQ: Final = ("rabbitmqctl", "rabbitmq-diagnostics", "rabbitmq-upgrade")
SECTIONS: Final[Mapping[str, Sequence[BrokerCommand]]] = {
    "The node and its cluster": (*nodes.COMMANDS, *diagnostics.COMMANDS),
    "Maintenance": maintenance.COMMANDS,
    "Queues": queues.COMMANDS,
    "Exchanges": exchanges.COMMANDS,
    "Bindings": bindings.COMMANDS,
    "Messages": (*messages.COMMANDS, *following.COMMANDS),
    "Delayed messages": delayed.COMMANDS,
    "Redrives": redrives.COMMANDS,
    "Finding messages": finding.COMMANDS,
    "Streams": streams.COMMANDS,
    "Dead letters and subscriptions of JMS": dead_letters.COMMANDS,
    "Connections": clients.COMMANDS,
    "Users": users.COMMANDS,
    "Permissions": permissions.COMMANDS,
    "Virtual hosts": vhosts.COMMANDS,
    "Policies and parameters": policies.COMMANDS,
    "Definitions": definitions.COMMANDS,
    "The store and the configuration": store.COMMANDS,
    "Looking on and measuring": measuring.COMMANDS,
    "brokerctl itself": contexts.COMMANDS,
}
"""All commands, as help and documentation show them."""


class Spellings(click.Group):
    """A group that takes hyphens for underscores, and says which command is alike.

    Its name may be a command too, its `own`, which gets what is no command of the group.
    """

    own: click.Command | None = None
    twin: Spellings | None = None
    """The group of the same things in singular or plural: each has the commands of both."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.parent is None and args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        is_own = not args[0] or self.get_command(ctx, args[0]) is None if args else not ctx.resilient_parsing
        if self.own is not None and is_own:
            args = [_OWN, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if "-" in incomplete.lstrip("-"):
            found += self._with_hyphens(ctx, incomplete)
        arguments = [each for each in self.own.params if isinstance(each, click.Argument)] if self.own else []
        return [*found, *(item for each in arguments for item in each.shell_complete(ctx, incomplete))]

    def _with_hyphens(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, written with hyphens."""
        from click.shell_completion import CompletionItem

        shown = [name for name, each in self.commands.items() if "_" in name and not each.hidden]
        return [CompletionItem(name) for each in shown if (name := each.replace("_", "-")).startswith(incomplete)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == _OWN:
            return self.own
        found = super().get_command(ctx, cmd_name) or super().get_command(ctx, cmd_name.replace("-", "_"))
        if found is not None or self.own is not None:
            return found
        if ctx.parent is None:
            group = self.commands.get(_both(cmd_name)[1])
            return group if isinstance(group, Spellings) else None
        known = (self.commands, self.twin.commands if self.twin else {})
        return next((commands[word] for word in _same(cmd_name) for commands in known if word in commands), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            from difflib import get_close_matches

            alike = get_close_matches(name.replace("-", "_"), list(self.commands), 3)
            advice = (
                f"Did you mean {' or '.join(alike)}?" if alike else f"{ctx.command_path} --help lists what there is."
            )
            raise click.UsageError(f"there is no command {name!r}. {advice}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if ctx.parent is not None:
            super().format_commands(ctx, formatter)
            return
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(each.names[0], each.get_short_help_str(80)) for each in commands])


def new_program(commands: Iterable[BrokerCommand]) -> click.Group:
    """Return the command line with these commands, under all their names."""
    whole = Spellings(PROGRAM, params=common_options(hidden=False), help=_HELP, no_args_is_help=True)
    whole.params.append(click.version_option(__version__, prog_name=PROGRAM)(_nothing).__click_params__[0])  # type: ignore[attr-defined]
    named = {name: each for each in commands for name in each.names}
    for name in sorted(named, key=lambda name: " " not in name):  # groups first, which a command may be, too
        group, _, word = name.rpartition(" ")
        known = whole.commands.get(name)
        if isinstance(known, Spellings):
            known.own = named[name]
        else:
            _group(whole, group).add_command(named[name], word)
    for name, each in whole.commands.items():
        other = whole.commands.get(_both(name)[1])
        if isinstance(each, Spellings) and isinstance(other, Spellings):
            each.twin = other
    return whole


_SAME: Final = (("ls", "list"), ("rm", "delete", "remove"), ("add", "declare", "create"))
"""Words of groups that mean the same."""


def _same(word: str) -> Sequence[str]:
    """Return a word of a group with those that mean the same."""
    return next((words for words in _SAME if word in words), (word,))


def _both(name: str) -> Sequence[str]:
    """Return the name of a group in singular and plural."""
    if name.endswith("ies"):
        return name, f"{name[:-3]}y"
    if name.endswith("s"):
        return name, name[:-1]
    return name, f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


_OWN: Final = ""
"""Stands for the command that has the name of its group."""


_HELP: Final = """Look after nodes of Cordillera.

Without --url, --socket, --config, --context or a selected context it asks the node that runs on this machine, over
its control socket and without a password. RabbitMQ's spellings of commands are there, too."""


def _nothing() -> None:
    """Carries a parameter."""


def _group(whole: click.Group, name: str) -> click.Group:
    if not name:
        return whole
    known = whole.commands.get(name)
    if known is None:
        known = Spellings(name, no_args_is_help=True, help=f"Commands for {name}.", hidden=True)
        whole.add_command(known)
    if not isinstance(known, click.Group):
        raise ValueError(f"{name} is a command and a group")
    return known


def all_commands() -> list[BrokerCommand]:
    """Return all commands in the order of help."""
    return [each for commands in SECTIONS.values() for each in commands]


def run(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    program: str = PROGRAM,
    connect: Connect | None = None,
    shell: Shell | None = None,
) -> int:
    """Run a command and return the exit code. `program` is the name by which this was started."""
    session = CommandSession(environ, connect, as_rabbitmqctl=PurePath(program).name in _RABBITMQ)
    if shell is not None:
        session.shell = shell
    whole = _whole()
    try:
        found: Any = whole.main(list(arguments), PROGRAM, standalone_mode=False, obj=session)
        sys.stdout.flush()
        while session.watch:
            session.shell.sleep(session.watch)
            _clear(session)
            found = whole.main(list(arguments), PROGRAM, standalone_mode=False, obj=session)
            sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except DryRun as would:
        click.echo(f"would {would}")
        return EX_OK
    except NothingToDo:
        session.say("nothing to do")
        return EX_OK
    except CommandFailure as failure:
        _trace(session)
        return _failed(str(failure), failure.code)
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            click.echo(error.ctx.get_help() if error.ctx is not None else "", err=True)
            return EX_USAGE
        hint = f" See {error.ctx.command_path} --help" if error.ctx is not None else ""
        text = error.format_message()
        return _failed(text + ("" if text.endswith((".", "?")) else ".") + hint, EX_USAGE)
    except click.ClickException as error:
        return _failed(error.format_message(), EX_USAGE)
    except (click.Abort, KeyboardInterrupt):
        if session.watch:
            return EX_OK
        done = "" if session.how_far is None else f" after {session.how_far()}"
        return _failed(f"given up{done}", EX_INTERRUPTED)
    except BrokenPipeError:
        _leave_output()
        return EX_OK
    except Exception as error:
        _trace(session)
        text = f"brokerctl has failed ({type(error).__name__}: {error}). --debug shows where"
        return _failed(text, EX_SOFTWARE)
    return found if isinstance(found, int) else EX_OK


@cache
def _whole() -> click.Group:
    return new_program(all_commands())


def _failed(text: str, code: int) -> int:
    click.echo(f"Error: {' '.join(text.split())}", err=True)
    return code


def _trace(session: CommandSession) -> None:
    """Show where what is handled just now comes from, if somebody has asked for that."""
    if session.is_debug:
        import traceback

        traceback.print_exc()


def _clear(session: CommandSession) -> None:
    if sys.stdout.isatty() and not session.is_json:
        click.echo("\x1b[H\x1b[2J", nl=False)


def _leave_output() -> None:
    """Nobody reads any more: let what is left go nowhere."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
