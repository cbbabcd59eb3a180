"""What old versions of Celery, kombu and Airflow use is served for ever, as README says: contract Q8, B11, U4."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.amqp.profile import CORDILLERA, RABBITMQ, Profile
from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicConsume, BasicDeliver, BasicQos, BasicQosOk, QueueDeclare, QueueDeclareOk
from tests.support.harness import Harness

README = (Path(__file__).parents[3] / "README.md").read_text()
FIRST_SCREEN = " ".join(" ".join(README.splitlines()[:30]).split())


@pytest.mark.parametrize(
    "promise",
    [
        "neither durable nor exclusive",
        "`basic.qos` with `global=true`",
        "`x-queue-mode`",
        "`x-queue-master-locator`",
        "for ever",
    ],
)
def test_the_readme_promises_it_on_its_first_screen(promise: str) -> None:
    assert promise in FIRST_SCREEN


@pytest.mark.parametrize("profile", [CORDILLERA, RABBITMQ], ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"x-queue-mode": "lazy"},
        {"x-queue-mode": "default"},
        {"x-queue-master-locator": "client-local"},
        {"x-queue-master-locator": "min-masters"},
        {"x-queue-version": 1},
        {"x-expires": 60_000, "x-message-ttl": 5000},
    ],
    ids=str,
)
def test_a_transient_queue_is_shared_by_connections(
    harness: Harness, profile: Profile, arguments: dict[str, object]
) -> None:
    declare = QueueDeclare(queue="celery.pidbox", auto_delete=True, arguments=FieldTable.of(arguments))
    for peer in (harness.peer(profile=profile), harness.peer(profile=profile)):
        assert peer.call(1, declare) == QueueDeclareOk("celery.pidbox", 0, 0)


@pytest.mark.parametrize("profile", [CORDILLERA, RABBITMQ], ids=lambda profile: profile.name)
def test_a_global_prefetch_limits_the_whole_channel(harness: Harness, profile: Profile) -> None:
    peer = harness.peer(profile=profile)
    peer.send(1, QueueDeclare(queue="celery"))
    for tag in ("None1", "None2"):
        peer.send(1, BasicConsume(queue="celery", consumer_tag=tag))
    peer.received()
    assert peer.call(1, BasicQos(0, 1, True)) == BasicQosOk()
    peer.publish("celery", b"1", b"2")
    assert [type(method) for _, method in peer.received()] == [BasicDeliver]
