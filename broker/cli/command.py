"""How a command is made: its names, its example, and the options that all commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from broker.cli.duration import duration_in
from broker.cli.output import FORMATS
from broker.cli.session import CommandSession

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_NAMES: Final[Mapping[str, str]] = {
    "queue": "queues",
    "target": "queues",
    "destination": "queues",
    "exchange": "exchanges",
    "source": "exchanges",
    "user": "users",
    "of_user": "users",
    "common_vhost": "vhosts",
}
"""What names parameters of these names are, for completion."""
_FILES: Final = frozenset(("path", "file", "folder", "common_ca_file", "common_socket", "common_config"))
"""Parameters that name a file or a folder, for completion."""
_NEVER_EMPTY: Final = frozenset(
    ("name", "queue", "target", "destination", "user", "of_user", "stream", "consumer", "common_vhost")
)
"""Parameters that name something: `''` names nothing."""
_NOTHING: Final[Mapping[str, str]] = {}


class BrokerCommand(click.Command):
    """A command with an example in its help. `names` are all its spellings, one or two words each."""

    names: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete options that all commands have, too, though help shows them once."""
        from click.shell_completion import CompletionItem

        found = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("--"):
            return found
        common = (each for each in self.params if isinstance(each, click.Option) and each.hidden and each.help)
        names = [name for each in common for name in each.opts if name.startswith(incomplete)]
        return [*found, *map(CompletionItem, names)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        write_examples(self, formatter)


def write_examples(command: BrokerCommand, formatter: click.HelpFormatter) -> None:
    """Write examples and the other spellings of a command into its help."""
    with formatter.section("Examples" if len(command.examples) > 1 else "Example"):
        for line in command.examples:
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")
    if len(command.names) > 1:
        with formatter.section("Spellings"):
            formatter.write_text(", ".join(command.names))


def command(
    *names: str, example: str | Sequence[str], of_vhost: bool = False, completes: Mapping[str, str] = _NOTHING
) -> Callable[[Callable[..., Any]], BrokerCommand]:
    """Make a command of a function, which gets the `CommandSession` first. `of_vhost` shows `--vhost` in its help;
    `completes` says of which parameters a shell completes what names (`completing.names_of`).
    """

    def wrap(function: Callable[..., Any]) -> BrokerCommand:
        made = click.command(names[0].replace(" ", "-"), cls=BrokerCommand)(click.pass_obj(function))
        made.names = names
        made.examples = (example,) if isinstance(example, str) else tuple(example)
        taken = {spelling for parameter in made.params for spelling in parameter.opts}
        made.params += [each for each in common_options(hidden=True, of_vhost=of_vhost) if taken.isdisjoint(each.opts)]
        kinds = {**_NAMES, **completes}
        for parameter in made.params:
            _complete(parameter, kinds)
            if parameter.name in _FILES:
                parameter.type = click.Path()
            if parameter.name in _NEVER_EMPTY:
                parameter.callback = _not_empty(parameter.callback)
        return made

    return wrap


Callback = Callable[[click.Context, click.Parameter, Any], Any]


def _not_empty(then: Callback | None) -> Callback:
    """Return a callback that refuses an empty name, before what `then` does."""

    def check(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value == "":
            raise click.BadParameter("it is empty: a name has at least one character", ctx, parameter)
        return then(ctx, parameter, value) if then else value

    return check


def _complete(parameter: click.Parameter, kinds: Mapping[str, str]) -> None:
    kind = kinds.get(parameter.name or "")
    if kind is not None:
        parameter._custom_shell_complete = _late(kind)


def _late(kind: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from broker.cli.completing import names_of

        return names_of(kind)(ctx, parameter, incomplete)

    return complete


Set = Callable[[CommandSession, Any], None]


def _option(set_value: Set, *spellings: str, hidden: bool, help: str, **settings: Any) -> click.Option:
    def note(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            set_value(ctx.ensure_object(CommandSession), value)

    name = f"common_{spellings[0].removeprefix('--')}".replace("-", "_")  # apart from those of commands
    made = click.Option((*spellings, name), expose_value=False, hidden=hidden, help=help, callback=note, **settings)
    _complete(made, _NAMES)
    return made


def _of_node(name: str) -> Set:
    def set_value(session: CommandSession, value: Any) -> None:
        setattr(session.wanted, name, value)

    return set_value


def _of_session(name: str) -> Set:
    def set_value(session: CommandSession, value: Any) -> None:
        setattr(session, name, value)

    return set_value


def _styled(style: str) -> Set:
    def set_value(session: CommandSession, value: Any) -> None:
        session.style = style

    return set_value


_FLAG: Final = {"is_flag": True}
_COMMON: Final[tuple[tuple[Set, tuple[str, ...], str, dict[str, Any]], ...]] = (
    (_of_node("url"), ("--url",), "HTTP address of the node; also BROKER_URL", {"metavar": "URL"}),
    (_of_node("user"), ("--user", "-u"), "who logs in over HTTP; the password is asked for", {"metavar": "NAME"}),
    (_of_node("ca_file"), ("--ca-file",), "certificates that an https node is checked by", {"metavar": "FILE"}),
    (_of_node("socket"), ("--socket",), "control socket of the node; also BROKER_SOCKET", {"metavar": "PATH"}),
    (_of_node("config"), ("--config",), "configuration of the node, which names its socket", {"metavar": "PATH"}),
    (_of_node("context"), ("--context", "-n", "--node"), "a node that context add has remembered", {"metavar": "NAME"}),
    (
        _of_node("timeout"),
        ("--timeout", "-t"),
        "seconds to wait for an answer, or 2m",
        {"type": duration_in("s", 0.001), "metavar": "DURATION"},
    ),
    (_of_session("given_vhost"), ("--vhost", "-p"), "virtual host; / otherwise", {"metavar": "NAME"}),
    (_styled("json"), ("--json",), "print one document of JSON, with the keys of the HTTP API", _FLAG),
    (_styled("jsonl"), ("--jsonl",), "print a line of JSON for each row of a list", _FLAG),
    (_of_session("style"), ("--formatter",), "how lists are printed", {"type": click.Choice(FORMATS)}),
    (_of_session("columns"), ("--columns",), "columns of a list, with commas between them", {"metavar": "NAMES"}),
    (_of_session("sort"), ("--sort",), "order a list by this column", {"metavar": "COLUMN"}),
    (_of_session("is_reverse"), ("--reverse",), "the other way round", _FLAG),
    (
        _of_session("watch"),
        ("--watch",),
        "look again after so many seconds, or a duration such as 1m, until Ctrl-C",
        {"type": duration_in("s", 0.1), "metavar": "DURATION"},
    ),
    (_of_session("is_quiet"), ("--quiet", "-q"), "say nothing but the result", _FLAG),
    (_of_session("is_silent"), ("--silent", "-s"), "nor the titles of columns", _FLAG),
    (_of_session("is_yes"), ("--yes", "-y"), "do not ask before something is lost", _FLAG),
    (_of_session("is_dry_run"), ("--dry-run",), "only say what would be changed first", _FLAG),
    (
        _of_session("is_idempotent"),
        ("--idempotent", "--idempotently"),
        "succeed when what is to be deleted is not there, and what is to be added is",
        _FLAG,
    ),
    (_of_session("is_debug"), ("--debug",), "show where a failure comes from", _FLAG),
    (_of_session("has_no_progress"), ("--no-progress",), "do not say how far long work is", _FLAG),
)


def common_options(*, hidden: bool, of_vhost: bool = True) -> list[click.Parameter]:
    """Return the options that stand before a command as well as behind it."""
    return [
        _option(set_value, *spellings, hidden=hidden and not (of_vhost and "-p" in spellings), help=text, **settings)
        for set_value, spellings, text, settings in _COMMON
    ]
