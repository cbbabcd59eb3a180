from __future__ import annotations

import ast

import pytest

from broker.config.broker_xml import LimitsSection, Slots, TransactionSection, Transports
from broker.config.carbon import Carbon, Ports
from broker.config.configuration import Configuration
from broker.config.ssl_connection import TlsListener
from broker.config.user_mgt import UserMgt
from tests.unit.config.reads import (
    models_in,
    reads_in,
    reads_of_the_broker,
    sections,
    values_of,
    with_what_they_are_made_of,
)

SECTIONS = sorted(sections(Configuration), key=lambda model: model.__name__)
HEAD = """
from broker.config.configuration import Configuration
from broker.config.carbon import Carbon
from broker.config.user_mgt import UserMgt
"""


@pytest.fixture(scope="module")
def reads():
    return reads_of_the_broker()


@pytest.mark.parametrize("model", SECTIONS, ids=lambda model: model.__name__)
def test_every_value_of_the_configuration_is_read_by_the_broker(model, reads):
    unread = sorted(name for _, name in values_of(model) - reads)
    assert not unread, "an element without effect belongs into broker/config/accepted.py"


def test_each_place_has_a_model_of_its_own_so_that_no_other_place_is_read_for_it():
    stores = models_in(TlsListener)  # whatever is spoken on a TLS listener, its stores are read in one place
    places = [model for section in SECTIONS for model in models_in(section) if model not in stores]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(config: Configuration): return config.limits.max_connections", (LimitsSection, "max_connections")),
        (
            "def f(config: Configuration | None): return config.limits.max_connections",
            (LimitsSection, "max_connections"),
        ),
        (
            "def f(config: Configuration):\n  limits, carbon = config.limits, config.carbon\n  carbon.offset",
            (Carbon, "offset"),
        ),
        (
            "class A:\n  def g(self): return self._c.limits.max_connections\n"
            "  def __init__(self, config: Configuration): self._c = config",
            (LimitsSection, "max_connections"),
        ),
        (
            "class A:\n  config: Configuration\n  def g(self): return self.config.limits.max_connections",
            (LimitsSection, "max_connections"),
        ),
        (
            "def f(config: Configuration):\n  def g(): return config.performance_tuning.slots.window_size\n  return g",
            (Slots, "window_size"),
        ),
        ("async def f(config: Configuration): await g(lambda: config.carbon.ports.offset)", (Ports, "offset")),
        ("def f(admin: UserMgt): return [admin.admin_user_name for _ in (1,)]", (UserMgt, "admin_user_name")),
    ],
)
def test_a_value_is_read_where_source_names_it_by_way_of_the_configuration(source, expected):
    assert expected in reads_in(ast.parse(HEAD + source))


@pytest.mark.parametrize(
    "source",
    [
        "def f(config): return config.limits.max_connections",
        "def f(limits: LimitsSection): return limits.max_connections",
        "def f(config: Configuration):\n  config = g()\n  return config.limits.max_connections",
        "def f(config: Configuration): config.limits.max_connections = 1",
    ],
)
def test_a_name_that_only_looks_like_one_of_the_configuration_is_no_read(source):
    assert (LimitsSection, "max_connections") not in reads_in(ast.parse(HEAD + source))


def test_what_a_property_is_made_of_is_read_with_it():
    assert with_what_they_are_made_of({(TransactionSection, "max_uncommitted_bytes")}) == {
        (TransactionSection, "max_uncommitted_bytes"),
        (TransactionSection, "max_batch_size_kb"),
        (TransactionSection, "max_batch_size_bytes"),
    }


def test_what_a_section_hands_down_to_another_is_read_with_it():
    assert (Transports, "bind_address") in with_what_they_are_made_of({(Transports, "amqp")})


def test_what_only_a_validator_looks_at_is_not_read():
    source = "def f(config: Configuration): return config.coordination.rdbms_based_coordination.enabled"
    names = {name for _, name in with_what_they_are_made_of(reads_in(ast.parse(HEAD + source)))}
    assert "heartbeat_interval_ms" not in names
