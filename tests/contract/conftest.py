"""Every contract runs over every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.harness import Harness, memory_maker, sqlite_maker


@pytest.fixture(params=[memory_maker, sqlite_maker], ids=["memory", "sqlite"])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    started = await Harness.start(request.param(tmp_path))
    yield started
    await started.store.close()
