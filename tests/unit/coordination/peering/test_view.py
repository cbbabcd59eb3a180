"""Whom a node sees of its peers, who is the oldest, and how soon one that is silent is gone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from broker.coordination.peering.greeting import MOST_RANK, Address, ClusterTerms, Greeting, decode, encode
from broker.coordination.peering.view import Detector, PeerView, _Contact
from broker.ports.cluster_rows import Incarnation

TERMS = ClusterTerms("d", 1)
DETECTOR = Detector(2.5, 10.0)


def address(node_id: str) -> Address:
    return f"10.0.0.{ord(node_id) - 96}", 4000


def greeting(node_id: str, rank: int = 1, *, may_lead: bool = True, known: Sequence[str] = ()) -> Greeting:
    host, _ = address(node_id)
    incarnation = Incarnation(node_id, f"{node_id}-1")
    return Greeting(incarnation, address(node_id), (host, 7611), rank, may_lead, TERMS, tuple(map(address, known)))


class Node:
    """The view of node `b`, which knows of `a` and `c`, and the clock."""

    def __init__(self, well_known: str = "ac") -> None:
        self.now = 100.0
        self.may_lead = True
        self.view = PeerView(
            Incarnation("b", "b-1"),
            address("b"),
            ("10.0.0.2", 7611),
            TERMS,
            [address(each) for each in well_known],
            DETECTOR,
            may_lead=lambda: self.may_lead,
            jitter=lambda: 1.0,
            now=self.now,
        )

    def call(self, **answers: Greeting | str | None) -> list[str]:
        """Make the calls that are due; who does not answer fails. Return who was called."""
        called = []
        for each in self.view.due(self.now):
            node_id = chr(96 + int(each[0].rpartition(".")[2]))
            called.append(node_id)
            match answers.get(node_id):
                case Greeting() as told:
                    self.view.on_answer(each, told, asked_at=self.now, now=self.now)
                case str() as reason:
                    self.view.on_refused(each, reason, asked_at=self.now, now=self.now)
                case _:
                    self.view.on_failed(each, asked_at=self.now, now=self.now)
        return sorted(called)

    def pass_time(self, seconds: float, **answers: Greeting | str | None) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, max(self.view.next_deadline(), self.now + 0.01))
            self.call(**answers)
        self.view.on_time(self.now)

    @property
    def seen(self) -> str:
        return "".join(sorted(member.node_id for member in self.view.members()))

    def is_nominated(self, living: str = "abcd") -> bool:
        return self.view.is_nominated({Incarnation(each, f"{each}-1") for each in living})


def test_well_known_members_are_called_at_once_and_those_that_answer_are_members() -> None:
    node = Node()
    assert node.call(a=greeting("a")) == ["a", "c"]
    assert node.seen == "a"
    assert node.view.includes(Incarnation("a", "a-1"))
    assert not node.view.includes(Incarnation("a", "a-2"))


def test_a_node_that_is_well_known_to_itself_does_not_call_itself() -> None:
    assert Node("abc").call() == ["a", "c"]


def test_a_node_that_meets_itself_at_another_address_leaves_it_alone() -> None:
    node = Node("a")
    node.call(a=node.view.greeting())
    assert node.seen == ""
    node.pass_time(20.0)
    assert node.view.due(node.now + 100.0) == []


def test_members_are_learned_of_from_those_that_know_them_and_from_their_calls() -> None:
    node = Node("a")
    node.call(a=greeting("a", known="cb"))
    assert node.call(c=greeting("c")) == ["c"]
    assert node.view.on_call(greeting("d"), node.now) == ""
    assert node.seen == "ac"  # that one calls does not say that it can be reached
    assert node.call(d=greeting("d")) == ["d"]
    assert node.seen == "acd"
    assert set(node.view.greeting().known) == {address("a"), address("c"), address("d")}


def test_a_silent_member_is_gone_ten_seconds_after_the_last_call_that_it_answered() -> None:
    node = Node("a")
    node.call(a=greeting("a"))
    node.pass_time(9.9)
    assert node.seen == "a"
    node.pass_time(0.1)
    assert node.seen == ""
    node.pass_time(2.5, a=greeting("a"))
    assert node.seen == "a"


def test_a_node_that_was_held_up_itself_gives_the_others_the_time_again() -> None:
    node = Node("a")
    node.call(a=greeting("a"))
    node.now += 60.0
    node.view.on_time(node.now)
    assert node.seen == "a"
    node.pass_time(10.0)
    assert node.seen == ""


def test_who_comes_back_as_another_incarnation_takes_the_place_of_the_first() -> None:
    node = Node("a")
    node.call(a=greeting("a"))
    again = Greeting(Incarnation("a", "a-2"), address("a"), ("10.0.0.1", 7611), 3, True, TERMS)
    node.pass_time(2.5, a=again)
    assert list(node.view.members()) == [Incarnation("a", "a-2")]


def test_an_answer_that_was_given_up_changes_nothing() -> None:
    node = Node("a")
    (called,) = node.view.due(node.now)
    node.view.on_failed(called, asked_at=node.now, now=node.now + 2.5)
    node.view.on_answer(called, greeting("a"), asked_at=node.now, now=node.now + 3.0)
    assert node.seen == ""


def test_a_node_joins_behind_all_that_it_knows_of_once_it_has_called_all_it_should() -> None:
    node = Node()
    assert (node.view.is_settled, node.view.greeting().may_lead) == (False, False)
    node.call(a=greeting("a", 4), c=greeting("c", 7))
    assert (node.view.is_settled, node.view.rank) == (True, 8)
    assert Node("b").view.rank == 1


def test_a_node_that_hears_of_the_last_place_of_all_takes_one_that_others_can_read() -> None:
    node = Node()
    node.view.on_call(greeting("d", MOST_RANK), node.now)
    node.call(a=greeting("a"), c=greeting("c"))

    assert decode(encode(node.view.greeting())).rank == MOST_RANK


def test_the_oldest_that_may_lead_and_lives_is_nominated() -> None:
    node = Node()
    node.call(a=greeting("a", 1), c=greeting("c", 2))
    assert not node.is_nominated()
    assert node.is_nominated("bd")
    node.pass_time(2.5, a=greeting("a", 1, may_lead=False), c=greeting("c", 2, may_lead=False))
    assert node.is_nominated()
    node.may_lead = False
    assert not node.is_nominated()


def test_of_two_with_the_same_place_the_one_whose_name_is_the_first_is_older() -> None:
    for other, is_nominated in (("a", False), ("c", True)):
        node = Node(other)
        node.call(**{other: greeting(other, 0)})
        assert node.view.rank == 1
        node.pass_time(2.5, **{other: greeting(other, 1)})
        assert node.is_nominated() is is_nominated


def test_a_peer_of_another_cluster_is_refused_and_not_seen() -> None:
    node = Node("a")
    stranger = Greeting(Incarnation("a", "a-1"), address("a"), ("10.0.0.1", 7611), 1, True, ClusterTerms("other", 1))
    reason = "domain: 'other' on node 'a', 'd' on node 'b'"
    assert node.view.on_call(stranger, node.now) == reason
    node.call(a=stranger)
    assert (node.seen, node.view.refusals()) == ("", {address("a"): reason})
    node.pass_time(2.5, a="they said no")
    assert node.view.refusals() == {address("a"): "they said no"}
    node.pass_time(2.5, a=greeting("a"))
    assert (node.seen, node.view.refusals()) == ("a", {})


def test_an_address_that_no_configuration_names_is_forgotten_when_nobody_answers_for_long() -> None:
    node = Node("a")
    node.view.on_call(greeting("d"), node.now)
    node.pass_time(301.0, a=greeting("a"))
    node.now += 2.5
    assert node.call(a=greeting("a")) == ["a"]


def test_each_address_of_a_name_is_a_contact_and_the_place_in_the_order_waits_for_all_of_them() -> None:
    """The first address of a name was this node's own, and the others were never called."""
    node = Node("")
    node.view = PeerView(
        node.view.incarnation,
        ("b.example", 4000),
        ("10.0.0.2", 7611),
        TERMS,
        [("all.example", 4000)],
        DETECTOR,
        may_lead=lambda: True,
        jitter=lambda: 1.0,
        now=node.now,
    )
    ((name, port),) = node.view.due(node.now)
    found = [address(each) for each in "bca"]
    node.view.on_addresses((name, port), found, asked_at=node.now, now=node.now)
    assert not node.view.is_settled
    called = node.view.due(node.now)
    assert called == found
    node.view.on_answer(called[0], greeting("b"), asked_at=node.now, now=node.now)
    node.view.on_failed(called[1], asked_at=node.now, now=node.now)
    assert not node.view.is_settled
    node.view.on_answer(called[2], greeting("a", 7), asked_at=node.now, now=node.now)
    assert node.view.rank == 8
    assert node.seen == "a"
    node.now += DETECTOR.interval
    assert node.view.due(node.now) == [(name, port), address("c"), address("a")], "its own address is left alone"


def test_a_name_that_has_had_one_address_keeps_its_member_until_its_addresses_answer() -> None:
    node = Node("")
    node.view._contacts[("all.example", 4000)] = _Contact(True, True, node.now, math.inf)
    (name,) = node.view.due(node.now)
    node.view.on_answer(name, greeting("a"), asked_at=node.now, now=node.now)
    node.now += DETECTOR.interval
    node.view.due(node.now)
    node.view.on_addresses(name, [address("a"), address("c")], asked_at=node.now, now=node.now)
    assert node.seen == "a"


def test_a_name_that_is_this_nodes_own_may_become_anothers_too() -> None:
    node = Node("")
    node.view._contacts[("all.example", 4000)] = _Contact(True, True, node.now, math.inf)
    (name,) = node.view.due(node.now)
    node.view.on_answer(name, greeting("b"), asked_at=node.now, now=node.now)
    node.now += DETECTOR.interval
    assert node.view.due(node.now) == [name]


def test_addresses_that_nobody_of_the_cluster_has_take_no_place_of_a_member() -> None:
    """A peer that is not in the database filled all places with addresses, and members were not learned of."""
    node = Node("a")
    node.view.living = {Incarnation(each, f"{each}-1") for each in "abd"}
    node.view.on_call(greeting("d"), node.now)
    node.view.on_call(greeting("z"), node.now)
    for number in range(4):
        known = tuple((f"10.{number}.{each}.1", 4000) for each in range(250))
        answers = {address("a"): greeting("a"), address("d"): greeting("d"), address("z"): greeting("z")}
        answers[address("z")] = replace(greeting("z"), known=known)
        while due := node.view.due(node.now):
            for each in due:
                if each in answers:
                    node.view.on_answer(each, answers[each], asked_at=node.now, now=node.now)
                else:
                    node.view.on_failed(each, asked_at=node.now, now=node.now)
        node.now += DETECTOR.interval
    assert len(node.view._contacts) == 512
    assert node.seen.startswith("ad")
    node.view.on_call(greeting("c"), node.now)
    assert node.view.due(node.now)
    assert node.view.knows(address("c")), "a member that calls is learned of"


def test_addresses_without_number_are_not_learned() -> None:
    node = Node("a")
    for number in range(1000):
        node.view.on_call(
            Greeting(Incarnation(f"n{number}", "1"), (f"h{number}", 1), (f"t{number}", 1), 1, True, TERMS), node.now
        )
    assert len(node.view._contacts) == 512
    assert len(node.view.due(node.now)) == 64
    assert node.view.knows(address("a")), "the configuration names it"
    assert node.view.knows(("h999", 1)), "the newest is tried"
