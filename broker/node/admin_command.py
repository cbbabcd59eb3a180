"""`python -m broker admin`: asks the node on this machine to change who may do what."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from broker.config.configuration import Configuration
from broker.errors import AdministrationError
from broker.node.control_client import ask
from broker.node.control_path import control_path
from broker.node.printable import printable
from broker.topology.policies import APPLY_TO

EX_OK: Final = 0
EX_FAILED: Final = 1
EX_UNAVAILABLE: Final = 69

_Add = Callable[[argparse.ArgumentParser], None]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line behind `admin`."""
    whole = argparse.ArgumentParser(
        prog="python -m broker admin",
        description="Administer the node that runs here with this configuration.",
    )
    whole.add_argument("--config", metavar="PATH", help="broker.xml of the node, or the folder it is in")
    whole.add_argument("--json", action="store_true", help="print results as JSON")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, add in _COMMANDS:
        add(commands.add_parser(name, help=text, description=text))
    return whole


def run(options: argparse.Namespace, config: Configuration) -> int:
    """Carry a command out and return the exit code."""
    given = {name: value for name, value in vars(options).items() if name not in ("config", "json", "command")}
    if "file" in given:
        try:
            given["definitions"] = _definitions_in(given.pop("file"))
        except AdministrationError as error:
            print(f"{options.file}: {error}", file=sys.stderr)
            return EX_FAILED
    if "password" in given and given["password"] is None:
        given["password"] = _ask_password()
    request = {key: value for key, value in given.items() if value is not None}
    request["command"] = options.command.replace("-", "_")
    path = control_path(config.node_place)
    try:
        answer = ask(path, request)
    except OSError as error:
        print(f"no node answers on {path}: {error.strerror or error}", file=sys.stderr)
        return EX_UNAVAILABLE
    if "error" in answer:
        print(printable(answer["error"]), file=sys.stderr)
        return EX_FAILED
    result: Any = answer.get("result")
    if options.command == "import-definitions" and not options.json:
        return show_import(result)
    if options.command == "list-subscriptions" and not options.json:
        return show_subscriptions(result)
    _show(result, as_json=options.json)
    return EX_OK


def _definitions_in(path: str) -> object:
    """Return what a file holds, or the input for `-`."""
    from broker.node.definitions_file import read_definitions  # heavy, for one command

    return read_definitions("/dev/stdin" if path == "-" else path)


def _ask_password() -> str:
    """Read a password from the terminal, or the first line of the input when that is none."""
    if sys.stdin.isatty():
        return getpass.getpass("Password: ")
    return sys.stdin.readline().rstrip("\n")


def _show(result: Any, *, as_json: bool) -> None:
    if as_json or isinstance(result, dict):
        print(json.dumps(result, indent=2))
    elif isinstance(result, list):
        for row in result:
            cells = [row] if isinstance(row, str) else [f"{name}={value}" for name, value in row.items()]
            print("\t".join(map(printable, cells)))


def show_import(result: Mapping[str, list[str]]) -> int:
    """Print what was changed, and beside it what was not; return the exit code."""
    for line in result["changes"]:
        print(printable(line))
    for name, what in (("left_out", "left out"), ("problems", "cannot be made")):
        for line in result[name]:
            print(printable(f"{what}: {line}"), file=sys.stderr)
    return EX_FAILED if result["problems"] else EX_OK


def show_subscriptions(result: Mapping[str, Any]) -> int:
    """Print the list, and beside it which nodes are missing in it; return the exit code."""
    _show(result["subscriptions"], as_json=False)
    for node in result["silent"]:
        text = f"node '{node}' has not answered: its consumers are one line for each queue"
        print(printable(text), file=sys.stderr)
    return EX_OK


def _nothing(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def _of(*names: str) -> _Add:
    def add(parser: argparse.ArgumentParser) -> None:
        for name in names:
            parser.add_argument(name)

    return add


def _with_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("password", nargs="?", help="asked for, or read from the input, when it is not given")


def _tags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("tags", nargs="*", help="administrator, management, monitoring, policymaker, …; none takes all")


def _user_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--max-connections", type=int, help="-1 for any number")
    parser.add_argument("--max-channels", type=int, help="-1 for any number")


def _vhost(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--description")
    parser.add_argument("--default-queue-type", choices=("classic", "quorum"))


def _vhost_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vhost")
    parser.add_argument("--max-connections", type=int, help="-1 for any number")
    parser.add_argument("--max-queues", type=int, help="-1 for the configured number")


def _clear_topic(parser: argparse.ArgumentParser) -> None:
    _of("user", "vhost")(parser)
    parser.add_argument("exchange", nargs="?", help="all of the virtual host when it is not given")


def _definitions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="definitions as RabbitMQ exports them; - for the input")
    parser.add_argument("--dry-run", action="store_true", help="only say what differs")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON") from None


def _policy(parser: argparse.ArgumentParser) -> None:
    _of("vhost", "name")(parser)
    parser.add_argument("pattern", help="an expression that is found in the names of what it applies to")
    parser.add_argument("definition", type=_json, help="JSON, for example '{\"max-length\": 1000}'")
    parser.add_argument(
        "--priority", type=int, default=0, help="of several that match the highest applies; 0 otherwise"
    )
    parser.add_argument("--apply-to", choices=APPLY_TO, default="all")


def _global_parameter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("value", type=_json, help="JSON")


def _queues(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vhost", nargs="?", help="all virtual hosts when it is not given")


def _in_carbon(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vhost", default="carbon", help="the virtual host; carbon when it is not given")


def _dead_letters(parser: argparse.ArgumentParser) -> None:
    _in_carbon(parser)
    parser.add_argument("--queue", help="only those that died in this queue")


def _list_of_dead_letters(parser: argparse.ArgumentParser) -> None:
    _dead_letters(parser)
    parser.add_argument("--after", type=int, default=0, metavar="ID", help="only those behind this one")
    parser.add_argument("--limit", type=int, default=100, help="how many; 100 when it is not given")


def _chosen_dead_letters(parser: argparse.ArgumentParser) -> None:
    _dead_letters(parser)
    parser.add_argument("ids", nargs="*", type=int, metavar="ID", help="ids, as list-dead-letters shows them")
    parser.add_argument("--all", action="store_true", help="all there are")


def _rerouted_dead_letters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="QUEUE", help="where they go")
    _chosen_dead_letters(parser)


def _subscriptions(parser: argparse.ArgumentParser) -> None:
    _in_carbon(parser)
    parser.add_argument("--kind", choices=("queue", "topic", "durable"), help="only these")
    parser.add_argument("--queue", help="only those of this queue")
    parser.add_argument("--after", metavar="ID", help="only those behind this one")
    parser.add_argument("--limit", type=int, default=100, help="how many; 100 when it is not given")


def _subscription(parser: argparse.ArgumentParser) -> None:
    _in_carbon(parser)
    parser.add_argument("id", metavar="ID", help="as list-subscriptions shows it")


def _durable_subscription(parser: argparse.ArgumentParser) -> None:
    _in_carbon(parser)
    parser.add_argument("name", help="its queue, as list-subscriptions shows it")


def _delayed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vhost", default="/", help="the virtual host; / when it is not given")
    parser.add_argument("--message-id", help="only those with this message_id, which their publisher chose")


def _list_of_delayed(parser: argparse.ArgumentParser) -> None:
    _delayed(parser)
    parser.add_argument("--exchange", help="only those that were published to this exchange")
    parser.add_argument("--routing-key", help="only those with this routing key")
    parser.add_argument("--until", type=int, metavar="MS", help="only those that are due by then, in ms since 1970")
    parser.add_argument("--after", metavar="PLACE", help="those behind this place, the next of the list before")
    parser.add_argument("--limit", type=int, default=100, help="how many; 100 when it is not given")


def _chosen_delayed(parser: argparse.ArgumentParser) -> None:
    _delayed(parser)
    ids = parser.add_argument("ids", nargs="*", type=int, metavar="ID", help="ids, as list-delayed shows them")
    ids.default = argparse.SUPPRESS  # an empty list would be a choice


def _moved_delayed(parser: argparse.ArgumentParser) -> None:
    _chosen_delayed(parser)
    parser.add_argument("--delay", type=int, metavar="MS", help="so many milliseconds from now; 0 for at once")
    parser.add_argument("--at", dest="deliver_at", metavar="TIME", help="ms since 1970, or a time of ISO 8601")


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream")
    parser.add_argument("destination", metavar="QUEUE", help="where copies go")
    parser.add_argument("--vhost", default="/", help="the virtual host; / when it is not given")
    parser.add_argument("--from", metavar="PLACE", help="an offset, an age such as 2h, or a time of ISO 8601")
    parser.add_argument("--to", metavar="PLACE", help="up to there; what has this offset or time is not meant")
    parser.add_argument("--filter", metavar="VALUE", help="only those with this value of x-stream-filter-value")
    parser.add_argument("--limit", type=int, help="how many at most")


_COMMANDS: Final[Sequence[tuple[str, str, _Add]]] = (
    ("list-users", "users with their tags and limits", _nothing),
    ("add-user", "add a user, who may do nothing yet", _with_password),
    ("delete-user", "delete a user; open connections are closed", _of("name")),
    ("change-password", "give a user another password", _with_password),
    ("set-user-tags", "replace the tags of a user", _tags),
    ("set-user-limits", "limit connections and channels of a user on each node", _user_limits),
    ("list-vhosts", "virtual hosts with what is set of them", _nothing),
    ("add-vhost", "create a virtual host, or change what is set of it", _vhost),
    ("delete-vhost", "delete a virtual host with everything in it", _of("name")),
    ("set-vhost-limits", "limit connections and queues of a virtual host", _vhost_limits),
    ("list-permissions", "what users may do in virtual hosts", _nothing),
    (
        "set-permissions",
        "let a user configure, write and read what these expressions match",
        _of("user", "vhost", "configure", "write", "read"),
    ),
    ("clear-permissions", "let a user do nothing in a virtual host", _of("user", "vhost")),
    ("list-topic-permissions", "what keys users may use at topic exchanges", _nothing),
    (
        "set-topic-permissions",
        "let a user write and read keys that these expressions match, at a topic exchange",
        _of("user", "vhost", "exchange", "write", "read"),
    ),
    ("clear-topic-permissions", "let a user use all keys again", _clear_topic),
    ("list-roles", "roles of the user database with what they may do", _nothing),
    ("add-role", "add a role: NAME, or Internal/NAME beside the user store", _of("role")),
    ("delete-role", "delete a role with its members and permissions", _of("role")),
    ("join-role", "make a user a member of a role", _of("user", "role")),
    ("leave-role", "take a user out of a role", _of("user", "role")),
    ("permit-role", "let a role do something, such as event/queues/jms/q consume", _of("role", "resource", "action")),
    ("clear-role-permission", "let a role do something no more", _of("role", "resource", "action")),
    ("list-policies", "what applies to queues and exchanges whose names match", _nothing),
    ("set-policy", "let a definition apply to queues and exchanges whose names match, at once", _policy),
    ("clear-policy", "let a policy apply no more", _of("vhost", "name")),
    ("list-operator-policies", "limits that no other policy loosens", _nothing),
    ("set-operator-policy", "set limits that no other policy loosens", _policy),
    ("clear-operator-policy", "let an operator policy apply no more", _of("vhost", "name")),
    ("list-global-parameters", "values that are kept for the whole cluster", _nothing),
    ("set-global-parameter", "keep a value for the whole cluster", _global_parameter),
    ("clear-global-parameter", "keep a value no more", _of("name")),
    ("list-queues", "queues with the policies that apply to them, and what these say together", _queues),
    ("list-dead-letters", "messages in a dead letter channel, and why they are there", _list_of_dead_letters),
    ("restore-dead-letters", "put messages back into the queues in which they died", _chosen_dead_letters),
    ("reroute-dead-letters", "put messages of a dead letter channel into another queue", _rerouted_dead_letters),
    ("delete-dead-letters", "delete messages of a dead letter channel", _chosen_dead_letters),
    ("list-delayed", "messages that wait for their time, what is due first first", _list_of_delayed),
    ("cancel-delayed", "delete messages before their time", _chosen_delayed),
    ("move-delayed", "let messages go on at another time, or now", _moved_delayed),
    ("replay-stream", "put copies of a stream's messages into a queue", _replay),
    ("list-subscriptions", "consumers of queues, subscribers of topics, durable subscriptions", _subscriptions),
    ("close-subscription", "take the consumer of a subscription away; a durable one stays", _subscription),
    ("delete-subscription", "delete a durable subscription that nobody consumes", _durable_subscription),
    ("export-definitions", "print everything that lasts as RabbitMQ exports it, with hashes of passwords", _nothing),
    ("import-definitions", "make what definitions hold and is not there", _definitions),
)
