"""RabbitMQ's own `rabbitmqadmin`, as Debian installs it, with every verb: exit codes and words are those that it had
against RabbitMQ 3.10.8.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
import trustme

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerProcess

ADMIN = which("rabbitmqadmin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ADMIN is None, reason="rabbitmqadmin is not installed: apt-get install rabbitmq-server"),
]

GOT = "routing_key exchange message_count payload payload_bytes payload_encoding properties redelivered"
POLICY = "vhost name apply-to definition pattern priority"
VERBS = (
    ("show overview", 0, "rabbitmq_version cluster_name queue_totals.messages object_totals.queues"),
    ("list users", 0, "name hashing_algorithm password_hash tags"),
    ("list vhosts", 0, "name messages"),
    ("list connections", 0, "No items"),
    ("list exchanges", 0, "name type"),
    ("list bindings", 0, "No items"),
    ("list permissions", 0, "vhost configure read user write"),
    ("list channels", 0, "No items"),
    ("list parameters", 0, "No items"),
    ("list consumers", 0, "No items"),
    ("list queues", 0, "No items"),
    ("list policies", 0, "No items"),
    ("list operator_policies", 0, "No items"),
    ("list nodes", 0, "name type mem_used"),
    ("list vhost_limits", 0, "No items"),
    ("declare vhost name=va", 0, "vhost declared"),
    ("declare queue name=qa durable=true", 0, "queue declared"),
    ("declare queue name=qa durable=true", 0, "queue declared"),
    (
        "declare queue name=qa durable=false",
        1,
        "*** inequivalent arg 'durable' for queue 'qa' in vhost '/': received 'false' but current is 'true'",
    ),
    ('declare queue name=qb auto_delete=true arguments={"x-message-ttl":60000}', 0, "queue declared"),
    ("declare queue name=qx node=nope@x", 1, "*** Node nope@x could not be contacted"),
    ("declare exchange name=xa type=topic", 0, "exchange declared"),
    (
        "declare exchange name=xa type=direct",
        1,
        "*** inequivalent arg 'type' for exchange 'xa' in vhost '/': received 'direct' but current is 'topic'",
    ),
    ("declare exchange name=xb type=nope", 1, "*** unknown exchange type 'nope'"),
    ("declare binding source=xa destination=qa routing_key=a.#", 0, "binding declared"),
    ("declare binding source=xa destination=amq.topic destination_type=exchange routing_key=k", 0, "binding declared"),
    ("declare binding source=xa destination=nope routing_key=k", 1, "*** Not found: /api/bindings/%2F/e/xa/q/nope"),
    ("declare user name=ua password=pa tags=monitoring", 0, "user declared"),
    ("declare permission vhost=/ user=ua configure=.* write=.* read=.*", 0, "permission declared"),
    ("declare permission vhost=/ user=nope configure=.* write=.* read=.*", 1, "*** vhost_or_user_not_found"),
    (
        'declare policy name=pa pattern=^qa definition={"max-length":10} priority=1 apply-to=queues',
        0,
        "policy declared",
    ),
    ('declare policy name=pb pattern=( definition={"max-length":10}', 1, "*** Validation failed"),
    ('declare operator_policy name=oa pattern=^qa definition={"max-length":10}', 0, "operator_policy declared"),
    ("declare vhost_limit vhost=va name=max-queues value=10", 0, "vhost_limit declared"),
    ('declare parameter component=shovel name=s value={"src-uri":"amqp://"}', 1, "*** Validation failed"),
    ("publish routing_key=qa payload=hello", 0, "Message published"),
    ("publish routing_key=nowhere payload=hello", 0, "Message published but NOT routed"),
    (
        "publish exchange=nope routing_key=nowhere payload=hello",
        1,
        "*** 404 NOT_FOUND - no exchange 'nope' in vhost '/'",
    ),
    ('publish exchange=xa routing_key=a.b payload=hello2 properties={"delivery_mode":2}', 0, "Message published"),
    ("get queue=qa", 0, GOT),
    ("get queue=qa count=5 ackmode=ack_requeue_false", 0, GOT),
    ("get queue=nope", 1, "*** Not found: /api/queues/%2F/nope/get"),
    ("publish routing_key=qa payload=hello", 0, "Message published"),
    ("purge queue name=qa", 0, "queue purged"),
    ("purge queue name=nope", 1, "*** Not found: /api/queues/%2F/nope/contents"),
    ("list queues name messages", 0, "name messages"),
    ("list bindings source destination routing_key properties_key", 0, "source destination routing_key properties_key"),
    ("list policies", 0, POLICY),
    ("list operator_policies", 0, POLICY),
    ("list vhost_limits", 0, "vhost value"),
    ("list permissions", 0, "vhost configure read user write"),
    (
        "delete binding source=xa destination_type=queue destination=qa properties_key=a.%23",
        0,
        "binding deleted",
    ),
    (
        "delete binding source=xa destination_type=queue destination=qa properties_key=nope",
        1,
        "*** Not found: /api/bindings/%2F/e/xa/q/qa/nope",
    ),
    ("delete policy name=pa", 0, "policy deleted"),
    ("delete policy name=pa", 1, "*** Not found: /api/policies/%2F/pa"),
    ("delete operator_policy name=oa", 0, "operator_policy deleted"),
    ("delete vhost_limit vhost=va name=max-queues", 0, "vhost_limit deleted"),
    ("delete permission vhost=/ user=ua", 0, "permission deleted"),
    ("delete user name=ua", 0, "user deleted"),
    ("delete user name=ua", 1, "*** Not found: /api/users/ua"),
    ("delete exchange name=xa", 0, "exchange deleted"),
    ("delete queue name=qa", 0, "queue deleted"),
    ("delete queue name=qa", 1, "*** Not found: /api/queues/%2F/qa"),
    ("delete queue name=qb", 0, "queue deleted"),
    ("delete vhost name=va", 0, "vhost deleted"),
    ("close connection name=nope", 1, "*** Not found: /api/connections/nope"),
    ("export FILE", 0, "Exported definitions for 127.0.0.1 to"),
    ("import FILE", 0, "Uploaded definitions from"),
    ("-f raw_json list vhosts name", 0, '[{"name":"/"},{"name":"carbon"}]'),
    ("-f kvp list vhosts name", 0, 'name="/"'),
    ("-f bash list vhosts name", 0, "/ carbon"),
    ("-f tsv list vhosts name tracing", 0, "name\ttracing"),
    ("-d 3 list nodes name running", 0, "name running"),
    ("-u nobody -p x list queues", 1, "*** Access refused: /api/queues?columns=name,messages"),
)


def first_line(output: str) -> str:
    """Return the first line that is no rule of a table, without the bars between its cells."""
    lines = (line.strip() for line in output.splitlines() if line.strip() and not line.startswith("+"))
    first = next(lines, "")
    return " ".join(cell.strip() for cell in first.strip("|").split("|")) if first.startswith("|") else first


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_every_verb_of_rabbitmqadmin_has_the_exit_code_and_the_words_that_it_has_with_rabbitmq(
    is_tls: bool, tmp_path: Path
) -> None:
    authority, store = tmp_path / "authority.pem", tmp_path / "node.pem"
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(str(authority))
    trusted.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(store))
    plain, tls = quiet_port(), quiet_port()
    url = f"jdbc:sqlite:{tmp_path}/mb.db"
    broker = BrokerProcess(
        tmp_path / "node", NodeConfiguration(url, http_port=plain, https_port=tls, key_store=str(store))
    )
    broker.start()
    where = ["--port", str(tls), "--ssl", "--ssl-ca-cert-file", str(authority)] if is_tls else ["--port", str(plain)]
    different = []
    try:
        for line, code, words in VERBS:
            arguments = line.replace("FILE", str(tmp_path / "definitions.json")).split()
            command = [sys.executable, str(ADMIN), "--host", "127.0.0.1", *where, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            told = first_line(done.stdout + done.stderr)
            if done.returncode != code or not told.startswith(words):
                different.append((line, done.returncode, told))
    finally:
        broker.stop()
    assert different == []
