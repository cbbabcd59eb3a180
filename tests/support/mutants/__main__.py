"""`python -m tests.support.mutants`: change the code in small ways and count the changes that no test notices.

Which of all possible changes are tried depends on the seed alone. Ends with 1 when fewer than 97 in 100 of those that
change anything are noticed.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.support.mutants.selection import Selection
from tests.support.mutants.sites import Site, names, sites
from tests.support.mutants.targets import TARGETS
from tests.support.mutants.worker import Job, Outcome

PROJECT: Final = Path(__file__).parents[3]
EQUIVALENT: Final = Path(__file__).parent / "equivalent.toml"
NEEDED: Final = 0.97
LEARNING_DEADLINE: Final = 1800.0
SLOWER: Final = 5.0
"""How much longer than measured tests may take before a change counts as one that hangs, and how many seconds more."""
STARTING: Final = 30.0


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file, by its name."""

    file: str
    name: str
    site: Site


def equivalents() -> dict[str, dict[str, str]]:
    """Return, by file, the changes that change nothing that anybody can see, each with the reason."""
    return tomllib.loads(EQUIVALENT.read_text())


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


class Worker:
    """A copy of the project with a process that runs jobs in it."""

    def __init__(self, parent: Path, number: int, count: int) -> None:
        self.root = parent / f"copy{number}"
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.splitlines():
            if (PROJECT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(PROJECT / name, self.root / name)
        environment = os.environ | {"PYTHONPATH": str(self.root), "PYTEST_XDIST_WORKER_COUNT": str(count)}
        environment["PYTEST_XDIST_WORKER"] = f"gw{number}"  # tests then take ports of their own
        command = [sys.executable, "-m", "tests.support.mutants.worker"]
        self._process = subprocess.Popen(
            command, cwd=self.root, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, job: Job) -> Outcome:
        """Run one job to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def workers(count: int) -> Iterator[tuple[Path, list[Worker]]]:
    """Run so many workers, with a folder for what they learn."""
    with tempfile.TemporaryDirectory(prefix="cordillera-mutants-") as folder:
        started = [Worker(Path(folder), number, count) for number in range(count)]
        try:
            yield Path(folder), started
        finally:
            for worker in started:
                worker.close()


def learn(worker: Worker, tests: tuple[str, ...], modules: list[str], path: Path) -> Selection:
    """Run tests once on the code as it is. Exits when one of them fails."""
    job = Job("", "", list(tests), LEARNING_DEADLINE, needs_databases(tests), str(path), tuple(modules))
    outcome = worker.run(job)
    if outcome.result != "passed":
        log = path.with_name(f"{path.name}.log")
        raise SystemExit(f"the tests {' '.join(tests)} do not pass on the unchanged code\n{log.read_text()[-3000:]}")
    return Selection.load(path).within(worker.root)


def needs_databases(tests: tuple[str, ...]) -> bool:
    return any(test.startswith("tests/contract") for test in tests)


def try_out(worker: Worker, mutant: Mutant, selection: Selection, *, databases: bool) -> str:
    """Return `killed`, `hung` or `alive`."""
    tests = selection.tests_of(mutant.file, mutant.site.line, mutant.site.last_line)
    if not tests:
        return "alive"
    text = mutant.site.apply((PROJECT / mutant.file).read_bytes()).decode()
    outcome = worker.run(Job(mutant.file, text, tests, STARTING + SLOWER * selection.seconds_of(tests), databases))
    return {"passed": "alive", "failed": "killed", "hung": "hung"}[outcome.result]


def campaign(mutants: list[Mutant], jobs: int) -> dict[Mutant, str]:
    """Try all mutants out, so many at a time."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for file in dict.fromkeys(mutant.file for mutant in mutants):
        groups.setdefault(TARGETS[file], []).append(file)
    results: dict[Mutant, str] = {}
    lock = threading.Lock()
    with workers(jobs) as (folder, started):
        lessons: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
        for tests in groups:
            lessons.put(tests)
        selections: dict[tuple[str, ...], Selection] = {}
        waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()

        def learning(worker: Worker, number: int) -> None:
            while not lessons.empty():
                tests = lessons.get()
                path = folder / f"lines{number}-{len(selections)}.json"
                selections[tests] = learn(worker, tests, groups[tests], path)
                print(f"{len(selections)} of {len(groups)} sets of tests run", file=sys.stderr, flush=True)

        def trying(worker: Worker, _: int) -> None:
            while not waiting.empty():
                mutant = waiting.get()
                tests = TARGETS[mutant.file]
                result = try_out(worker, mutant, selections[tests], databases=needs_databases(tests))
                with lock:
                    results[mutant] = result
                    print(f"{len(results)}/{len(mutants)} {result:6} {mutant.file} {mutant.name}", flush=True)

        together(learning, started)
        for mutant in mutants:
            waiting.put(mutant)
        together(trying, started)
    return results


def together(work: Callable[[Worker, int], None], started: list[Worker]) -> None:
    """Let every worker do the same kind of work in a thread, until there is none left."""
    errors: list[BaseException] = []

    def guarded(worker: Worker, number: int) -> None:
        try:
            work(worker, number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(worker, number)) for number, worker in enumerate(started)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


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
    options = parser.parse_args()
    files = options.only or list(TARGETS)
    for file in files:
        if file not in TARGETS:
            parser.error(f"{file} is none of {', '.join(TARGETS)}")
    known = equivalents()
    mutants = [mutant for mutant in drawn(files, options.count, options.seed) if options.matching in mutant.name]
    equal = [mutant for mutant in mutants if mutant.name in known.get(mutant.file, {})]
    results = campaign([mutant for mutant in mutants if mutant not in equal], options.jobs)
    sys.exit(report(results, equal) < NEEDED)


if __name__ == "__main__":
    main()
