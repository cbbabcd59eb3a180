"""What lies between the demo's nodes, and which key is for whom."""

from __future__ import annotations

from tests.support.demo.links import Links, letters


def test_a_node_that_is_cut_off_reaches_nobody_until_it_is_mended() -> None:
    links = Links(3, [20_000])
    try:
        assert sorted(links.detours(1)) == [20_001, 20_002]
        links.toggle(3)
        links.toggle(2)
        links.toggle(3)
        assert (links.is_cut(1), links.is_cut(2), links.is_cut(3)) == (False, True, False)
        cut = {(here, there) for (here, _), (there, proxy) in links._proxies.items() if proxy.is_hanging}
        assert cut == {(1, 2), (2, 1), (2, 3), (3, 2)}
    finally:
        links.close()


def test_each_node_has_a_letter() -> None:
    assert letters(3) == {"a": 1, "b": 2, "c": 3}
