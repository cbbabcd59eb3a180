"""One change of one file, and which of all possible ones are tried."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.mutants.sites import Site, names, sites

PROJECT: Final = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file, by its name."""

    file: str
    name: str
    site: Site


def all_mutants(file: str) -> list[Mutant]:
    """Return every change of one file."""
    source = (PROJECT / file).read_bytes()
    return [Mutant(file, name, site) for name, site in names(sites(source), source)]


def drawn(files: list[str], count: int, seed: int) -> list[Mutant]:
    """Draw `count` changes, from each file as many as its share of all changes; all of them if `count` is 0."""
    possible = {file: all_mutants(file) for file in files}
    total = sum(map(len, possible.values()))
    chosen: list[Mutant] = []
    for file, mutants in possible.items():
        share = len(mutants) if not count else min(len(mutants), max(1, round(count * len(mutants) / total)))
        chosen += random.Random(f"{seed} {file}").sample(mutants, share)
    return chosen
