"""The links between the demo's nodes, which a key cuts and mends: what one node calls at another goes through them.

Knows ports and proxies; must not know nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.proxy import Proxy


class Links:
    """A proxy from each node to each port of each other one; nodes are counted from 1."""

    def __init__(self, count: int, first_ports: Sequence[int]) -> None:
        """`first_ports` are those of node 1 that others call; the next node has the next ones."""
        self._cut: set[int] = set()
        self._proxies = {
            (here, first + there - 1): (there, Proxy(first + there - 1))
            for here in range(1, count + 1)
            for there in range(1, count + 1)
            if there != here
            for first in first_ports
        }

    def detours(self, number: int) -> dict[int, int]:
        """Return which port a node is to call instead of which."""
        return {port: proxy.port for (here, port), (_, proxy) in self._proxies.items() if here == number}

    def toggle(self, number: int) -> None:
        """Cut a node off from all others, or let it reach them again; two that are cut off do not reach each other."""
        self._cut ^= {number}
        for (here, _), (there, proxy) in self._proxies.items():
            if number in (here, there):
                if self._cut & {here, there}:
                    proxy.hang()
                else:
                    proxy.resume()

    def is_cut(self, number: int) -> bool:
        """Is this node cut off from the others?"""
        return number in self._cut

    def close(self) -> None:
        """Leave nothing behind."""
        for _, proxy in self._proxies.values():
            proxy.close()


def letters(count: int) -> Mapping[str, int]:
    """Return which key is for which node: `a` for the first."""
    return {chr(ord("a") + number): number + 1 for number in range(count)}
