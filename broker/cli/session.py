"""What a command works with: the node, and how results are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import click

from broker.cli.alike import names_alike, place_of
from broker.cli.failure import (
    EX_DATAERR,
    EX_NOPERM,
    EX_NOUSER,
    EX_OK,
    EX_PARTIAL,
    EX_SOFTWARE,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    EX_USAGE,
    CommandFailure,
)
from broker.cli.finding import WantedNode, find
from broker.cli.output import ListColumn, Row, columns_of, in_order, require_known, write_json, write_rows
from broker.cli.shell import Shell
from broker.cli.ways import NodeWay, value_of

_PAGE: Final = 500
"""Rows of a list that are asked for at once: the most that the API gives."""

_NONE: Final[Mapping[str, str]] = {}
_WHO: Final = "/whoami"
"""What every node answers that lets somebody in."""

Connect = Callable[[WantedNode], NodeWay]


class DryRun(Exception):
    """A command was about to change something, and is not to. The text says what."""


class NothingToDo(Exception):
    """`--idempotent` takes it for success: what was to be deleted is not there, or what was to be made is."""


@dataclass(slots=True)
class CommandSession:
    """One run of the command line."""

    environ: Mapping[str, str]
    connect: Connect | None = None
    """Returns the way to the node, for tests; otherwise it is found as the command line says."""
    shell: Shell = field(default_factory=Shell)
    wanted: WantedNode = field(default_factory=WantedNode)
    given_vhost: str | None = None
    style: str = "table"
    columns: str = ""
    """Those of `--columns`, with commas between them."""
    sort: str = ""
    """The column that orders lists; empty for the order of the API."""
    is_reverse: bool = False
    watch: float = 0.0
    """Seconds after which the command is run again; 0 for once."""
    is_quiet: bool = False
    is_silent: bool = False
    is_yes: bool = False
    is_dry_run: bool = False
    """Is nothing to be changed, and only to be said what would be?"""
    is_idempotent: bool = False
    """Is it no failure that what is to be deleted is not there?"""
    is_debug: bool = False
    """Is the traceback of a failure shown?"""
    has_no_progress: bool = False
    how_far: Callable[[], str] | None = None
    """Says how much of long work is done, once there is some."""
    as_rabbitmqctl: bool = False
    """Is this run by one of the names of RabbitMQ's programs, whose output scripts know?"""
    _way: NodeWay | None = None
    _about_to: str = ""
    """What somebody would have been asked."""

    @property
    def vhost(self) -> str:
        """The virtual host of the command."""
        return "/" if self.given_vhost is None else self.given_vhost

    @property
    def is_json(self) -> bool:
        """Is JSON printed, and nothing beside it?"""
        return self.style in ("json", "jsonl")

    @property
    def way(self) -> NodeWay:
        """The way to the node. Raises `CommandFailure`."""
        if self._way is None:
            self._way = self.connect(self.wanted) if self.connect else find(self.wanted, self.environ, ask_password)
        return self._way

    # Asking

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] = _NONE,
        headers: Mapping[str, str] = _NONE,
        what: str = "",
    ) -> tuple[int, Any]:
        """Return status and value of any answer of the HTTP API. `what` is named when what is to be deleted is missing.

        Raises `DryRun` before something is changed, and `NothingToDo` if that is so.
        """
        if method != "GET":
            self._require_one_run()
            if self.is_dry_run:
                self._tell_what_would_be(method, path, what)
        if "//" in path or path.endswith("/"):
            raise click.UsageError("a name is empty: say which one is meant")
        text = "" if body is None else json.dumps(body)
        status, answer = self.way.request(method, path, query, text, headers)
        if self.way.silent:
            click.echo(f"not all nodes have answered, missing: {self.way.silent}", err=True)
        if status == 404 and method == "DELETE" and self.is_idempotent:
            raise NothingToDo
        return status, value_of(answer)

    def _require_one_run(self) -> None:
        if self.watch:
            raise click.UsageError("--watch is for commands that only look: this one changes something")

    def get(self, path: str, **query: str) -> Any:
        """Return what stands at a path below `/api`. Raises `CommandFailure`."""
        return self.send("GET", path, **query)

    def send(self, method: str, path: str, body: Any = None, *, what: str = "", **query: str) -> Any:
        """Let something be done; `what` is named when it is not there. Raises `CommandFailure`."""
        status, value = self.ask(method, path, body, query=query, what=what)
        if status >= 400:
            raise self.refused(status, value, what)
        return value

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Return the result of a command that only the control socket has. Raises `CommandFailure`, `DryRun`."""
        self._require_one_run()
        if self.is_dry_run and self.way.is_local:
            self._look_at(_WHO)
            raise DryRun(self._about_to or name)
        return self.way.command(name, arguments)

    def _tell_what_would_be(self, method: str, path: str, what: str) -> NoReturn:
        """Raise `DryRun`, or `CommandFailure` if what is to be deleted or changed is not there, or nobody answers."""
        if method == "DELETE":
            thing = path.removesuffix("/contents")
            if self._look_at(thing, what or f"such thing: {thing}") == 404:
                raise NothingToDo
        else:
            place = place_of(self.vhost, what)
            self._look_at(place if place and place != path else _WHO, what)
        raise DryRun(self._about_to or f"{method} /api{path}")

    def _look_at(self, path: str, what: str = "") -> int:
        """Return the status of what stands at a path. Raises `CommandFailure` when nobody may look, or nothing stands
        there, unless that is what is wanted.
        """
        status, answer = self.way.request("GET", path, {}, "", {})
        if status in (401, 403) or (status == 404 and not self.is_idempotent):
            raise self.refused(status, value_of(answer), what)
        return status

    def try_out(self, path: str, what: str) -> None:
        """In a dry run, raise `CommandFailure` unless something stands at a path that is needed for what comes."""
        if self.is_dry_run:
            self.send("GET", path, what=what)

    def tell_dry_run(self, text: str, missing: Iterable[str] = ()) -> int:
        """Say what would be done, and what could not be; return the exit code."""
        click.echo(f"would {text}")
        absent = list(missing)
        for each in absent:
            click.echo(each, err=True)
        return EX_PARTIAL if absent else EX_OK

    def rows(self, path: str, what: str = "", **query: str) -> list[dict[str, Any]]:
        """Return a whole list, which is asked for in pages. Raises `CommandFailure`."""
        found: list[dict[str, Any]] = []
        page = pages = 1
        while page <= pages:
            answer = self.send("GET", path, what=what, page=str(page), page_size=str(_PAGE), **query)
            if isinstance(answer, list):
                return answer
            found += answer["items"]
            page, pages = page + 1, answer["page_count"]
        return found

    def refused(self, status: int, value: Any, what: str) -> CommandFailure:
        """Return the failure that an answer means."""
        failure = refusal(status, value, what, self.way.name)
        if "not supported by stream queues" in str(failure):
            advice = "brokerctl sub QUEUE --offset first reads it, streams replay copies it into a queue"
            return CommandFailure(failure.code, f"{failure}. This is a stream: {advice}")
        if status == 404 and (alike := names_alike(self.way, self.vhost, what)):
            return CommandFailure(failure.code, f"{failure}. Did you mean {' or '.join(alike)}?")
        return failure

    # Printing

    def say(self, text: str) -> None:
        """Tell what was done, unless nobody wants to know."""
        if not (self.is_quiet or self.is_silent or self.is_json):
            click.echo(text)

    def show_rows(
        self,
        rows: Sequence[Row],
        usual: Sequence[str],
        wanted: Sequence[str] = (),
        paths: Mapping[str, str] | None = None,
        *,
        title: str = "",
    ) -> None:
        """Print a list: the columns that are wanted, or the usual ones; JSON has all unless some are wanted, or this
        is `rabbitmqctl`, whose JSON has the columns.
        """
        chosen = [name for name in self.columns.split(",") if name]
        has_all = self.is_json and not self.as_rabbitmqctl
        names = wanted or chosen or (() if has_all else usual)
        columns, order = columns_of(names, paths or {}), columns_of((self.sort,) if self.sort else (), paths or {})
        require_known(rows, [*columns, *order], usual)
        if order:
            rows = in_order(rows, order[0], is_reverse=self.is_reverse)
        elif self.is_reverse:
            rows = rows[::-1]
        if self.as_rabbitmqctl and title and self.style == "table" and not (self.is_quiet or self.is_silent):
            click.echo(f"{title} ...")
        self._write(rows, columns, header=not self.is_silent)

    def show(self, value: Mapping[str, Any], lines: Iterable[tuple[str, Any]]) -> None:
        """Print one thing: `value` as JSON, otherwise `lines` of names and values."""
        if self.is_json and not self.columns:
            self.show_json(value)
            return
        rows = [{"": name, "value": each} for name, each in lines]
        if chosen := [name for name in self.columns.split(",") if name]:
            missing = [name for name in chosen if all(row[""] != name for row in rows)]
            if missing:
                raise CommandFailure(EX_USAGE, f"it has no {missing[0]!r}: {', '.join(row[''] for row in rows)}")
            rows = [row for name in chosen for row in rows if row[""] == name]
        if self.is_json:
            self.show_json({row[""]: row["value"] for row in rows})
            return
        self._write(rows, columns_of(("", "value"), {}), header=False)

    def show_json(self, value: Any) -> None:
        """Print a value as JSON."""
        write_json(sys.stdout, value, self.style)

    def _write(self, rows: Sequence[Row], columns: Sequence[ListColumn], *, header: bool) -> None:
        draws = sys.stdout.isatty() and not self.as_rabbitmqctl
        header = header and (bool(rows) or not self.as_rabbitmqctl)  # RabbitMQ's lists without rows have no titles
        is_compact = self.as_rabbitmqctl
        write_rows(sys.stdout, rows, columns, self.style, header=header, draws=draws, is_compact=is_compact)

    # Asking people

    def confirm(self, what: str, name: str = "") -> None:
        """Ask before something is lost; a `name` must be typed. Raises `CommandFailure` when nobody can be asked, and
        `click.Abort` for no.
        """
        self._about_to = what
        if self.is_yes or self.is_dry_run or self.as_rabbitmqctl:
            return
        if not sys.stdin.isatty():
            raise CommandFailure(EX_USAGE, f"this would {what}: say --yes")
        if not name:
            click.confirm(f"Really {what}?", abort=True, err=True)
            return
        typed = click.prompt(f"This would {what}. Type its name to go on", default="", show_default=False, err=True)
        if typed != name:
            raise click.Abort


def ask_password(user: str) -> str | None:
    """Ask for a password on the terminal; None where there is none."""
    if not sys.stdin.isatty():
        return None
    return str(click.prompt(f"Password of {user}", hide_input=True, err=True))


def new_password(given: str | None, *, is_new: bool = True) -> str:
    """Return a password: as given, from the terminal, or the first line of the input. One that is new is asked for
    twice.
    """
    if given is None:
        if sys.stdin.isatty():
            given = str(click.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True))
        else:
            given = sys.stdin.readline().rstrip("\n")
    if not given:
        raise CommandFailure(EX_DATAERR, "the password is empty")
    return given


def _remedy(text: str) -> str:
    """Return what to do about a refusal."""
    if text.startswith("Login failed"):
        return "the password is wrong, or there is no such user"
    if "default exchange" in text:
        return "it binds every queue by its name, and takes no other binding"
    if text.startswith("Access refused"):
        return "another user with --user, or a permission by brokerctl set_permissions on the node's machine"
    return "another user with --user, or ask for the tag"


def refusal(status: int, value: Any, what: str, way: str) -> CommandFailure:
    """Return the failure that an answer of the HTTP API means."""
    reason = value.get("reason", value.get("error", "")) if isinstance(value, Mapping) else ""
    detail = str(value.get("detail", "")) if isinstance(value, Mapping) else ""
    text = str(reason) or f"refused with {status}"
    if status == 404:
        code = EX_NOUSER if what.startswith("user ") else EX_DATAERR
        return CommandFailure(code, detail or f"there is no {what or 'such thing'}")
    if status in (401, 403):
        return CommandFailure(
            EX_NOPERM, f"{way} does not permit that ({detail or text}): {_remedy(f'{text} {detail}')}"
        )
    if status == 503:
        return CommandFailure(EX_TEMPFAIL if "store" in text else EX_UNAVAILABLE, text)
    if text == "vhost_or_user_not_found":
        return CommandFailure(EX_NOUSER, f"there is no {what}")
    if status < 500 and status != 405:
        return CommandFailure(EX_DATAERR, text)
    return CommandFailure(EX_SOFTWARE, f"{way} answered {status} ({text}): its log says more")
