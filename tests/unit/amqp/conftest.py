from __future__ import annotations

import pytest

from tests.support.harness import Client, Harness


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def peer(harness: Harness) -> Client:
    return harness.peer()
