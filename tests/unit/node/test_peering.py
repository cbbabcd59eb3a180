"""How soon a silent peer is gone, and what nodes must agree about."""

from __future__ import annotations

import pytest

from broker.config.axis2 import Axis2, Clustering
from broker.config.broker_xml import (
    Coordination,
    NetworkPartitionsDetection,
    RdbmsBasedCoordination,
    Recovery,
)
from broker.config.configuration import Configuration
from broker.config.hazelcast import Hazelcast
from broker.coordination.peering.view import Detector
from broker.node.peering import detector, terms_of
from broker.thrift.secret import SharedSecret


def configured(
    *, meets_in_database: bool = False, minimum: int = 1, hazelcast: Hazelcast | None = None
) -> Configuration:
    return Configuration(
        axis2=Axis2(clustering=Clustering(enabled=True, domain="wso2.ei.domain")),
        coordination=Coordination(
            rdbms_based_coordination=RdbmsBasedCoordination(
                enabled=meets_in_database, heartbeat_interval_ms=5000, coordinator_entry_creation_wait_time_ms=3000
            )
        ),
        recovery=Recovery(
            network_partitions_detection=NetworkPartitionsDetection(enabled=minimum > 1, minimum_cluster_size=minimum)
        ),
        hazelcast=hazelcast or Hazelcast(),
    )


@pytest.mark.parametrize(
    ("interval", "silence", "expected"),
    [
        (5, 600, Detector(2.5, 10.0)),
        (1, 600, Detector(1.0, 10.0)),
        (5, 4, Detector(1.0, 4.0)),
        (1, 8, Detector(1.0, 8.0)),
    ],
)
def test_members_are_gone_after_two_beats_or_sooner(interval: int, silence: int, expected: Detector) -> None:
    hazelcast = Hazelcast(heartbeat_interval=interval, max_no_heartbeat=silence)
    assert detector(configured(hazelcast=hazelcast)) == expected


def test_nodes_agree_about_the_way_the_minimum_and_among_peers_the_domain() -> None:
    assert terms_of(configured(minimum=3)) == (
        "rdbmsBasedCoordination false, minimumClusterSize 3, domain wso2.ei.domain, on loopback, no clusterSecret"
    )
    assert terms_of(configured(meets_in_database=True)) == "rdbmsBasedCoordination true, no minimumClusterSize"


def test_nodes_with_different_secrets_or_of_two_kinds_of_addresses_have_other_terms() -> None:
    one, other = SharedSecret("0123456789abcdef"), SharedSecret("fedcba9876543210")
    terms = {terms_of(configured(), is_loopback=where, secret=each) for where in (True, False) for each in (one, other)}
    assert len(terms) == 4
    assert terms_of(configured(), is_loopback=False, secret=one).endswith(
        f"domain wso2.ei.domain, beyond loopback, clusterSecret #{one.mark()}"
    )
    assert len(one.mark()) == 4


def test_the_longest_terms_fit_into_the_row_of_a_node() -> None:
    config = configured(minimum=2_147_483_647)
    clustering = config.axis2.clustering.model_copy(update={"domain": "ä" * 60})
    longest = config.model_copy(update={"axis2": config.axis2.model_copy(update={"clustering": clustering})})
    terms = terms_of(longest, is_loopback=False, secret=SharedSecret("0123456789abcdef"))
    assert len(terms.encode()) <= 255
