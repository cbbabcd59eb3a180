"""What `Peers` and `NodeServices` read of an agent, as a test sets it."""

from __future__ import annotations

from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Fence


class FakeAgent:
    """The agent of node 'a', which knows of nobody."""

    def __init__(self, port: int = 7611) -> None:
        self.node_id = "a"
        self.address = ("127.0.0.1", port)
        self.incarnation: Incarnation | None = Incarnation("a", "incarnation-a")
        self.living = frozenset({Incarnation("a", "incarnation-a"), Incarnation("b", "incarnation-b")})
        self.fence: Fence | None = None
        self.known_fence = Fence(7, "t")
        self.coordinator: tuple[str, int, Fence] | None = None
        self.hints = 0

    def on_hint(self) -> None:
        self.hints += 1
