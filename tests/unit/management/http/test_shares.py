"""How many requests one user and one address may have under way."""

from __future__ import annotations

from contextlib import suppress

import pytest

from broker.management.http.call import HttpRefusal
from broker.management.http.shares import MAX_REQUESTS, SHARE, RequestPlace, Shares


def of_user(shares: Shares, user: str, address: str = "192.0.2.1") -> RequestPlace:
    place = shares.enter(address)
    place.on_login(user)
    return place


def test_a_user_alone_gets_half_and_is_then_refused_while_others_are_served() -> None:
    shares = Shares(8, 2)
    first, *_ = (of_user(shares, "a") for _ in range(4))
    late = shares.enter("192.0.2.1")
    with pytest.raises(HttpRefusal, match="user 'a' has too many requests under way: wait") as refused:
        late.on_login("a")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    late.leave()
    of_user(shares, "b")
    of_user(shares, "b")
    with pytest.raises(HttpRefusal, match="user 'b' has too many"):
        of_user(shares, "b", "192.0.2.7")
    assert shares.total == 7  # that request is not served yet
    first.leave()
    of_user(shares, "c")


def test_an_address_has_a_share_of_what_has_not_logged_in_and_a_login_gives_it_back() -> None:
    shares = Shares(5, 2)
    waiting = [shares.enter(f"2001:db8::{number}") for number in (1, 2)]
    shares.enter("2001:db8:0:1::1")
    with pytest.raises(HttpRefusal, match="address 2001:db8::/64 has too many requests without a login"):
        shares.enter("2001:db8::3")
    waiting[0].on_login("a")
    shares.enter("2001:db8::3")
    assert shares.total == 4


def test_nobody_gets_more_than_there_is() -> None:
    shares = Shares(2, 2)
    for address in ("192.0.2.1", "192.0.2.2"):
        shares.enter(address)
    with pytest.raises(HttpRefusal) as refused:
        shares.enter("192.0.2.3")
    assert refused.value.status == 503


def test_a_greedy_user_leaves_room_with_its_address_too() -> None:
    shares = Shares()
    for _ in range(100):
        with suppress(HttpRefusal):
            of_user(shares, "greedy")
    for _ in range(100):
        with suppress(HttpRefusal):
            shares.enter("192.0.2.1")
    assert shares.total <= MAX_REQUESTS - SHARE
    of_user(shares, "other", "192.0.2.2")
