"""Where the coordinator answers: when the address is read, and whose it is."""

from __future__ import annotations

from math import inf

from broker.coordination.membership.coordinator_address import CoordinatorAddress
from broker.ports.cluster_rows import Lease
from broker.ports.peer_calls import Fence

ADDRESS = ("10.0.0.2", 7611, Fence(7, "t"))


def followed() -> CoordinatorAddress:
    """Return the address of coordinator 'other', seen at 100 and read at 100."""
    known = CoordinatorAddress("me", retry_after=1.0)
    assert known.on_lease(Lease(7, 3, "t", "other"), 100.0) == "other"
    assert known.due == 100.0
    known.on_asked(100.0)
    assert known.on_address(ADDRESS)
    return known


def test_at_first_nobody_is_known() -> None:
    known = CoordinatorAddress("me", retry_after=1.0)
    assert (known.address, known.fence, known.due) == (None, Fence(), inf)


def test_a_coordinator_that_goes_on_is_not_read_again() -> None:
    known = followed()
    assert known.on_lease(Lease(7, 4, "t", "other"), 102.0) is None
    assert (known.address, known.fence, known.due) == (ADDRESS, Fence(7, "t"), inf)


def test_an_address_that_was_not_answered_is_read_again_later() -> None:
    known = CoordinatorAddress("me", retry_after=1.0)
    known.on_lease(Lease(7, 3, "t", "other"), 100.0)
    known.on_asked(100.0)
    assert known.on_lease(Lease(7, 4, "t", "other"), 100.5) is None
    assert known.due == 101.0


def test_of_a_new_coordinator_nothing_is_known_until_its_address_is_read() -> None:
    known = followed()
    assert known.on_lease(Lease(8, 0, "u", "third"), 105.0) == "third"
    assert (known.address, known.fence, known.due) == (None, Fence(8, "u"), 105.0)


def test_an_address_of_another_term_is_not_that_of_the_coordinator() -> None:
    known = followed()
    known.on_lease(Lease(8, 0, "u", "third"), 105.0)
    assert not known.on_address(ADDRESS)
    assert (known.address, known.due) == (None, inf)
    assert known.on_lease(Lease(8, 1, "u", "third"), 107.0) is None
    assert known.due == 107.0


def test_a_lease_without_a_holder_or_with_this_node_as_its_former_one_is_nobodys() -> None:
    for lease in (None, Lease(7, 5, "t", None), Lease(6, 0, "s", "me")):
        known = followed()
        assert known.on_lease(lease, 105.0) is None
        assert (known.address, known.due) == (None, inf)
    assert not followed().on_address(None)


def test_this_nodes_own_power_is_at_its_own_address() -> None:
    known = followed()
    own = ("10.0.0.1", 7611, Fence(8, "mine"))
    known.on_own_power(own)
    assert (known.address, known.fence, known.due) == (own, Fence(8, "mine"), inf)
