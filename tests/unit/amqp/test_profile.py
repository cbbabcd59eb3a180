"""What a listener with another compatibility profile tells clients, and how its prefetch works: contract U2, ADR 43."""

from __future__ import annotations

from typing import get_args

import pytest

from broker.amqp.profile import CORDILLERA, PROFILES, RABBITMQ, STRICT, Profile
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    BasicConsume,
    BasicDeliver,
    BasicQos,
    BasicQosOk,
    ConnectionClose,
    ConnectionOpen,
    ConnectionStart,
    ConnectionTuneOk,
    QueueDeclare,
)
from broker.config.broker_xml import ProfileName
from tests.support.harness import Client, Harness, start_ok


def tags(peer: Client) -> list[str]:
    """Return the consumer tags of the deliveries since the last call."""
    return [method.consumer_tag for _, method in peer.received() if isinstance(method, BasicDeliver)]


def test_the_configuration_has_a_name_for_every_profile() -> None:
    assert set(get_args(get_args(ProfileName)[0])) == set(PROFILES)


@pytest.mark.parametrize(
    ("profile", "product", "version"),
    [(CORDILLERA, "Cordillera", "0.1.0"), (RABBITMQ, "RabbitMQ", "3.13.7"), (STRICT, "Cordillera", "0.1.0")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_listener_introduces_itself_by_its_profile(
    harness: Harness, profile: Profile, product: str, version: str
) -> None:
    client = harness.connect(profile=profile)
    client.send_raw(PROTOCOL_HEADER)
    ((_, start),) = client.received()
    assert isinstance(start, ConnectionStart)
    properties = start.server_properties.values
    assert (properties["product"], properties["version"]) == (product, version)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_frames_of_4096_octets_are_enough_for_every_profile(harness: Harness, profile: Profile) -> None:
    harness.peer(profile=profile, frame_max=4096)


@pytest.mark.parametrize(
    ("profile", "code", "name"), [(RABBITMQ, 530, "NOT_ALLOWED"), (STRICT, 402, "INVALID_PATH")], ids=["3.13", "strict"]
)
def test_an_unknown_virtual_host_has_the_code_of_the_profile(
    harness: Harness, profile: Profile, code: int, name: str
) -> None:
    client = harness.connect(profile=profile)
    client.send_raw(PROTOCOL_HEADER)
    client.send(0, start_ok())
    client.send(0, ConnectionTuneOk(0, 0, 0))
    client.received()
    client.send(0, ConnectionOpen("nowhere"))
    assert client.received() == [(0, ConnectionClose(code, f"{name} - vhost nowhere not found", 10, 40))]


def consuming(harness: Harness, profile: Profile) -> Client:
    """Return a client with a consumer from before its prefetch of 1, and one from afterwards."""
    peer = harness.peer(profile=profile)
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="before"))
    assert peer.call(1, BasicQos(0, 1)) == BasicQosOk()
    peer.send(1, BasicConsume(queue="q", consumer_tag="after"))
    peer.received()
    return peer


@pytest.mark.parametrize(
    ("profile", "delivered"),
    [
        (CORDILLERA, ["before", "after"]),
        (RABBITMQ, ["before", "after", "before", "before"]),
        (STRICT, ["before"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_prefetch_without_global_limits_whom_the_profile_says(
    harness: Harness, profile: Profile, delivered: list[str]
) -> None:
    peer = consuming(harness, profile)
    peer.publish("q", *[b"m"] * 4)
    assert tags(peer) == delivered


def test_as_in_rabbitmq_the_prefetch_of_consumers_ends_that_of_the_channel(harness: Harness) -> None:
    peer = harness.peer(profile=RABBITMQ)
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicQos(0, 1, True))
    peer.send(1, BasicQos(0, 2))
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="b"))
    peer.received()
    peer.publish("q", *[b"m"] * 5)
    assert tags(peer) == ["a", "b", "a", "b"]


def test_as_in_rabbitmq_a_prefetch_of_the_channel_is_shared_at_once(harness: Harness) -> None:
    peer = harness.peer(profile=RABBITMQ)
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.send(1, BasicQos(0, 2, True))
    peer.received()
    peer.publish("q", *[b"m"] * 3)
    assert tags(peer) == ["a", "a"]
