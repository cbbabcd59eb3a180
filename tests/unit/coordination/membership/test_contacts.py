"""Who reaches whom: silence counts while a member lives, in each direction by itself, and changes are told once."""

from __future__ import annotations

from broker.coordination.membership.contacts import ContactChange, Contacts, Way
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState

BOB = NodeRow("bob", "b1", 1, 0, NodeState.UP, "10.0.0.2", 7611)
B1 = Incarnation("bob", "b1")


def with_bob() -> Contacts:
    """Bob is seen at second 100; a heartbeat interval has 5 seconds."""
    contacts = Contacts(5.0)
    contacts.on_members({"bob": BOB}, 100.0)
    return contacts


def test_a_member_is_cut_off_that_beats_and_has_not_called_for_two_beats() -> None:
    contacts = with_bob()
    assert contacts.cut_off({"bob": 109.9}) == frozenset()
    assert contacts.cut_off({"bob": 110.0}) == {B1}
    contacts.on_call(B1, 112.0, is_served=True)
    assert contacts.cut_off({"bob": 121.9}) == frozenset()


def test_a_member_that_has_stopped_beating_is_not_cut_off_but_dead() -> None:
    contacts = with_bob()
    contacts.on_call(B1, 104.0, is_served=True)
    assert contacts.cut_off({"bob": 105.0}) == frozenset()
    assert contacts.take_changes({"bob": 105.0}) == []


def test_a_member_is_cut_off_that_calls_and_gets_no_answer_from_the_coordinator() -> None:
    contacts = with_bob()
    contacts.on_call(B1, 109.0, is_served=False)
    assert contacts.cut_off({"bob": 110.0}) == {B1}
    assert [change.way for change in contacts.take_changes({"bob": 110.0})] == [Way.OUT]


def test_a_contact_that_is_lost_or_back_is_told_once_and_with_the_last_reason() -> None:
    contacts = with_bob()
    contacts.on_failure(B1, "refused")
    contacts.on_call(B1, 109.0, is_served=True)
    assert contacts.take_changes({"bob": 110.0}) == [ContactChange(BOB, Way.OUT, True, "refused")]
    assert contacts.take_changes({"bob": 115.0}) == []
    contacts.on_answer(B1, 116.0)
    assert contacts.take_changes({"bob": 120.0}) == [
        ContactChange(BOB, Way.OUT, False),
        ContactChange(BOB, Way.IN, True),
    ]


def test_a_new_incarnation_of_a_member_begins_anew_and_a_gone_one_is_forgotten() -> None:
    contacts = with_bob()
    contacts.on_members({"bob": NodeRow("bob", "b2", 2, 0, NodeState.UP, "10.0.0.2", 7611)}, 110.0)
    contacts.on_call(B1, 111.0, is_served=True)
    contacts.on_answer(B1, 111.0)
    contacts.on_failure(B1, "gone")
    assert contacts.cut_off({"bob": 112.0}) == frozenset()
    contacts.on_members({}, 113.0)
    assert contacts.cut_off({"bob": 200.0}) == frozenset()
