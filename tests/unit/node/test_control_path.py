from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.config.loading import load
from broker.config.node_place import NodePlace
from broker.node.control_path import LONGEST_PATH, control_path


def configuration(folder: Path, database: Path) -> NodePlace:
    (folder / "datasources").mkdir(parents=True)
    (folder / "broker.xml").write_text("<broker/>")
    (folder / "datasources" / "master-datasources.xml").write_text(
        f"""<datasources-configuration><datasources><datasource><name>s</name>
        <jndiConfig><name>WSO2MBStoreDB</name></jndiConfig><definition type="RDBMS"><configuration>
        <url>jdbc:sqlite:{database}</url></configuration></definition></datasource></datasources>
        </datasources-configuration>"""
    )
    return load(folder, {}).config.node_place


def test_the_socket_is_beside_the_database_unless_its_path_would_be_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    short = tmp_path / "mb.db"
    assert control_path(configuration(tmp_path / "a", short)) == short.with_name("mb.db.control")
    long = tmp_path / ("x" * 100) / "mb.db"
    other = control_path(configuration(tmp_path / "b", long))
    assert other.parent == Path("/run/user/1")
    assert len(os.fsencode(other)) <= LONGEST_PATH
    assert other != control_path(configuration(tmp_path / "c", long.with_name("other.db")))
