"""A broker whose log nobody reads, and signals that do not end it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pika
import trustme

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import HOST, quiet_port
from benchmarks.nodes.process import PROJECT, BrokerProcess
from broker.codec.constants import PROTOCOL_HEADER
from tests.support.harness import start_ok
from tests.support.peer import command
from tests.support.waiting import wait_until

PIPE = 4096


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def login_is_refused(port: int) -> bool:
    with socket.create_connection((HOST, port), 10) as client:
        client.sendall(PROTOCOL_HEADER)
        client.recv(4096)
        client.sendall(command(0, start_ok(response=b"\0guest\0wrong")))
        return client.recv(4096) == b""


def publish(port: int, count: int) -> None:
    client = pika.BlockingConnection(pika.URLParameters(f"amqp://guest:guest@{HOST}:{port}/"))
    channel = client.channel()
    channel.confirm_delivery()
    channel.queue_declare("q", durable=True)
    for _ in range(count):
        channel.basic_publish("", "q", b"m", pika.BasicProperties(delivery_mode=2), mandatory=True)
    client.close()


def test_a_log_that_nobody_reads_holds_up_no_client_and_no_stop(tmp_path: Path) -> None:
    configuration = NodeConfiguration(f"jdbc:sqlite:{tmp_path}/mb.db")
    configuration.write(tmp_path / "conf")
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PIPE)
    arguments = (sys.executable, "-m", "broker", "--config", str(tmp_path / "conf"))
    with subprocess.Popen(arguments, cwd=PROJECT, stdout=into, stderr=into) as broker:
        os.close(into)
        try:
            wait_until(lambda: is_listening(configuration.port), 30.0, "the broker listens")
            assert all(login_is_refused(configuration.port) for _ in range(100))  # far more than the pipe holds
            publish(configuration.port, 1)
            os.close(out)
            assert login_is_refused(configuration.port)
            publish(configuration.port, 1)
            broker.terminate()
            assert broker.wait(30) == 0
        finally:
            broker.kill()


def with_tls(broker: BrokerProcess, key_store: Path) -> int:
    port = quiet_port()
    file = broker.config / "broker.xml"
    listener = (
        f'<sslConnection enabled="true" port="{port}"><keyStore><location>{key_store}</location></keyStore>'
        "</sslConnection></amqp>"
    )
    file.write_text(file.read_text().replace("</amqp>", listener))
    return port


def serial_number(port: int) -> str:
    """Return that of the certificate which the broker shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((HOST, port), 10) as raw, context.wrap_socket(raw) as client:
        shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown.hex()


def issue(key_store: Path) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    key_store.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())


def test_signals_end_no_broker_but_those_that_mean_it(tmp_path: Path) -> None:
    broker, key_store = BrokerProcess(tmp_path / "broker"), tmp_path / "keystore.pem"
    issue(key_store)
    port = with_tls(broker, key_store)
    broker.start()
    publish(broker.port, 3)
    try:
        for number in (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(broker.pid, number)
        wait_until(lambda: broker.log.count("signal ignored") == 3, 10.0, "signals are ignored", [broker])

        before = serial_number(port)
        issue(key_store)
        file = broker.config / "broker.xml"
        file.write_text(file.read_text().replace("</broker>", "<logging><level>error</level></logging></broker>"))
        os.kill(broker.pid, signal.SIGHUP)
        wait_until(lambda: serial_number(port) != before, 10.0, "the new certificate is shown", [broker])

        key_store.write_text("no certificate")
        now = serial_number(port)
        os.kill(broker.pid, signal.SIGHUP)
        wait_until(lambda: "the configuration was not read again" in broker.log, 10.0, "it is refused", [broker])
        assert serial_number(port) == now
        assert '"level": "info"' not in broker.log.partition("signal ignored")[2]

        (broker.config / "log4j.properties").write_text("log4j.logger.org.wso2.andes=INFO, CARBON_LOGFILE\n")
        issue(key_store)
        os.kill(broker.pid, signal.SIGHUP)
        wait_until(lambda: "the configuration was read again" in broker.log, 10.0, "it is read", [broker])
    finally:
        assert broker.stop() == 0
    last = json.loads(broker.log.splitlines()[-1])
    assert (last["event"], last["messages"]) == ("stopped", 3)
    assert 0 <= last["seconds"] < 10
