from __future__ import annotations

from broker.topology.fair_queue import FairQueue


def filled(**items: str) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for client, names in items.items():
        for name in names:
            queue.add(client, name)
    return queue


def test_clients_are_served_in_turn_and_each_in_its_own_order() -> None:
    queue = filled(burst="abcdef", one="1", two="xy")

    assert [queue.take(4), queue.take(3), queue.take(9)] == [["a", "1", "x", "b"], ["y", "c", "d"], ["e", "f"]]
    assert len(queue) == 0


def test_who_comes_later_is_served_after_those_whose_turn_it_is() -> None:
    queue = filled(burst="abc")
    assert queue.take(1) == ["a"]
    queue.add("late", "1")

    assert queue.take(3) == ["b", "1", "c"]


def test_what_is_put_back_comes_before_what_its_client_has_put_in_since() -> None:
    queue = filled(one="abc")
    taken = queue.take(2)
    for item in reversed(taken):
        queue.put_back("one", item)

    assert (list(queue), len(queue)) == (["a", "b", "c"], 3)


def test_what_is_removed_is_not_served() -> None:
    queue = filled(one="ab", two="x")
    for client, item in (("two", "x"), ("one", "a"), ("one", "not there"), ("nobody", "x")):
        queue.remove(client, item)

    assert (len(queue), queue.take(9)) == (1, ["b"])
