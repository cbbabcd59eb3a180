"""Where the coordinator answers: when the address is read, and whose it is."""

from __future__ import annotations

from math import inf

from broker.coordination.membership.coordinator_address import Whereabouts
from broker.ports.cluster_rows import Lease
from broker.ports.peer_calls import Fence

ADDRESS = ("10.0.0.2", 7611, Fence(7, "t"))


def followed() -> Whereabouts:
    """Return the whereabouts of 'other', seen at 100 and read at 100."""
    whereabouts = Whereabouts("me", retry_after=1.0)
    assert whereabouts.on_lease(Lease(7, 3, "t", "other"), 100.0) == "other"
    assert whereabouts.due == 100.0
    whereabouts.on_asked(100.0)
    assert whereabouts.on_address(ADDRESS)
    return whereabouts


def test_at_first_nobody_is_known() -> None:
    whereabouts = Whereabouts("me", retry_after=1.0)
    assert (whereabouts.address, whereabouts.fence, whereabouts.due) == (None, Fence(), inf)


def test_a_coordinator_that_goes_on_is_not_read_again() -> None:
    whereabouts = followed()
    assert whereabouts.on_lease(Lease(7, 4, "t", "other"), 102.0) is None
    assert (whereabouts.address, whereabouts.fence, whereabouts.due) == (ADDRESS, Fence(7, "t"), inf)


def test_an_address_that_was_not_answered_is_read_again_later() -> None:
    whereabouts = Whereabouts("me", retry_after=1.0)
    whereabouts.on_lease(Lease(7, 3, "t", "other"), 100.0)
    whereabouts.on_asked(100.0)
    assert whereabouts.on_lease(Lease(7, 4, "t", "other"), 100.5) is None
    assert whereabouts.due == 101.0


def test_of_a_new_coordinator_nothing_is_known_until_its_address_is_read() -> None:
    whereabouts = followed()
    assert whereabouts.on_lease(Lease(8, 0, "u", "third"), 105.0) == "third"
    assert (whereabouts.address, whereabouts.fence, whereabouts.due) == (None, Fence(8, "u"), 105.0)


def test_an_address_of_another_term_is_not_that_of_the_coordinator() -> None:
    whereabouts = followed()
    whereabouts.on_lease(Lease(8, 0, "u", "third"), 105.0)
    assert not whereabouts.on_address(ADDRESS)
    assert (whereabouts.address, whereabouts.due) == (None, inf)
    assert whereabouts.on_lease(Lease(8, 1, "u", "third"), 107.0) is None
    assert whereabouts.due == 107.0


def test_a_lease_without_a_holder_or_with_this_node_as_its_former_one_is_nobodys() -> None:
    for lease in (None, Lease(7, 5, "t", None), Lease(6, 0, "s", "me")):
        whereabouts = followed()
        assert whereabouts.on_lease(lease, 105.0) is None
        assert (whereabouts.address, whereabouts.due) == (None, inf)
    assert not followed().on_address(None)


def test_this_nodes_own_power_is_at_its_own_address() -> None:
    whereabouts = followed()
    own = ("10.0.0.1", 7611, Fence(8, "mine"))
    whereabouts.on_own_power(own)
    assert (whereabouts.address, whereabouts.fence, whereabouts.due) == (own, Fence(8, "mine"), inf)
