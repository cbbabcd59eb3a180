from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.edge import Node


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.harness.stage.run()
