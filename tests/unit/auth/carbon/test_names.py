from __future__ import annotations

import pytest

from broker.auth.carbon.names import (
    Login,
    is_of_super_tenant,
    login_of,
    queue_of,
    queue_resource,
    queue_role,
    topic_resource,
    topic_role,
)


@pytest.mark.parametrize(
    ("name", "login"),
    [
        ("alice", Login("alice")),
        ("alice!carbon.super", Login("alice")),
        ("alice!acme.com", Login("alice", "acme.com")),
        ("bob!mail.com!carbon.super", Login("bob@mail.com")),
        ("bob@mail.com", Login("bob@mail.com")),
        ("primary/alice", Login("alice")),
        ("ldap/alice!acme.com", Login("alice", "acme.com", "LDAP")),
        ("", Login("")),
    ],
)
def test_a_login_names_user_tenant_and_store(name: str, login: Login) -> None:
    assert login_of(name) == login


def test_a_queue_is_what_stands_between_a_colon_and_a_semicolon() -> None:
    assert [queue_of(name) for name in ("q", "direct:q;x=1", "q;a:b", "a:b:c")] == ["q", "q", "q", "b:c"]


def test_a_queue_keeps_its_dots_in_its_resource_and_loses_them_in_its_role() -> None:
    assert queue_resource("shop.orders") == "event/queues/jms/shop.orders"
    assert queue_role("acme.com/shop@orders") == "Q_acme-com-shop_orders"


@pytest.mark.parametrize(
    ("topic", "resource"),
    [
        ("sport.cricket", "event/topics/sport/cricket"),
        ("sport.cricket.#", "event/topics/sport/cricket"),
        ("sport.*.scores", "event/topics/sport"),
        ("sport.#.a.*", "event/topics/sport/#/a"),
        ("#", "event/topics"),
        ("*.a", "event/topics"),
    ],
)
def test_a_topic_is_cut_at_its_first_wildcard(topic: str, resource: str) -> None:
    assert topic_resource(topic) == resource


def test_the_role_of_a_topic_has_no_wildcards() -> None:
    assert topic_role("sport.cricket.#") == "T_sport-cricket"
    assert topic_role("a@b.*.c") == "T_a_b-c"


def test_names_with_a_slash_belong_to_other_tenants() -> None:
    assert [is_of_super_tenant(name) for name in ("q", "carbon.super/q", "acme.com/q", "")] == [
        True,
        True,
        False,
        False,
    ]
