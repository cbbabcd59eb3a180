from __future__ import annotations

from pathlib import Path

import pytest

from broker.config.configuration import Configuration
from broker.config.loading import load
from broker.node.own_id import node_id, what_to_change

MYSQL = """<datasource><name>WSO2MBStoreDB</name><definition><configuration>
<url>jdbc:mysql://db.example.org/wso2_mb</url></configuration></definition></datasource>"""
ASKED = []


def own_address(towards: str) -> str:
    ASKED.append(towards)
    return "192.0.2.7"


def configured(folder: Path, axis2: str = "", broker: str = "") -> Configuration:
    (folder / "broker.xml").write_text(f"<broker>\n{broker}</broker>")
    (folder / "axis2.xml").write_text(f"<axisconfig><clustering>\n{axis2}</clustering></axisconfig>")
    (folder / "master-datasources.xml").write_text(MYSQL)
    return load(folder, {}).config


def parameter(name: str, value: object) -> str:
    return f'<parameter name="{name}">{value}</parameter>\n'


def test_the_id_is_the_one_of_the_file(tmp_path: Path):
    config = configured(tmp_path, broker="<coordination><nodeID>mb-1</nodeID></coordination>")
    assert node_id(config, own_address) == "mb-1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("10.0.0.1", "10.0.0.1"), ("default", "192.0.2.7"), ("Default", "192.0.2.7"), ("${env:NOT_SET}", "192.0.2.7")],
)
def test_the_default_id_is_made_of_the_local_member(tmp_path: Path, host: str, expected: str):
    config = configured(tmp_path, parameter("localMemberHost", host) + parameter("localMemberPort", 4100))
    assert node_id(config, own_address) == f"NODE:{expected}:4100"


def test_the_own_address_is_the_one_towards_the_database(tmp_path: Path):
    ASKED.clear()
    node_id(configured(tmp_path, parameter("localMemberHost", "default")), own_address)
    assert ASKED == ["db.example.org"]


def test_a_copy_with_an_id_in_its_file_is_told_its_line(tmp_path: Path):
    config = configured(tmp_path, broker="<coordination><nodeID>mb-1</nodeID></coordination>")
    assert what_to_change(config, own_address) == (
        f"change coordination/nodeID ({tmp_path}/broker.xml:2), or set it to 'default'"
    )


def test_a_copy_on_another_machine_is_told_this_machines_address(tmp_path: Path):
    config = configured(tmp_path, parameter("localMemberHost", "10.0.0.1"))
    assert what_to_change(config, own_address) == (
        f"its configuration is a copy: set localMemberHost ({tmp_path}/axis2.xml:2) to this machine's address,"
        " 192.0.2.7; on one machine take another localMemberPort (axis2.xml)"
    )


@pytest.mark.parametrize("host", ["192.0.2.7", "default"])
def test_a_copy_on_the_same_machine_is_told_the_port(tmp_path: Path, host: str):
    config = configured(tmp_path, parameter("localMemberHost", host) + parameter("localMemberPort", 4100))
    assert what_to_change(config, own_address) == (
        f"both nodes are on this machine, 192.0.2.7: give this one another localMemberPort ({tmp_path}/axis2.xml:3)"
    )
