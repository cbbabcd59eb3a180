"""What is told of a node as a whole."""

from __future__ import annotations

from broker.codec.methods import QueueDeclare
from broker.management.figures.exchanges import exchange_figures
from broker.management.figures.nodes import node_figures
from broker.management.figures.overview import overview_figures, vhost_figures
from broker.management.figures.view import NodeView
from tests.support.harness import Client, Harness
from tests.support.shapes import differences


def test_the_overview_of_a_new_node_has_every_key_that_was_recorded(harness: Harness, view: NodeView) -> None:
    assert differences("overview", overview_figures(view)) == {}


def test_a_node_has_every_key_that_was_recorded(harness: Harness, peer: Client, view: NodeView) -> None:
    figures = node_figures(view)
    assert differences("node", figures) == {}
    assert (figures["os_pid"], figures["being_drained"]) == ("17", False)


def test_the_uptime_fits_into_32_bits(harness: Harness, view: NodeView) -> None:
    assert node_figures(view)["uptime"] == (1 << 32) - 1


def test_exchanges_have_every_key_that_was_recorded(harness: Harness, view: NodeView) -> None:
    for vhost, exchange in view.exchanges():
        assert differences("exchange", exchange_figures(view, vhost, exchange)) == {}


def test_a_virtual_host_counts_what_is_its_own(harness: Harness, peer: Client, view: NodeView) -> None:
    peer.send(1, QueueDeclare(queue="orders"))
    peer.publish("orders", b"1")
    figures, other = (vhost_figures(view, harness.broker.vhosts[name]) for name in ("/", "carbon"))
    assert (figures["messages"], figures["message_stats"]["publish"], figures["recv_oct"] > 0) == (1, 1, True)
    assert (other["messages"], other["message_stats"]["publish"], other["recv_oct"]) == (0, 0, 0)
