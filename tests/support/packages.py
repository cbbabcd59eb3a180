"""Packages that are installed as far as entry points go: a module and its metadata in a folder of modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from broker.node.own_exchange_types import GROUP


def install(site: Path, name: str, source: str, exchange_types: Mapping[str, str]) -> None:
    """Put version 1.0 of a package with one module, which brings these exchange types, into the folder `site`."""
    (site / f"{name}.py").write_text(source)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{type} = {where}" for type, where in exchange_types.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
