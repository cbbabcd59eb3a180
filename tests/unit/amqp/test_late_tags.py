from __future__ import annotations

from broker.amqp.late_tags import MOST, LateTags


def late(*tags: int) -> LateTags:
    made = LateTags()
    made.add(tags)
    return made


def test_a_late_tag_is_answered_once() -> None:
    tags = late(3)
    assert [tags.pop(2), tags.pop(3), tags.pop(3)] == [False, True, False]


def test_one_answer_may_be_for_several() -> None:
    tags = late(1, 3, 5)
    assert [tags.pop_up_to(4), tags.pop_up_to(4), tags.pop(5)] == [True, False, True]


def test_the_newest_tags_are_remembered() -> None:
    tags = late(*range(MOST + 2))
    assert (len(tags), tags.pop(1), tags.pop(2)) == (MOST, False, True)
