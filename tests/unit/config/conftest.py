"""A folder of configuration files, written and loaded in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from broker.config.loading import Loaded, load
from broker.config.node_place import read_node_place

Load = Callable[..., Loaded]


@pytest.fixture
def load_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write `{name below conf: content}` and load `conf/broker.xml`, with `conf` in the current directory. What is read
    of it alone, to find the node, must be the same.
    """
    monkeypatch.chdir(tmp_path)

    def write_and_load(files: Mapping[str, str | bytes], environ: Mapping[str, str] | None = None) -> Loaded:
        for name, content in {"broker.xml": "<broker/>", **files}.items():
            path = Path("conf") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        loaded = load(Path("conf/broker.xml"), environ or {})
        assert read_node_place(Path("conf"), environ or {}) in (loaded.config.node_place, None)
        return loaded

    return write_and_load
