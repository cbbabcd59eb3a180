"""`python -m tests.support.mutants`: change the code in small ways and count the changes that no test notices.

Which of all possible changes are tried depends on the seed alone. Ends with 1 when fewer than 97 in 100 of those that
change anything are noticed. A run that is ended goes on where it was when it is started again.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Final

from tests.support.mutants.campaign import Campaign
from tests.support.mutants.kept import forget
from tests.support.mutants.mutant import PROJECT, Mutant, drawn
from tests.support.mutants.targets import TARGETS

EQUIVALENT: Final = Path(__file__).parent / "equivalent.toml"
NEEDED: Final = 0.97


def equivalents() -> dict[str, dict[str, str]]:
    """Return, by file, the changes that change nothing that anybody can see, each with the reason."""
    return tomllib.loads(EQUIVALENT.read_text())


def report(results: dict[Mutant, str], equal: list[Mutant]) -> float:
    """Print the table and the survivors; return the share of killed among those that are not equivalent."""
    by_file = {file: Counter(result for mutant, result in results.items() if mutant.file == file) for file in TARGETS}
    print(f"\n{'module':48} {'mutants':>8} {'killed':>7} {'equivalent':>11} {'alive':>6}")
    for file, counts in by_file.items():
        same = sum(mutant.file == file for mutant in equal)
        if counts or same:
            killed = counts["killed"] + counts["hung"]
            print(f"{file:48} {counts.total() + same:8} {killed:7} {same:11} {counts['alive']:6}")
    alive = [mutant for mutant, result in results.items() if result == "alive"]
    killed, tried = len(results) - len(alive), len(results)
    print(f"{'all':48} {tried + len(equal):8} {killed:7} {len(equal):11} {len(alive):6}")
    share = killed / tried if tried else 1.0
    print(f"noticed: {share:.1%} of {tried} that are not equivalent (needed: {NEEDED:.0%})")
    for mutant in alive:
        print(f"alive: {mutant.file}:{mutant.site.line} {mutant.name}")
    return share


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="how many changes to try; 0: every possible one")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    parser.add_argument("--only", action="append", metavar="FILE", help="only changes of this module; may be repeated")
    parser.add_argument("--matching", default="", help="only changes whose name contains this text")
    parser.add_argument("--kept", type=Path, default=PROJECT / ".mutants", help="folder of what earlier runs found")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found")
    options = parser.parse_args()
    files = options.only or list(TARGETS)
    for file in files:
        if file not in TARGETS:
            parser.error(f"{file} is none of {', '.join(TARGETS)}")
    if options.fresh:
        forget(options.kept)
    known = equivalents()
    mutants = [mutant for mutant in drawn(files, options.count, options.seed) if options.matching in mutant.name]
    equal = [mutant for mutant in mutants if mutant.name in known.get(mutant.file, {})]
    results = Campaign(options.kept).run([mutant for mutant in mutants if mutant not in equal], options.jobs)
    sys.exit(report(results, equal) < NEEDED)


if __name__ == "__main__":
    main()
