from __future__ import annotations

from broker.auth.carbon.topics import Topics


def test_without_a_registry_no_topic_is_known() -> None:
    topics = Topics()
    topics.add("event/topics/a", "T_a")
    assert (topics.is_registered, topics.exists("event/topics/a"), topics.has_role("t_A")) == (False, False, True)
    assert topics.is_known("event/topics/a")
    assert not topics.is_known("event/topics/b")


def test_what_the_registry_has_is_replaced_and_told_when_it_is_news() -> None:
    topics = Topics()
    assert topics.set_resources(["event/topics/a"])
    assert not topics.set_resources(["event/topics/a"])
    topics.add("event/topics/b")
    assert topics.exists("event/topics/b")
    assert topics.set_resources([])
    assert topics.is_registered
    topics.set_roles(["T_x"])
    assert not topics.has_role("T_a")
