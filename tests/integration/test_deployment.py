"""What is in `deploy/` fits together and fits the broker: configurations load, ports and names are the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.config.configuration import Configuration
from broker.config.loading import load
from tests.support.helm import Refused, render

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose"
CHART = DEPLOY / "helm" / "cordillera"
GIVEN = {
    "auth": {"password": "secret", "clusterSecret": "a secret of all nodes"},
    "database": {"password": "of the database"},
}


def environ_of(service: dict[str, Any], secrets: dict[str, str]) -> dict[str, str]:
    """Return what a container finds in its environment."""
    return {
        name: re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: secrets[found[1]], str(value))
        for name, value in service["environment"].items()
    }


def expect_member(config: Configuration, host: str) -> None:
    assert config.is_clustered
    assert config.store_url.engine == "mysql"
    assert config.coordination.thrift_server_host == host
    assert config.coordination.cluster_secret.get_secret_value()
    assert config.management.drain_seconds > 0
    assert (config.amqp_port, config.http_port, config.metrics_port, config.console_port) == (5672, 15672, 15692, 9443)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    return found


def test_both_nodes_of_the_compose_file_are_members_of_one_cluster(compose: dict[str, Any]) -> None:
    lines = (COMPOSE / "example.env").read_text().splitlines()
    secrets = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    told = []
    for name in ("broker1", "broker2"):
        service = compose["services"][name]
        environ = environ_of(service, secrets)
        assert service["hostname"] == environ["BROKER_HOST"] == name
        loaded = load(COMPOSE / "conf", environ)
        assert loaded.warnings == []
        expect_member(loaded.config, name)
        assert service["stop_grace_period"] == "60s"
        assert loaded.config.management.drain_seconds < 60
        told.append(loaded.config)
    assert told[0].datasource == told[1].datasource
    assert told[0].coordination.cluster_secret == told[1].coordination.cluster_secret
    database = compose["services"]["database"]["environment"]
    assert told[0].datasource.username == database["MARIADB_USER"]
    assert told[0].store_url.database == database["MARIADB_DATABASE"]


def test_files_that_the_compose_file_mounts_are_there(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", ())]
    files = [mount.partition(":")[0] for mount in mounts if mount.startswith(".")]
    assert len(files) == 7
    assert [each for each in files if not (COMPOSE / each).exists()] == []
    targets = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]
    assert {each.partition(":")[0] for each in targets["targets"]} <= compose["services"].keys()


def documents(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the chart makes, by kind and name."""
    found = render(CHART, "mq", {**GIVEN, **values})
    return {f"{each['kind']} {each['metadata']['name']}": each for made in found.values() for each in made}


def test_a_chart_makes_nodes_of_one_cluster(tmp_path: Path) -> None:
    made = documents({"replicaCount": 3, "drainSeconds": 45})
    assert list(made) == [
        "ConfigMap mq-cordillera",
        "PodDisruptionBudget mq-cordillera",
        "Secret mq-cordillera",
        "Service mq-cordillera",
        "Service mq-cordillera-nodes",
        "StatefulSet mq-cordillera",
    ]
    stateful = made["StatefulSet mq-cordillera"]["spec"]
    assert (stateful["replicas"], stateful["serviceName"]) == (3, "mq-cordillera-nodes")
    [container] = stateful["template"]["spec"]["containers"]
    environ = {each["name"]: each.get("value", "a secret of sixteen octets") for each in container["env"]}
    assert environ["BROKER_HOST"] == "$(POD_NAME).mq-cordillera-nodes.$(POD_NAMESPACE).svc.cluster.local"
    for name, text in made["ConfigMap mq-cordillera"]["data"].items():
        (tmp_path / name).write_text(text)
    host = "mq-cordillera-0.mq-cordillera-nodes.shop.svc.cluster.local"
    loaded = load(tmp_path, {**environ, "BROKER_HOST": host})
    assert loaded.warnings == []
    expect_member(loaded.config, host)
    assert loaded.config.management.drain_seconds == 45
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"amqp": 5672, "thrift": 7611, "http": 15672, "metrics": 15692, "console": 9443}
    for service in ("mq-cordillera", "mq-cordillera-nodes"):
        spec = made[f"Service {service}"]["spec"]
        assert {each["targetPort"] for each in spec["ports"]} <= ports.keys()
        assert spec["selector"] == stateful["selector"]["matchLabels"] == stateful["template"]["metadata"]["labels"]


def test_secrets_that_are_there_already_are_used_and_none_is_made_of_nothing() -> None:
    auth = {"existingPasswordSecret": "people", "existingClusterSecret": "nodes"}
    made = documents({"auth": auth, "database": {"existingSecret": "store"}})
    assert made["Secret mq-cordillera"]["stringData"] is None
    [container] = made["StatefulSet mq-cordillera"]["spec"]["template"]["spec"]["containers"]
    named = {
        each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "secretKeyRef" in str(each)
    }
    assert named == {
        "BROKER_DATABASE_PASSWORD": {"name": "store", "key": "password"},
        "BROKER_CLUSTER_SECRET": {"name": "nodes", "key": "cluster-secret"},
        "RABBITMQ_DEFAULT_PASS": {"name": "people", "key": "password"},
    }
    with pytest.raises(Refused, match=r"auth\.password"):
        documents({"auth": {"clusterSecret": "a secret of all nodes"}})


def test_metrics_are_found_by_an_operator_of_prometheus_where_there_is_one() -> None:
    made = documents({"metrics": {"serviceMonitor": {"enabled": True}}})
    assert made["ServiceMonitor mq-cordillera"]["spec"]["endpoints"] == [{"port": "metrics", "interval": "15s"}]


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
def test_helm_finds_nothing_wrong_and_renders_the_same() -> None:
    values = [
        "--set",
        "auth.password=secret,auth.clusterSecret=a secret of all nodes,database.password=of the database",
    ]
    linted = subprocess.run(["helm", "lint", "--strict", CHART, *values], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
    # A helm that was built from its source knows no newer Kubernetes than 1.20 by itself.
    command = ["helm", "template", "mq", CHART, "--kube-version", "1.31", *values]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    by_name = {f"{each['kind']} {each['metadata']['name']}": each for each in yaml.safe_load_all(made.stdout) if each}
    assert by_name == documents({})
