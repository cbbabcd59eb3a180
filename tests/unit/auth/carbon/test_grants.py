from __future__ import annotations

from broker.auth.carbon.grants import Grants
from broker.ports.user_database import Statement


def grants(*rows: tuple[str, str, str, int], roles: tuple[str, ...] = ("a", "b")) -> Grants:
    return Grants(roles, [Statement(role, resource, action, bool(allowed)) for role, resource, action, allowed in rows])


def test_nothing_said_is_refused() -> None:
    assert not grants().allows("consume", "event/queues/jms/q")


def test_what_is_said_of_a_node_holds_below_it() -> None:
    found = grants(("a", "/event/queues/", "consume", 1))
    assert found.allows("consume", "event/queues/jms/q")
    assert found.allows("CONSUME", "/event/queues")
    assert not found.allows("consume", "event")
    assert not found.allows("publish", "event/queues/jms/q")


def test_the_deepest_statement_about_a_role_wins() -> None:
    found = grants(("a", "/", "consume", 1), ("a", "event/q", "consume", 0), ("a", "event/q/x", "consume", 1))
    assert [found.allows("consume", each) for each in ("event", "event/q", "event/q/x", "event/q/y")] == [
        True,
        False,
        True,
        False,
    ]


def test_at_one_node_a_denial_wins() -> None:
    assert not grants(("a", "q", "consume", 0), ("a", "q", "consume", 1)).allows("consume", "q")
    assert not grants(("a", "q", "consume", 1), ("a", "q", "consume", 0)).allows("consume", "q")


def test_a_denial_is_no_veto_on_another_role() -> None:
    assert grants(("a", "q", "consume", 0), ("b", "q", "consume", 1)).allows("consume", "q")


def test_a_user_is_allowed_by_an_own_row_and_not_denied_by_one() -> None:
    assert grants(("a", "q", "consume", 0), ("", "q", "consume", 1)).allows("consume", "q")
    assert grants(("a", "q", "consume", 1), ("", "q", "consume", 0)).allows("consume", "q")


def test_roles_of_others_do_not_count_and_the_case_of_a_role_does_not_either() -> None:
    found = grants(("C", "q", "consume", 1), ("A", "r", "consume", 1))
    assert not found.allows("consume", "q")
    assert found.allows("consume", "r")


def test_any_level_is_enough_below_the_top() -> None:
    found = grants(("a", "t/x", "publish", 1), ("a", "t/x/y", "publish", 0), ("a", "t/z", "publish", 0))
    assert found.allows_on_any_level("publish", "t/x/y/z", "t")
    assert not found.allows_on_any_level("publish", "t/z", "t")
    assert not grants(("a", "t", "publish", 1), ("a", "t/z", "publish", 0)).allows_on_any_level("publish", "t/z", "t")
    assert grants(("a", "t", "publish", 1)).allows_on_any_level("publish", "t", "t")


def test_equal_rows_are_equal_grants() -> None:
    one, same = grants(("a", "q", "consume", 1)), grants(("A", "/q", "Consume", 1), ("c", "q", "consume", 1))
    assert one == same
    assert hash(one) == hash(same)
    assert one != grants(("a", "q", "consume", 0))
    assert one != "a"
