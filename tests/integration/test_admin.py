"""Users and permissions, set by `python -m broker admin` on a running node, as clients see them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.process import BrokerProcess
from tests.support import forked


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    process = BrokerProcess(tmp_path)
    process.start()
    yield process
    print(process.log)
    if process.is_running():
        process.stop()


@pytest.fixture(scope="module")
def unchanged_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """For tests that ask, and change nothing."""
    process = BrokerProcess(tmp_path_factory.mktemp("unchanged"))
    process.start()
    yield process
    print(process.log)
    process.stop()


def admin(broker: BrokerProcess, *arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command against the node of `broker`."""
    return forked.run("-m", "broker", "admin", "--config", str(broker.config), "--json", *arguments, given=password)


def done(broker: BrokerProcess, *arguments: str, password: str = "") -> object:
    answer = admin(broker, *arguments, password=password)
    assert (answer.returncode, answer.stderr) == (0, "")
    return json.loads(answer.stdout)


Connect = Callable[..., BlockingChannel]


@pytest.fixture
def connect(broker: BrokerProcess) -> Iterator[Connect]:
    """Opens a channel on a connection of its own, which ends with the test."""
    connections: list[pika.BlockingConnection] = []

    def open_channel(user: str, password: str, vhost: str = "/") -> BlockingChannel:
        credentials = pika.PlainCredentials(user, password)
        parameters = pika.ConnectionParameters("127.0.0.1", broker.port, vhost, credentials, heartbeat=0)
        connections.append(pika.BlockingConnection(parameters))
        return connections[-1].channel()

    yield open_channel
    for connection in connections:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def test_a_user_may_do_what_was_permitted_and_nothing_else(broker: BrokerProcess, connect: Connect) -> None:
    done(broker, "add-user", "ann", password="secret\n")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect("ann", "wrong")
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match="access to vhost '/' refused"):
        connect("ann", "secret")
    done(broker, "set-permissions", "ann", "/", "^ann-", ".*", "^ann-")
    channel = connect("ann", "secret")
    channel.queue_declare("ann-1", durable=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="configure access to queue 'bob-1'"):
        channel.queue_declare("bob-1")
    broker.stop()
    broker.start()
    connect("ann", "secret").queue_declare("ann-1", durable=True, passive=True)
    assert connect("guest", "guest").queue_delete("ann-1").method.message_count == 0
    lines = [json.loads(line) for line in broker.log.splitlines() if '"audit"' in line]
    of_ann = [(line["audit"], line.get("by"), line.get("uid")) for line in lines if line.get("user") == "ann"]
    assert of_ann[:3] == [
        ("user.created", "the control socket", os.getuid()),
        ("user.authentication.failure", None, None),
        ("user.authentication.success", None, None),
    ]
    assert [line["reason"] for line in lines if line["audit"] == "vhost.refused"] == [
        "access to vhost '/' refused for user 'ann'"
    ]
    assert "secret" not in broker.log
    assert "argon2" not in broker.log


def test_virtual_hosts_come_and_go(broker: BrokerProcess, connect: Connect) -> None:
    done(broker, "add-vhost", "new", "--description", "for tests")
    done(broker, "set-permissions", "guest", "new", ".*", ".*", ".*")
    channel = connect("guest", "guest", "new")
    channel.queue_declare("q", durable=True)
    done(broker, "delete-vhost", "new")
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="vhost 'new' is deleted"):
        channel.connection.process_data_events(5)
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match="vhost new not found"):
        connect("guest", "guest", "new")
    names = [each["vhost"] for each in done(broker, "list-vhosts")]  # type: ignore[attr-defined]
    assert names == ["/", "carbon"]


def test_policies_apply_at_once_and_after_a_restart(broker: BrokerProcess, connect: Connect) -> None:
    channel = connect("guest", "guest")
    channel.queue_declare("q", durable=True)
    for number in range(5):
        channel.basic_publish("", "q", b"%d" % number, pika.BasicProperties(delivery_mode=2))
    done(broker, "set-policy", "/", "short", "^q$", '{"max-length": 2}', "--priority", "3", "--apply-to", "queues")
    done(broker, "set-operator-policy", "/", "shorter", ".*", '{"max-length": 1, "expires": 3600000}')
    expected = {
        "vhost": "/",
        "name": "q",
        "type": "classic",
        "durable": True,
        "messages_ready": 1,
        "consumers": 0,
        "policy": "short",
        "operator_policy": "shorter",
        "effective_policy_definition": {"max-length": 1, "expires": 3600000},
    }
    assert done(broker, "list-queues", "/") == [expected]
    broker.stop()
    broker.start()
    assert done(broker, "list-queues") == [expected]
    channel = connect("guest", "guest")
    channel.basic_publish("", "q", b"new")
    assert channel.basic_get("q", auto_ack=True)[2] == b"new"
    done(broker, "clear-operator-policy", "/", "shorter")
    done(broker, "set-global-parameter", "cluster_name", '"here"')
    assert done(broker, "list-global-parameters") == [{"name": "cluster_name", "value": "here"}]
    assert done(broker, "list-policies") == [
        {
            "vhost": "/",
            "name": "short",
            "pattern": "^q$",
            "apply-to": "queues",
            "definition": {"max-length": 2},
            "priority": 3,
        }
    ]
    assert done(broker, "list-operator-policies") == []


def test_what_is_listed_has_no_secrets(broker: BrokerProcess) -> None:
    done(broker, "add-user", "ann", "secret")
    done(broker, "set-user-tags", "ann", "monitoring", "management")
    users = {user["name"]: user for user in done(broker, "list-users")}  # type: ignore[attr-defined]
    assert users["ann"]["tags"] == "monitoring,management"
    assert users["ann"]["password_hash"] is True
    assert users["guest"]["password_hash"] is False
    assert "secret" not in broker.log


def test_a_configured_password_can_be_replaced(broker: BrokerProcess, connect: Connect) -> None:
    done(broker, "change-password", "guest", "other")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect("guest", "guest")
    connect("guest", "other")
    done(broker, "delete-user", "guest")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect("guest", "other")
    broker.stop()
    broker.start()
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect("guest", "guest")


def test_a_generated_password_is_in_the_file_that_the_start_names_until_it_is_replaced(
    broker: BrokerProcess, connect: Connect
) -> None:
    file = broker.config.parent / "data" / "mb.db.admin-password"
    (made,) = [json.loads(line) for line in broker.log.splitlines() if "a password was generated" in line]
    (start,) = [json.loads(line) for line in broker.log.splitlines() if '"broker started"' in line]
    assert (made["file"], start["admin"]) == (str(file), f"admin: password in {file}")
    assert file.stat().st_mode & 0o777 == 0o600
    password = file.read_text().splitlines()[0]
    for secret in (password, "admin"):
        connect("admin", secret)
    done(broker, "change-password", "admin", "other")
    for secret in (password, "admin"):
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            connect("admin", secret)
    connect("admin", "other")
    assert password not in broker.log


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("delete-user", "nobody"), 1, "there is no user 'nobody'"),
        (("add-user", "guest", "x"), 1, "there is a user 'guest' already"),
        (("set-permissions", "guest", "/", "(", "", ""), 1, "the expression '(' is not served: missing ): ("),
        (
            ("set-policy", "/", "p", "^q", '{"max-length": "x"}'),
            1,
            "policy 'p' is not valid: 'x' is not a valid maximum length",
        ),
        (("clear-policy", "/", "p"), 1, "there is no policy 'p' in virtual host '/'"),
        (("set-user-limits", "guest", "--max-channels", "-7"), 1, "a limit is from 0 to 2147483647, or -1 for none"),
        (("import-definitions", "/nowhere.json"), 1, "/nowhere.json: cannot be read: No such file or directory"),
        (("import-definitions", "/dev/null"), 1, "/dev/null: is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (("import-definitions", "-"), 1, "-: is no JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_cannot_be_is_one_line(
    unchanged_broker: BrokerProcess, arguments: tuple[str, ...], code: int, text: str
) -> None:
    answer = admin(unchanged_broker, *arguments)
    assert (answer.returncode, answer.stderr.strip(), answer.stdout) == (code, text, "")


def test_without_a_node_it_says_where_it_looked(broker: BrokerProcess) -> None:
    broker.stop()
    answer = admin(broker, "list-users")
    assert answer.returncode == 69
    assert answer.stderr.startswith("no node answers on ")
    assert answer.stderr.strip().endswith("No such file or directory")
