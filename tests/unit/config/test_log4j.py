from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from broker.config.log4j import PARTS, read
from broker.config.rendering import show

MANUAL = Path(__file__).parents[3] / "docs" / "configuration.md"


def levels(text: str):
    return read(text.encode(), "log4j.properties").log4j


def test_the_level_of_the_root_and_of_loggers_is_what_stands_before_the_appenders():
    found = read(b"log4j.rootLogger=WARN, CONSOLE, FILE\nlog4j.logger.org.wso2.andes.store = debug,FILE\n", "x")
    assert found.root == "warning"
    assert found.log4j.loggers == {"org.wso2.andes.store": "debug"}
    assert (found.lines, found.warnings) == ({"": 1, "org.wso2.andes.store": 2}, [])


@pytest.mark.parametrize(
    ("given", "level"),
    [
        *[("ALL", "debug"), ("TRACE", "debug"), ("DEBUG", "debug"), ("INFO", "info"), ("WARN", "warning")],
        *[("ERROR", "error"), ("FATAL", "error"), ("OFF", "error"), ("warn", "warning")],
    ],
)
def test_levels_of_log4j_are_those_of_this_broker(given: str, level: str):
    assert levels(f"log4j.category.org.wso2.andes={given}").level_of("broker.node.process") == level
    assert read(f"log4j.rootCategory={given}".encode(), "x").root == level


@pytest.mark.parametrize(
    ("logger", "module", "level"),
    [
        ("org.wso2.andes.kernel.slot", "broker.coordination.slots.runner", "debug"),
        ("org.wso2.andes.kernel.slot.MessageDeliveryTask", "broker.coordination.slots.runner", "debug"),
        ("org.wso2.andes.kernel.slot", "broker.queue.queue", ""),
        ("org.wso2.andes", "broker.queue.queue", "debug"),
        ("org.wso2", "broker.store.journal", "debug"),
        ("com.hazelcast", "broker.coordination.membership.agent", "debug"),
        ("com.hazelcast", "broker.coordination.slots.term", ""),
        ("qpid.message", "broker.amqp.connection", "debug"),
        ("org.wso2.andes.server.AMQChannel", "broker.amqp.connection", "debug"),
        ("org.wso2.andes.server.AMQChannel", "broker.node.process", ""),
        ("broker.coordination", "broker.coordination.slots.term", "debug"),
        ("org.apache.tomcat", "broker.server.listener", ""),
    ],
)
def test_a_part_logs_as_the_loggers_of_wso2_that_tell_of_the_same(logger: str, module: str, level: str):
    assert levels(f"log4j.logger.{logger}=DEBUG").level_of(module) == level


def test_of_several_loggers_of_a_part_the_one_that_says_most_counts():
    found = levels("log4j.logger.org.wso2.andes=ERROR\nlog4j.logger.org.wso2.andes.server.AMQChannel=INFO\n")
    assert found.level_of("broker.amqp.connection") == "info"
    assert found.level_of("broker.queue.queue") == "error"


def test_the_name_of_a_part_itself_counts_before_all():
    found = levels("log4j.logger.org.wso2.andes=DEBUG\nlog4j.logger.broker.queue=ERROR\n")
    assert found.level_of("broker.queue.queue") == "error"


def test_audit_events_have_a_level_of_their_own():
    assert levels("log4j.logger.AUDIT_LOG=INFO, AUDIT_LOGFILE").audit == "info"
    assert levels("log4j.rootLogger=WARN").audit == ""


def test_what_is_no_level_is_told_where_the_logger_is_known():
    found = read(
        b"log4j.logger.org.wso2.andes=INFOO\nlog4j.logger.org.quartz=LOUD\nlog4j.logger.com.hazelcast=, FILE\n"
        b"log4j.appender.FILE=org.example.Appender\nlog4j.rootLogger=INHERITED\n",
        "log4j.properties",
    )
    assert found.warnings == [
        "log4j.properties:1: log4j.logger.org.wso2.andes: 'INFOO' is none of ALL, TRACE, DEBUG, INFO, WARN, ERROR,"
        " FATAL, OFF, and is ignored"
    ]
    assert (found.root, found.log4j.loggers) == ("", {})


def test_a_trace_of_messages_is_told_to_have_no_effect():
    assert read(b"log4j.logger.org.wso2.andes.tools.utils.MessageTracer=INFO,FILE", "x").warnings == []
    found = read(b"log4j.logger.org.wso2.andes.tools.utils.MessageTracer=TRACE,FILE", "x")
    assert found.warnings == [
        "x:1: log4j.logger.org.wso2.andes.tools.utils.MessageTracer: messages are not traced; no effect"
    ]
    assert found.log4j.level_of("broker.node.process") == ""


def test_the_file_is_read_beside_broker_xml(load_files):
    loaded = load_files({"log4j.properties": "log4j.rootLogger=WARN, X\nlog4j.logger.com.hazelcast=DEBUG\n"})
    assert loaded.config.logging.level == "warning"
    assert loaded.config.log4j.level_of("broker.coordination.membership.agent") == "debug"
    assert loaded.files[-1] == Path("conf/log4j.properties")
    shown = show(loaded.config)
    assert "logging/level = warning  (conf/log4j.properties:1)" in shown
    assert "# log4j.properties\ncom.hazelcast = debug  (conf/log4j.properties:2)" in shown


def test_the_level_of_broker_xml_counts_before_that_of_the_root(load_files):
    loaded = load_files(
        {"broker.xml": "<logging><level>debug</level></logging>", "log4j.properties": "log4j.rootLogger=OFF"}
    )
    assert loaded.config.logging.level == "debug"


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_a_package_of_the_broker(part: str):
    assert find_spec(part) is not None


def test_the_manual_lists_the_parts_and_their_loggers():
    section = MANUAL.read_text().split("\n## log4j.properties\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(broker[a-z/]*)` \| (.+) \|$", section, re.MULTILINE)
    assert {part.replace("/", "."): tuple(re.findall(r"`([^`]+)`", loggers)) for part, loggers in rows} == PARTS
