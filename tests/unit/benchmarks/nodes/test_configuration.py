"""The configuration folders of nodes say to the broker what they are meant to say."""

from __future__ import annotations

from pathlib import Path

from benchmarks.nodes.configuration import FAST, Membership, NodeConfiguration
from broker.config.loading import load


def test_a_standalone_node_has_a_store_and_a_port(tmp_path: Path) -> None:
    written = NodeConfiguration(f"jdbc:sqlite:{tmp_path}/a&b.db", given_id="bench")
    written.write(tmp_path / "conf")
    loaded = load(tmp_path / "conf", {})
    config = loaded.config
    assert loaded.warnings == []
    assert not config.is_clustered
    assert config.amqp_port == written.port == written.base_port
    assert config.store_url.path == tmp_path / "a&b.db"
    assert config.coordination.node_id == written.node_id == "bench"


def test_a_node_of_a_cluster_has_the_ports_of_its_number(tmp_path: Path) -> None:
    url = "jdbc:mariadb://127.0.0.1:1/x?user=u&password=p"
    written = NodeConfiguration(url, 20_000, window_size=200, membership=Membership(2, 21_000, FAST))
    written.write(tmp_path / "conf")
    loaded = load(tmp_path / "conf", {})
    config = loaded.config
    assert loaded.warnings == []
    assert config.is_clustered
    assert (config.amqp_port, config.thrift_port) == (written.port, 21_002) == (20_002, 21_002)
    assert written.node_id == "NODE:127.0.0.1:4002"
    assert config.performance_tuning.slots.window_size == 200
    assert config.coordination.rdbms_based_coordination.heartbeat_interval_ms == FAST.heartbeat_interval


def test_a_membership_that_is_turned_off_makes_no_cluster(tmp_path: Path) -> None:
    url = "jdbc:mariadb://127.0.0.1:1/x?user=u&password=p"
    NodeConfiguration(url, membership=Membership(is_enabled=False)).write(tmp_path / "conf")
    assert not load(tmp_path / "conf", {}).config.is_clustered
