"""All commands of `brokerctl`: each has help and examples, and each example does what it says on a node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.cli.command import BrokerCommand
from broker.cli.program import all_commands, run
from broker.cli.reference import MARK, reference
from broker.cli.session import refusal
from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties
from broker.management.figures.merging import Elsewhere
from tests.support.command_line import CommandLine, Input
from tests.support.http_api import HttpNode

ROOT = Path(__file__).parents[3]
COMMANDS = all_commands()
EXAMPLES = [(each, line) for each in COMMANDS for line in each.examples]


@pytest.fixture
def brokerctl(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> Iterator[CommandLine]:
    """Runs commands against a node with something of everything."""
    monkeypatch.chdir(tmp_path)
    node = HttpNode()
    line = CommandLine(node, monkeypatch, capsys, tmp_path / "config")
    for path, body in (
        ("/queues/%2F/orders", {"durable": True}),
        ("/exchanges/%2F/events", {"type": "topic", "durable": True}),
        ("/users/ann", {"password": "secret", "tags": ""}),
        ("/permissions/%2F/ann", {"configure": "", "write": "", "read": ""}),
        ("/topic-permissions/%2F/ann", {"exchange": "amq.topic", "write": "a", "read": "a"}),
        ("/vhosts/old", {}),
        ("/policies/%2F/limit", {"pattern": "x", "definition": {"max-length": 9}}),
        ("/operator-policies/%2F/limit", {"pattern": "x", "definition": {"max-length": 9}}),
        ("/vhost-limits/%2F/max-queues", {"value": 50}),
        ("/global-parameters/place", {"value": "here"}),
    ):
        assert node.status("PUT", path, body) in (201, 204), path
    assert node.status("POST", "/bindings/%2F/e/events/q/orders", {"routing_key": "order.paid"}) == 201
    message = {"routing_key": "orders", "payload": "old", "payload_encoding": "string", "properties": {}}
    assert node.status("POST", "/exchanges/%2F/amq.default/publish", message) == 200
    with capture_logs():
        yield line


def with_jms(brokerctl: CommandLine) -> str:
    """Let a client of JMS have a durable subscription without a consumer, and subscribe to a queue.

    Return the id of that subscription.
    """
    client = brokerctl.node.harness.peer(vhost="carbon")
    client.call(1, amqp.QueueDeclare(queue="carbon:news", durable=True, exclusive=True))
    arguments = FieldTable.of({"x-filter-jms-selector": ""})
    client.call(1, amqp.QueueBind(queue="carbon:news", exchange="amq.topic", routing_key="news", arguments=arguments))
    client.call(1, amqp.BasicConsume(queue="carbon:news", consumer_tag="s", exclusive=True))
    client.call(1, amqp.BasicCancel("s"))
    client.call(1, amqp.QueueDeclare(queue="orders", durable=True))
    client.call(1, amqp.BasicConsume(queue="orders", consumer_tag="c"))
    found = json.loads(brokerctl("subscriptions ls --kind queue --json").out)
    return str(found[0]["id"])


class Silent:
    """Another node that does not answer."""

    async def read(self, kind: str) -> Elsewhere:
        return Elsewhere({}, ("NODE:2",))


def test_nodes_that_are_missing_in_a_list_are_named_beside_it(brokerctl: CommandLine) -> None:
    brokerctl.node.node.view.others = Silent()
    with_jms(brokerctl)
    ended = brokerctl("subscriptions ls --kind queue --json")
    assert [row["queue"] for row in json.loads(ended.out)] == ["orders"]
    assert (ended.code, ended.err) == (0, "not all nodes have answered, missing: NODE:2\n")


def with_delayed(brokerctl: CommandLine) -> str:
    """Let a message wait; return its id."""
    properties = BasicProperties(headers=FieldTable.of({"x-delay": 60_000}), message_id="order-17")
    brokerctl.node.harness.peer().publish("orders", b"later", properties=properties)
    brokerctl.node.harness.commit()
    return str(json.loads(brokerctl("delayed ls --json").out)["items"][0]["id"])


def with_stream(brokerctl: CommandLine) -> str:
    """Let there be a stream with messages, and a consumer whose place is kept; return its name."""
    harness = brokerctl.node.harness
    peer = harness.peer()
    peer.call(1, amqp.QueueDeclare(queue="log", durable=True, arguments=FieldTable.of({"x-queue-type": "stream"})))
    peer.publish("log", b"0", b"1", b"2")
    harness.commit()
    kept = FieldTable.of({"x-stream-offset": "first", "x-stream-automatic-offset-tracking": True})
    peer.call(1, amqp.BasicQos(0, 10, False))
    peer.send(1, amqp.BasicConsume(queue="log", consumer_tag="reader", arguments=kept))
    peer.send(1, amqp.BasicAck(2, True))
    return "log"


def with_redrive(brokerctl: CommandLine, *, begun: bool) -> None:
    """Let there be a queue to move messages to, and a redrive that has done so, if it is to be `begun`."""
    assert brokerctl.node.status("PUT", "/queues/%2F/old", {"durable": True}) == 201
    if begun:
        assert brokerctl("redrive_queue orders --to old").code == 0
        brokerctl.node.harness.run()
        brokerctl.node.harness.commit()


def dead_letter(brokerctl: CommandLine) -> str:
    """Let a message of a client of JMS die; return the id of the newest dead letter."""
    harness = brokerctl.node.harness
    client = harness.peer(capabilities=(), vhost="carbon")
    client.call(1, amqp.QueueDeclare(queue="orders", durable=True))
    client.publish("orders", b"dead", properties=BasicProperties(delivery_mode=2))
    got: Any = client.call(1, amqp.BasicGet(queue="orders"))
    client.send(1, amqp.BasicReject(got.delivery_tag, requeue=False))
    harness.commit()
    client.contents()
    return str(json.loads(brokerctl("dlc ls --json").out)[-1]["id"])


def with_named(brokerctl: CommandLine) -> str:
    """Let a queue have a message with identifiers; return its id."""
    properties = {"message_id": "order-17", "correlation_id": "4711"}
    message = {"routing_key": "orders", "payload": "new", "payload_encoding": "string", "properties": properties}
    assert brokerctl.node.status("POST", "/exchanges/%2F/amq.default/publish", message) == 200
    return str(json.loads(brokerctl("message find order-17 --json").out)["items"][0]["id"])


@pytest.mark.parametrize(("command", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_each_example_does_what_it_says(command: BrokerCommand, line: str, brokerctl: CommandLine) -> None:
    Path("password.txt").write_text("a-password\n")
    Path("definitions.json").write_text(json.dumps({"queues": [{"name": "new", "vhost": "/", "durable": True}]}))
    words = line.removeprefix("brokerctl ")
    if command.names[0] == "authenticate_user":
        Path("password.txt").write_text("secret\n")
    if command.names[0] == "dlc show":
        words = words.replace("4711", dead_letter(brokerctl))
    if command.names[0].startswith(("subscriptions ", "dlc ")):
        words = words.replace("SUBSCRIPTION", with_jms(brokerctl))
    if command.names[0].startswith("delayed "):
        words = words.replace("1234567890", with_delayed(brokerctl))
    if "STREAM" in words:
        words = words.replace("STREAM", with_stream(brokerctl))
    if command.names[0] == "find_message":
        words = words.replace("137438953472", with_named(brokerctl))
    if "redrive" in command.names[0]:
        with_redrive(brokerctl, begun=command.names[0] != "redrive_queue")
    if "--remove x-message-ttl" in line:
        assert brokerctl("queue alter orders --argument x-message-ttl=60000").code == 0
    if command.names[0] == "close_connection":
        brokerctl.node.harness.peer()
        name = brokerctl("list_connections name -s").out.strip()
        words = words.replace("127.0.0.1:50000 -> 127.0.0.1:5672", name)
    if command.names[0] == "context rm":
        assert brokerctl("context add old http://localhost").code == 0
    ended = brokerctl(words, given="a-password\n")
    assert (ended.code, ended.err) == (0, ""), ended
    assert (
        ended.out or command.names[0] == "dlc ls" or words.startswith(("list_", "sub --exchange")) or brokerctl.executed
    )


@pytest.mark.parametrize("command", COMMANDS, ids=[each.names[0] for each in COMMANDS])
def test_each_command_has_help_under_all_its_names(command: BrokerCommand, capsys: Any) -> None:
    assert (command.help or "").strip().endswith((".", '".')), "one sentence at least"
    assert command.examples
    for line in command.examples:
        assert any(line.startswith(f"brokerctl {name}") for name in command.names), line
    assert {run([*name.split(), "--help"], {}) for name in command.names} == {0}
    assert capsys.readouterr().out.count(f"\n  {command.examples[0]}\n") == len(command.names)


def test_no_two_commands_have_one_name() -> None:
    names = [name for each in COMMANDS for name in each.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        ("queue list", "name\tmessages\norders\t1\n"),
        ("user list", "user\ttags\n"),
        ("user ls", "user\ttags\n"),
        ("policy list", "vhost\tname\tpattern\t"),
        ("connection ls", "user\tpeer_host\t"),
        ("vhost list", "name\n/\n"),
        ("queue create new", "queue 'new' declared\n"),
        ("exchange delete events --yes", "exchange 'events' deleted\n"),
        ("queue remove orders --yes", "queue 'orders' deleted\n"),
        ("binding declare events orders k", "queue 'orders' bound to 'events' by 'k'\n"),
    ],
)
def test_groups_have_singular_and_plural_and_words_that_mean_the_same(
    line: str, begins: str, brokerctl: CommandLine
) -> None:
    ended = brokerctl(line)
    assert (ended.code, ended.out[: len(begins)]) == (0, begins)


def test_help_may_be_asked_for_by_a_word(capsys: Any) -> None:
    for line in ("help", "help list_queues", "help queue", "help queue show"):
        assert run(line.split(), {}) == 0
        assert capsys.readouterr().out.startswith(f"Usage: brokerctl {line.removeprefix('help').strip()}".strip())


def test_a_command_may_have_the_name_of_a_group(brokerctl: CommandLine) -> None:
    listed = brokerctl("list_slots --json").out
    assert (brokerctl("slots --json").out, brokerctl("--json slots ls").out) == (listed, listed)
    assert brokerctl("nodes name -s").out == brokerctl("nodes list name -s").out == "NODE:1\n"
    assert brokerctl("slots nope").err == "Error: there is no queue 'nope' in vhost '/'\n"


def test_the_documentation_is_that_of_the_commands() -> None:
    _, mark, written = (ROOT / "docs" / "brokerctl.md").read_text().partition(MARK)
    assert (mark, written) == (MARK, reference()), "run python -m broker.cli.reference docs/brokerctl.md"


@pytest.mark.parametrize(
    ("named", "needed"),
    [
        ("--socket /nowhere/control", set()),
        ("--config conf", {"xml"}),
        ("--url http://127.0.0.1:1", {"http", "email", "ssl"}),
    ],
)
def test_a_command_imports_nothing_that_takes_long(named: str, needed: set[str]) -> None:
    """What is slow to import is named, and how long a start takes is left to the machine."""
    code = (
        "import sys; from broker.cli.program import run\n"
        f"assert run([*{named.split()!r}, 'list_queues'], {{}}) == 69\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"aiohttp", "asyncio", "cryptography", "pydantic", "rich", "sqlalchemy", "structlog", "thriftpy2", "uvloop"}
    heavy |= {"difflib", "email", "http", "ssl", "xml"}  # only where it is needed
    assert heavy & set(found.stdout.split()) == needed
    assert found.stderr.startswith("Error: ")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("bind '' orders k", 77, "it binds every queue by its name, and takes no other binding"),
        ("delayed move 5 --delay soon", 64, "'soon' is no duration: say a number of milliseconds, or 500ms, 30s, 5m"),
        ("list_qeues", 64, "there is no command 'list_qeues'. Did you mean list_queues"),
        ("delete_queue", 64, "Missing argument 'NAME'. See brokerctl delete_queue --help"),
        ("list_queues --nope", 64, "No such option"),
        ("list_queues name frobs", 64, "nothing has a column 'frobs'"),
        ("delete_queue orders", 64, "this would delete the queue 'orders' with its messages: say --yes"),
        ("delete_queue nope --yes", 65, "there is no queue 'nope' in vhost '/'"),
        ("delete_queue order --yes", 65, "there is no queue 'order' in vhost '/'. Did you mean orders?"),
        ("purge_queue order -p nope --yes", 65, "there is no virtual host 'nope'\n"),
        ("delete_user anne --yes", 67, "there is no user 'anne'. Did you mean ann?"),
        ("list_queues -p ole", 65, "there is no virtual host 'ole'. Did you mean old?"),
        ("list_queues --sort frobs", 64, "nothing has a column 'frobs'"),
        ("purge_queue orders --yes --watch 2", 64, "--watch is for commands that only look"),
        ("set_log_level info --watch 2", 64, "--watch is for commands that only look"),
        ("authenticate_user ann wrong", 65, "the node does not let 'ann' in"),
        ("authenticate_user nope x", 65, "the node does not let 'nope' in"),
        ("check alarms --all", 64, "name checks or say --all, not both"),
        ("check frobs", 64, "'frobs' is not one of"),
        ("delete_queue orders --if-empty --yes", 65, "queue 'orders' in vhost '/' not empty"),
        ("list_queues -p nope", 65, "there is no virtual host 'nope'"),
        ("queue add orders --type quorum", 65, "inequivalent arg 'x-queue-type'"),
        ("queue add q -a broken", 64, "'broken' has not the form NAME=VALUE"),
        ("queue alter orders -a x-expires=9 --remove x-expires", 64, "'x-expires' cannot be given and taken away"),
        ("queue alter orders -a x-max-lenght=9", 65, "did you mean 'x-max-length'?"),
        ("queue alter orders --remove x-expires", 65, "has no argument 'x-expires' to take away"),
        ("set_policy p ^a '{'", 64, "the definition '{' is no JSON"),
        ('set_policy p ^a \'{"max-length": "x"}\'', 65, "policy 'p' is not valid: 'x' is not a valid maximum length"),
        (
            "unbind events orders nope",
            65,
            "is not bound to 'events' by 'nope' with such arguments, but by 'order.paid'",
        ),
        ("delete_user nope --yes", 67, "there is no user 'nope'"),
        ("set_permissions nope a b c", 67, "there is no user 'nope'\n"),
        ("change_password nope x", 67, "there is no user 'nope'"),
        ("add_user ann x", 65, "there is a user 'ann' already"),
        ("add_user new", 65, "the password is empty"),
        ("definitions import nowhere.json", 66, "nowhere.json cannot be read: No such file"),
        ("definitions export nowhere/x.json", 73, "nowhere/x.json cannot be written"),
        ("context select nowhere", 64, "there is no context 'nowhere': there are local"),
        ("dlc restore", 64, "name dead letters by their ids"),
        ("pub k body --file x", 64, "say the payload or --file, not both"),
        ("pub k body --property foo=bar", 64, "there is no property 'foo': a header is --header foo=bar"),
        ("pub k body --property mesage-id=m", 64, "there is no property 'mesage-id': did you mean message_id?"),
        ("pub k body --property headers={}", 64, "each header is a --header NAME=VALUE"),
        ("pub k body --property delivery_mode=9", 64, "delivery_mode is 1 for a transient message, 2 for"),
        ("pub k body --property timestamp=now", 64, "timestamp is whole seconds since 1970"),
        ("pub k body --property expiration=1m", 64, "expiration is a number of milliseconds, and not '1m'"),
        ("bind evnts orders", 65, "there is no exchange 'evnts' in vhost '/'. Did you mean events?"),
        ("bind events order", 65, "there is no queue 'order' in vhost '/'. Did you mean orders?"),
        ("bind events order --to exchange", 65, "there is no exchange 'order' in vhost '/'"),
        ("unbind evnts orders", 65, "there is no exchange 'evnts' in vhost '/'. Did you mean events?"),
        ("bind events orders -p nope", 65, "there is no virtual host 'nope'"),
        ("delete_queue order --dry-run", 65, "there is no queue 'order' in vhost '/'. Did you mean orders?"),
        ("queue add ''", 64, "Invalid value for 'NAME': it is empty"),
        ("delete_queue '' --yes", 64, "Invalid value for 'NAME': it is empty"),
        ("message find m --since 1767225600", 64, "seconds get three zeros more, 1767225600000"),
        ("message find m --since yesterday", 64, "neither milliseconds since 1970 nor a time of ISO 8601"),
        ("delayed ls --until 1767225600", 64, "seconds get three zeros more"),
        ("delayed move 5 --at 1767225600", 64, "seconds get three zeros more"),
        ("dlc ls -p /", 65, "dead letters of other clients are in queues, which brokerctl browse"),
        ("queue alter orders -a x-max-priority=5 --dry-run", 65, "x-max-priority"),
        ("config show conf --json", 64, "a configuration is printed as text only"),
        ("queue show orders --columns name,frobs", 64, "it has no 'frobs'"),
        ("pub q hi -p nosuch", 65, "there is no virtual host 'nosuch'"),
        ("browse amq.delayed", 65, "brokerctl delayed ls shows what waits"),
        ("sub orders --offset first --ack", 64, "--offset is for a stream, which keeps its messages"),
        ("check_port_listener 9", 69, ""),
        ("pub nobody hello", 1, ""),
    ],
)
def test_what_fails_says_so_in_one_line_and_by_its_exit_code(
    line: str, code: int, text: str, brokerctl: CommandLine
) -> None:
    ended = brokerctl(line)
    assert (ended.code, text in ended.err, ended.err.count("\n")) == (code, True, 1 if text else 0), ended


def test_an_error_of_our_own_has_a_line_and_a_code(capsys: Any) -> None:
    def broken(wanted: object) -> Any:
        raise ZeroDivisionError("a bug")

    assert run(["ping"], {}, connect=broken) == 70
    assert capsys.readouterr().err == "Error: brokerctl has failed (ZeroDivisionError: a bug). --debug shows where\n"
    assert run(["--debug", "ping"], {}, connect=broken) == 70
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):\n")


def test_lists_are_lines_with_tabs_for_other_programs(brokerctl: CommandLine) -> None:
    assert brokerctl("list_queues").out == "name\tmessages\norders\t1\n"
    assert brokerctl("-s list_queues name messages_ready").out == "orders\t1\n"
    assert brokerctl("list-queues name --silent").out == "orders\n"
    assert brokerctl("queues ls name --formatter csv").out == "name\norders\n"
    assert json.loads(brokerctl("list_queues name --json").out) == [{"name": "orders"}]
    [whole] = json.loads(brokerctl("queues ls --json").out)
    assert whole["durable"] is True
    assert whole["messages"] == 1
    assert "─" in brokerctl("list_queues --formatter pretty_table").out


def test_lists_have_the_columns_and_the_order_that_are_wanted(brokerctl: CommandLine) -> None:
    for name in ("b", "a"):
        assert brokerctl(f"queue add {name}").code == 0
    brokerctl("queue add c -a x-max-length=5")
    assert brokerctl("list_queues -s --columns name,messages_ready").out.splitlines()[0] == "a\t0"
    assert brokerctl("--sort messages list_queues name -s --reverse").out == "orders\na\nb\nc\n"
    assert brokerctl("list_queues name -s --reverse").out == "orders\nc\nb\na\n"
    assert brokerctl("list_queues name -s --sort arguments.x-max-length").out == "c\na\nb\norders\n"
    assert brokerctl("list_queues --jsonl --columns name --sort name --reverse").out.splitlines() == [
        '{"name": "orders"}',
        '{"name": "c"}',
        '{"name": "b"}',
        '{"name": "a"}',
    ]
    assert json.loads(brokerctl("queue show orders --jsonl").out)["name"] == "orders"


def test_a_list_is_looked_at_again_until_somebody_ends_it(brokerctl: CommandLine) -> None:
    def look() -> None:
        if brokerctl.now > 4:
            raise KeyboardInterrupt
        brokerctl.publish("new")

    brokerctl.on_sleep = look
    ended = brokerctl("list_queues -s --watch 2")
    assert (ended.code, ended.out, ended.err) == (0, "orders\t1\norders\t2\norders\t3\n", "")


def test_what_is_not_there_need_not_be_deleted(brokerctl: CommandLine) -> None:
    for line in (
        "delete_queue nope --yes",
        "queue rm nope --yes --dry-run",
        "exchange rm nope --yes",
        "delete_user nope --yes",
        "delete_vhost nope --yes",
        "clear_policy nope",
        "close_connection nope --yes",
        "unbind events orders nope",
        "add_user ann a-password",
    ):
        ended = brokerctl(f"{line} --idempotently")
        assert (ended.code, ended.out, ended.err) == (0, "nothing to do\n", ""), line
    assert brokerctl("delete_queue orders --idempotent --yes").out == "queue 'orders' deleted\n"


def test_a_password_is_tried_without_a_change(brokerctl: CommandLine) -> None:
    before = brokerctl("export_definitions -").out
    assert brokerctl("authenticate_user ann", given="secret\n").out == "user\tann\ntags\t[]\n"
    assert json.loads(brokerctl("authenticate_user guest guest --json").out) == {
        "name": "guest",
        "tags": ["administrator"],
    }
    assert brokerctl("export_definitions -").out == before


def test_the_checks_that_are_named_are_run(brokerctl: CommandLine) -> None:
    assert brokerctl("check store local_alarms -s").out == "store\ttrue\t\nlocal_alarms\ttrue\t\n"


def test_under_rabbitmqs_name_the_output_is_rabbitmqs_and_nobody_is_asked(brokerctl: CommandLine) -> None:
    assert brokerctl("list_queues", program="/usr/bin/rabbitmqctl").out == (
        "Timeout: 60.0 seconds ...\nListing queues for vhost / ...\nname\tmessages\norders\t1\n"
    )
    assert brokerctl("-q list_queues name", program="rabbitmqctl").out == "name\norders\n"
    listed = brokerctl("list_users --formatter json", program="rabbitmqctl").out
    assert {"user": "ann", "tags": []} in json.loads(listed)
    assert brokerctl("list_connections", program="rabbitmqctl").out == "Listing connections ...\n"
    assert '\t{"max-length":9}\t' in brokerctl("list_policies", program="rabbitmqctl").out
    assert brokerctl("list_vhosts", program="rabbitmqctl").out.startswith("Listing vhosts ...\nname\n")
    assert brokerctl("purge_queue orders", program="rabbitmqctl").code == 0
    assert brokerctl("list_queues -s").out == "orders\t0\n"


def test_on_a_terminal_a_person_is_asked(brokerctl: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "This would delete the queue 'orders' with its messages. Type its name to go on"
    for typed in ("y", "", "order"):
        ended = brokerctl("delete_queue orders", given=f"{typed}\n", is_terminal=True)
        assert (ended.code, told in ended.out + ended.err) == (130, True)
    assert brokerctl("list_queues -s name").out == "orders\n"
    assert brokerctl("delete_queue orders", given="orders\n", is_terminal=True).code == 0
    assert brokerctl("list_queues -s name").out == ""
    ended = brokerctl("shutdown", given="n\n", is_terminal=True)
    assert (ended.code, "Really stop the node?" in ended.out + ended.err) == (130, True)
    assert brokerctl.node.around.told == []


def test_names_that_would_move_the_cursor_are_shown_as_escapes(brokerctl: CommandLine) -> None:
    assert brokerctl("queue add 'a\x1b[2Jb\tc' --quiet").code == 0
    assert brokerctl("list_queues name -s").out == "a\\x1b[2Jb\\tc\norders\n"


def test_more_queues_than_a_page_are_all_listed(brokerctl: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.cli.session._PAGE", 2)
    for number in range(4):
        brokerctl(f"queue add q{number}")
    assert brokerctl("list_queues name -s").out == "orders\nq0\nq1\nq2\nq3\n"
    assert brokerctl("list_queues name -s --sort name --reverse").out == "q3\nq2\nq1\nq0\norders\n"


def test_a_password_comes_from_the_input_and_is_not_lost_with_other_changes(brokerctl: CommandLine) -> None:
    assert brokerctl("add_user bob", given="s3cret\n").code == 0
    assert brokerctl("set_user_limits bob '{\"max-channels\": 3}'").code == 0
    assert brokerctl("set_user_tags bob monitoring management").code == 0
    assert brokerctl.node.status("GET", "/whoami", user=None, headers=login("bob", "s3cret")) == 200
    assert brokerctl("change_password bob", given="other\n").code == 0
    assert brokerctl.node.status("GET", "/whoami", user=None, headers=login("bob", "other")) == 200
    assert brokerctl("list_users -s").out.splitlines()[1] == "bob\t[monitoring, management]"
    assert brokerctl("list_user_limits --user bob -s").out == 'bob\t{"max-channels": 3}\n'


def login(name: str, password: str) -> dict[str, str]:
    from tests.support.http_api import basic

    return {"authorization": basic(name, password)}


def test_a_message_is_published_got_and_taken(brokerctl: CommandLine) -> None:
    brokerctl("purge_queue orders --yes")
    sent = "pub order.paid 'größer' -e events --header n=7 --property priority=3 --property correlation_id=9 --count 2"
    assert brokerctl(sent).out == "2 published\n"
    [got] = json.loads(brokerctl("get orders --json").out)
    assert got["payload"] == "größer"
    assert got["properties"]["headers"] == {"n": 7}
    assert (got["properties"]["priority"], got["properties"]["correlation_id"]) == (3, "9")
    assert brokerctl("list_queues messages -s").out == "2\n"
    assert brokerctl("pub orders --file -", given="of the input").code == 0
    assert brokerctl("list_queues messages -s").out == "3\n"
    assert len(json.loads(brokerctl("get orders --ack --count 5 --json").out)) == 3
    assert brokerctl("list_queues messages -s").out == "0\n"


def test_dead_letters_that_are_lost_are_warned_of(brokerctl: CommandLine) -> None:
    ended = brokerctl("queue alter orders -a x-dead-letter-exchange=nope")
    told = "Warning: there is no dead-letter exchange 'nope': dead letters of queue 'orders' are lost\n"
    assert (ended.code, ended.err) == (0, told)


def test_a_binding_is_found_by_its_key_and_arguments(brokerctl: CommandLine) -> None:
    brokerctl("bind amq.headers orders -a x-match=any -a kind=big")
    assert brokerctl("unbind amq.headers orders").code == 65
    assert brokerctl("unbind amq.headers orders -a kind=big -a x-match=any").code == 0
    assert "amq.headers" not in brokerctl("list_bindings source_name").out


def test_a_dry_run_of_an_import_changes_nothing(brokerctl: CommandLine) -> None:
    Path("new.json").write_text(json.dumps({"vhosts": [{"name": "new"}]}))
    assert brokerctl("definitions import new.json --dry-run").out == "virtual host 'new'\n"
    assert "new" not in brokerctl("list_vhosts -s").out.split()
    assert brokerctl("definitions import new.json").code == 0
    assert "new" in brokerctl("list_vhosts -s").out.split()
    Path("wrong.json").write_text(json.dumps({"users": [{}]}))
    assert brokerctl("definitions import wrong.json --dry-run").code == 65


def test_what_an_import_would_change_is_shown_line_by_line(brokerctl: CommandLine) -> None:
    given = {"policies": [{"vhost": "/", "name": "limit", "pattern": "y", "definition": {"max-length": 9}}]}
    Path("new.json").write_text(json.dumps(given))
    lines = brokerctl("definitions import new.json --diff").out.splitlines()
    assert [line for line in lines if line.startswith(("+ ", "- "))] == ['-   "pattern": "x",', '+   "pattern": "y",']
    told = json.loads(brokerctl("definitions import new.json --diff --json").out)
    assert (told["diff"], told["changes"]) == (lines, ["policy 'limit' in virtual host '/'"])
    assert brokerctl("list_policies -s").out == '/\tlimit\tx\tall\t{"max-length": 9}\t0\n'


def test_an_export_is_a_file_that_only_its_owner_reads(brokerctl: CommandLine) -> None:
    assert brokerctl("definitions export kept.json").code == 0
    path = Path("kept.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each["name"] for each in json.loads(path.read_text())["queues"]] == ["orders"]


def test_a_check_that_finds_something_says_what(brokerctl: CommandLine) -> None:
    brokerctl.node.around.reason = "memory is used up"
    ended = brokerctl("check")
    assert ended.code == 69
    assert "alarms\tfalse\tThere are alarms in effect in the cluster" in ended.out


def test_the_benchmarks_get_what_stands_behind(brokerctl: CommandLine) -> None:
    brokerctl("bench -- publish --seconds 1")
    assert brokerctl.executed[-1][1:] == ["-m", "benchmarks", "publish", "--seconds", "1"]


def test_a_drain_says_how_far_it_is_and_what_is_left(brokerctl: CommandLine) -> None:
    drain = brokerctl.node.around.drain
    drain.open, drain.pace = 100, 10
    ended = brokerctl("drain --seconds 30")
    assert (ended.code, ended.out) == (0, "drained: 100 connections closed, 0 are left\n")
    assert drain.seconds == [30.0]
    assert brokerctl.now == pytest.approx(5.0)
    assert brokerctl("resume").code == 0
    drain.open, drain.closed, drain.pace = 7, 0, 0
    assert brokerctl("drain --no-wait").out == "draining: 0 connections closed, 7 are left\n"
    assert brokerctl("drain --status -s").out == "state\tdraining\nconnections\t7\nclosed\t0\n"


def test_a_node_is_stopped_and_reloaded_on_its_machine(brokerctl: CommandLine) -> None:
    assert brokerctl("shutdown").code == 64
    assert brokerctl("shutdown --drain 5 --yes").out == "the node has stopped\n"
    brokerctl.node.around.has_ended = False
    assert brokerctl("shutdown --yes").code == 75
    assert brokerctl("reload").code == 0
    assert brokerctl("set_log_level debug").code == 0
    assert brokerctl("set_log_level loud").code == 64
    assert brokerctl.node.around.told == ["stop 5.0", "stop None", "reload", "level debug"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("purge_queue orders", "delete all messages of the queue 'orders'"),
        ("delete_queue orders", "delete the queue 'orders' with its messages"),
        ("queue add new", "PUT /api/queues/%2F/new"),
        ("shutdown", "stop the node"),
        ("change_password ann secret", "change_password"),
        ("db upgrade /etc/cordillera", "create or migrate the tables of the database in /etc/cordillera"),
        ("config convert old new", "write what old means into new"),
        ("db backup /etc/cordillera x.sql", "write the database in /etc/cordillera to x.sql"),
        ("delete_user ann", "delete the user 'ann' and close the user's connections"),
    ],
)
def test_a_dry_run_says_what_would_be_and_changes_nothing(brokerctl: CommandLine, line: str, told: str) -> None:
    before = brokerctl("export_definitions -").out, brokerctl("list_queues -s").out
    ended = brokerctl(f"{line} --dry-run")
    assert (ended.code, ended.out, ended.err) == (0, f"would {told}\n", "")
    assert (brokerctl("export_definitions -").out, brokerctl("list_queues -s").out) == before
    assert brokerctl.node.around.told == []
    assert brokerctl.executed == []


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("delete_queue nope", "queue 'nope'"),
        ("purge_queue nope", "queue 'nope'"),
        ("exchange rm nope", "exchange 'nope'"),
        ("delete_user nope", "user 'nope'"),
        ("queue add new -p none", "virtual host 'none'"),
        ("exchange add new -p none", "virtual host 'none'"),
        ("pub key x -e nope", "exchange 'nope'"),
        ("get nope", "queue 'nope'"),
        ("bind nope orders", "exchange 'nope'"),
        ("bind events nope", "queue 'nope'"),
        ("set_permissions nope a b c", "user 'nope'"),
        ("set_permissions ann a b c -p none", "virtual host 'none'"),
        ("set_topic_permissions nope amq.topic a b", "user 'nope'"),
        ("set_user_limits nope '{\"max-channels\": 1}'", "user 'nope'"),
        ("set_policy p x '{\"max-length\": 1}' -p none", "virtual host 'none'"),
        ("queue redrive nope", "queue 'nope'"),
        ("undo_redrive 9", "operation 9"),
        ("streams replay nope orders", "queue 'nope'"),
        ("streams replay orders nope", "queue 'nope'"),
        ("dlc reroute nope --all", "queue 'nope'"),
        ("subscriptions close nope", "subscription nope"),
        ("subscriptions delete nope", "queue 'nope'"),
        ("delayed cancel 5 -p none", "virtual host 'none'"),
    ],
)
def test_a_dry_run_finds_that_what_it_is_about_is_missing(brokerctl: CommandLine, line: str, missing: str) -> None:
    with_jms(brokerctl)
    for ended in (brokerctl(f"{line} --dry-run"), brokerctl(f"--dry-run {line}")):
        assert (ended.code in (65, 67), ended.out) == (True, "")
        assert f"no {missing}" in ended.err


def test_a_dry_run_counts_what_would_be_cancelled_or_moved(brokerctl: CommandLine) -> None:
    waits = with_delayed(brokerctl)
    for line in (f"cancel {waits} 5", f"move {waits} 5 --delay 1m"):
        ended = brokerctl(f"delayed {line} --dry-run")
        action = "delete" if "cancel" in line else "move"
        assert (ended.code, ended.out) == (3, f"would {action} 1 delayed messages\n")
        assert ended.err == "5: no such message waits\n"
    assert brokerctl("delayed cancel --message-id order-17 --dry-run").out == "would delete 1 delayed messages\n"
    ended = brokerctl("delayed cancel --message-id nope --dry-run")
    assert (ended.code, ended.err) == (3, "no message with the message_id 'nope' waits\n")
    assert brokerctl(f"delayed cancel {waits} --yes").code == 0


def test_a_dry_run_counts_dead_letters(brokerctl: CommandLine) -> None:
    dead = dead_letter(brokerctl)
    for line in ("restore", "reroute orders", "delete"):
        assert brokerctl(f"dlc {line} --all --dry-run").out == f"would {line.split()[0]} 1 dead letters\n"
        ended = brokerctl(f"dlc {line} {dead} 7 --dry-run")
        assert (ended.code, ended.out) == (3, f"would {line.split()[0]} 1 dead letters\n")
        assert ended.err == "7: there is no such dead letter\n"
    assert brokerctl("dlc delete --all --queue other --dry-run").out == "would delete 0 dead letters\n"
    assert brokerctl(f"dlc show {dead}").code == 0


def test_a_dry_run_asks_whether_the_node_would_listen(brokerctl: CommandLine) -> None:
    for line in ("drain", "reload", "set_global_parameter place '\"x\"'", "add_vhost new"):
        ended = brokerctl(f"--socket /nowhere/control {line} --dry-run", elsewhere=True)
        assert (ended.code, ended.out) == (69, "")


@pytest.mark.parametrize(
    "line",
    [
        "queue add ''",
        "queue rm '' --yes",
        "add_user '' x",
        "exchange add ''",
        "add_vhost ''",
        "list_queues -p ''",
        "get ''",
        "streams show ''",
        "set_policy '' x '{}'",
        "set_permissions '' a b c",
        "bind events ''",
        "slots ''",
    ],
)
def test_an_empty_name_is_refused_before_the_node_is_asked(brokerctl: CommandLine, line: str) -> None:
    ended = brokerctl(line)
    assert (ended.code, ended.out) == (64, "")
    assert "it is empty: a name has at least one character" in ended.err


def test_messages_are_followed_where_they_lie_and_none_is_shown_twice(brokerctl: CommandLine) -> None:
    brokerctl.on_sleep = lambda: brokerctl.publish("new")
    assert brokerctl("sub orders --count 3").out == "old\nnew\nnew\n"
    assert brokerctl("list_queues messages -s").out.strip() == "3"
    lines = brokerctl("sub orders --ack --count 3 --json").out.splitlines()
    assert [json.loads(line)["payload"] for line in lines] == ["old", "new", "new"]
    assert brokerctl("list_queues messages -s").out.strip() == "0"
    assert brokerctl("sub nope").code == 65
    assert brokerctl("sub").code == 64


def test_copies_of_what_is_published_come_from_a_queue_that_goes_again(brokerctl: CommandLine) -> None:
    brokerctl.on_sleep = lambda: brokerctl.publish("copy", "order.new", "events")
    assert brokerctl("sub --exchange events --key 'order.*' --count 1").out == "copy\n"
    assert brokerctl("list_queues name -s").out == "orders\n"
    assert brokerctl("sub --exchange nope --count 1").code == 65
    assert brokerctl("list_queues name -s").out == "orders\n"
    assert brokerctl("sub --exchange events --key none --seconds 5").out == ""


def test_a_payload_goes_through_a_command_of_the_shell(brokerctl: CommandLine) -> None:
    assert brokerctl("sub orders --count 1 --translate 'jq .'").code == 0
    assert (brokerctl.executed, brokerctl.inputs) == ([["/bin/sh", "-c", "jq ."]], [b"old"])


def test_a_hash_is_rabbitmqs_and_is_taken_by_the_api(brokerctl: CommandLine) -> None:
    hashed = brokerctl("hash_password", given="s3cret\n").out.strip()
    body = {"password_hash": hashed, "tags": "management"}
    assert brokerctl.node.status("PUT", "/users/bob", body) == 201
    assert brokerctl.node.status("GET", "/whoami", user=None, headers=login("bob", "s3cret")) == 200


def test_all_dead_letters_are_moved_in_pages(brokerctl: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.cli.commands.dead_letters._PAGE", 2)
    for _ in range(5):
        dead_letter(brokerctl)
    assert brokerctl("dlc delete --all --yes").out == "5 deleted\n"
    assert json.loads(brokerctl("dlc ls --json").out) == []


def test_work_that_is_given_up_says_how_far_it_was(brokerctl: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    drain = brokerctl.node.around.drain
    drain.open, drain.pace = 100, 10

    def interrupt() -> None:
        if brokerctl.now > 1:
            raise KeyboardInterrupt

    brokerctl.on_sleep = interrupt
    ended = brokerctl("drain")
    assert (ended.code, ended.err.strip()) == (130, "Error: given up after 20 of 100 connections closed")
    assert brokerctl("ping").code == 0


def completed(brokerctl: CommandLine, line: str, capsys: Any) -> list[str]:
    """Return what a shell would offer for the last word of a line."""
    words = line.split(" ")
    brokerctl.environ |= {"_BROKERCTL_COMPLETE": "bash_complete"}
    for name, value in (("COMP_WORDS", line), ("COMP_CWORD", str(len(words) - 1)), *brokerctl.environ.items()):
        brokerctl.monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        brokerctl("")
    return [each.partition(",")[2] for each in capsys.readouterr().out.splitlines() if each]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("brokerctl delete_queue o", ["orders"]),
        ("brokerctl purge_queue x", []),
        ("brokerctl slots o", ["orders"]),
        ("brokerctl slots l", ["ls"]),
        ("brokerctl authenticate_user a", ["ann"]),
        ("brokerctl bind ev", ["events"]),
        ("brokerctl set_permissions a", ["ann"]),
        ("brokerctl -p ol", ["old"]),
        ("brokerctl list_queues -p ol", ["old"]),
        ("brokerctl clear_policy l", ["limit"]),
        ("brokerctl -p nowhere delete_queue o", []),
    ],
)
def test_names_are_completed_from_the_running_node(
    brokerctl: CommandLine, capsys: Any, line: str, names: list[str]
) -> None:
    assert completed(brokerctl, line, capsys) == names


def test_a_shell_can_ask_for_commands(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, value in (
        ("_BROKERCTL_COMPLETE", "bash_complete"),
        ("COMP_WORDS", "brokerctl queue p"),
        ("COMP_CWORD", "2"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        run([], {})
    assert capsys.readouterr().out == "plain,purge\n"


def test_input_of_a_test_is_no_terminal_unless_it_says_so() -> None:
    assert not Input().isatty()
    assert Input(is_terminal=True).isatty()


def test_times_are_milliseconds_or_iso_8601(brokerctl: CommandLine) -> None:
    with_named(brokerctl)
    for since in ("2020-01-01", "1577836800000"):
        assert brokerctl(f"message find order-17 --since {since}").code == 0
        assert brokerctl(f"delayed ls --until {since}").code == 0


def test_one_thing_has_the_columns_that_are_wanted(brokerctl: CommandLine) -> None:
    assert brokerctl("queue show orders --columns messages,name").out == "messages\t1\nname\torders\n"
    assert json.loads(brokerctl("queue show orders --columns name --json").out) == {"name": "orders"}


def test_a_tag_that_permits_nothing_is_told(brokerctl: CommandLine) -> None:
    ended = brokerctl("set_user_tags ann admin monitoring")
    assert (
        ended.code,
        ended.err.startswith("note: the tag 'admin' permits nothing; those that do are administrator"),
    ) == (
        0,
        True,
    )


def test_a_file_without_definitions_is_refused(brokerctl: CommandLine) -> None:
    Path("d.json").write_text('{"queus": []}')
    ended = brokerctl("definitions import d.json")
    assert (ended.code, "d.json has no definitions but 'queus': say vhosts, users" in ended.err) == (65, True)


@pytest.mark.parametrize(
    ("redeclaration", "text"),
    [
        ("adopt", "is there already, and stays as it is: it has no x-max-length. brokerctl queue alter changes it"),
        ("upgrade", "was there, and is changed by its virtual host's redeclaration: x-max-length is now 77"),
    ],
)
def test_what_a_declaration_has_changed_is_told(redeclaration: str, text: str, brokerctl: CommandLine) -> None:
    assert brokerctl.node.status("PUT", "/vhosts/%2F", {"redeclaration": redeclaration}) in (201, 204)
    assert brokerctl("queue add orders").out == "queue 'orders' is there already, as it was asked for\n"
    assert brokerctl("queue add orders -a x-max-length=77").out == f"queue 'orders' {text}\n"


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("Login failed", "the password is wrong, or there is no such user"),
        ("Access refused.", "a permission by brokerctl set_permissions"),
        ("Not administrator user", "another user with --user, or ask for the tag"),
    ],
)
def test_a_refusal_says_what_is_missing(reason: str, advice: str) -> None:
    failure = refusal(401, {"error": "not_authorised", "reason": reason}, "", "memory")
    assert (failure.code, advice in str(failure)) == (77, True)


def test_altering_is_tried_on_the_node_without_a_change(brokerctl: CommandLine) -> None:
    ended = brokerctl("queue alter orders -a x-max-length=5 --dry-run")
    assert (ended.code, ended.out) == (0, "queue 'orders' would have the arguments {\"x-max-length\": 5}\n")
    assert json.loads(brokerctl("queue show orders --json").out)["arguments"] == {}


def test_an_import_that_would_change_nothing_says_so(brokerctl: CommandLine) -> None:
    assert brokerctl("export_definitions d.json").code == 0
    for option in ("--dry-run", "--diff"):
        ended = brokerctl(f"definitions import d.json {option}")
        assert (ended.code, ended.out, ended.err) == (0, "", "nothing would change\n")


def test_an_empty_queue_and_input_from_a_terminal_are_told_beside_the_output(brokerctl: CommandLine) -> None:
    assert brokerctl("get orders --ack --payload").out == "old\n"
    ended = brokerctl("get orders --ack --payload")
    assert (ended.code, ended.out, ended.err) == (0, "", "no message of 'orders' is ready\n")
    assert brokerctl("get orders -q").err == ""
    ended = brokerctl("pub orders", given="typed", is_terminal=True)
    assert (ended.out, ended.err) == ("published\n", "reading what is typed, until Ctrl-D\n")
