"""Tries changes out, several at a time, and keeps what comes of each.

First it learns, for each file of tests, which lines it runs; then it changes the code. Both go on where an earlier run
was ended.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar

from tests.support.mutants.kept import ALIVE, Lessons, Results, digest
from tests.support.mutants.mutant import PROJECT, Mutant
from tests.support.mutants.selection import Selection
from tests.support.mutants.targets import TARGETS
from tests.support.mutants.worker import Job, Outcome

LEARNING: Final = 900.0
"""How long one file of tests may take while it is learned from, in seconds by `OwnTime`."""
TRIES: Final = 3
"""How often tests may fail on the unchanged code, as some may on a busy machine."""
SLOWER: Final = 4.0
"""How much longer than measured tests may take before a change counts as one that hangs, and how many seconds more."""
STARTING: Final = 15.0

T = TypeVar("T")


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
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Campaign:
    """Tries changes out in workers, with what earlier runs have kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._lessons = Lessons(folder)
        self._results = Results(folder)
        self._sources = {file: (PROJECT / file).read_bytes() for file in TARGETS}
        self._modules = {file: digest(source) for file, source in self._sources.items()}
        self._lock = threading.Lock()

    def run(self, mutants: list[Mutant], jobs: int) -> dict[Mutant, str]:
        """Return for each change `killed`, `hung` or `alive`, so many at a time."""
        results: dict[Mutant, str] = {}
        for mutant in mutants:
            known = self._results.find(mutant.file, mutant.name, *self._digests(mutant.file))
            if known is not None:
                results[mutant] = known
        waiting = [mutant for mutant in mutants if mutant not in results]
        print(f"{len(results)} of {len(mutants)} known from an earlier run", file=sys.stderr, flush=True)
        if waiting:
            with workers(jobs) as started:
                for files in groups(mutant.file for mutant in waiting):
                    selections = self._learn(files, started)
                    self._try([mutant for mutant in waiting if mutant.file in files], selections, started, results)
        return results

    def _digests(self, file: str) -> tuple[str, str]:
        return self._modules[file], digest(*(_text(tests) for tests in parts(TARGETS[file])))

    def _learn(self, files: list[str], started: list[Worker]) -> dict[str, Selection]:
        """Return, by file, which of its tests run which lines."""
        wanted: dict[str, list[str]] = {}
        for file in files:
            for tests in parts(TARGETS[file]):
                wanted.setdefault(tests, []).append(file)
        learned: dict[str, Selection] = {}

        def lesson(worker: Worker, tests: str) -> None:
            text = digest(_text(tests))
            found = self._lessons.find(tests, text, {file: self._modules[file] for file in wanted[tests]})
            if found is None:
                found = learn(worker, tests, worker.root / "lesson")
                self._lessons.keep(tests, text, self._modules, found)
            with self._lock:
                learned[tests] = found
                print(f"{len(learned)}/{len(wanted)} learned {tests}", file=sys.stderr, flush=True)

        together(lesson, wanted, started)
        return {file: Selection.joined(learned[tests] for tests in parts(TARGETS[file])) for file in files}

    def _try(
        self,
        waiting: list[Mutant],
        selections: dict[str, Selection],
        started: list[Worker],
        results: dict[Mutant, str],
    ) -> None:
        def trial(worker: Worker, mutant: Mutant) -> None:
            result = self._try_out(worker, mutant, selections[mutant.file])
            with self._lock:
                results[mutant] = result
                self._results.add(mutant.file, mutant.name, result, *self._digests(mutant.file))
                print(f"{len(results)} {result:6} {mutant.file} {mutant.name}", flush=True)

        together(trial, waiting, started)

    def _try_out(self, worker: Worker, mutant: Mutant, selection: Selection) -> str:
        text = mutant.site.apply(self._sources[mutant.file]).decode()
        for tests in stages(mutant.file, candidates(mutant, selection)):
            seconds = STARTING + SLOWER * selection.seconds_of(tests)
            result = worker.run(Job(mutant.file, text, tests, seconds, needs_databases(tests))).result
            if result != "passed":
                return {"failed": "killed", "hung": "hung"}[result]
        return ALIVE


def candidates(mutant: Mutant, selection: Selection) -> list[str]:
    """Return the tests that run a changed line, or in a coroutine any of its lines."""
    site = mutant.site
    found = selection.tests_of(mutant.file, site.line, site.last_line)
    if site.coroutine is not None:
        found += [test for test in selection.tests_of(mutant.file, *site.coroutine) if test not in set(found)]
    return found


def stages(file: str, tests: list[str]) -> list[list[str]]:
    """Return the same tests with those first that stand in the module's own file of tests: to read the files of all
    others takes longer than most changes live.
    """
    own = f"test_{Path(file).stem}.py"
    first = [test for test in tests if Path(test.partition("::")[0]).name == own]
    return [part for part in (first, [test for test in tests if test not in set(first)]) if part]


def groups(files: Iterable[str]) -> list[list[str]]:
    """Return the same files, those together that have the same tests."""
    found: dict[tuple[str, ...], list[str]] = {}
    for file in dict.fromkeys(files):
        found.setdefault(TARGETS[file], []).append(file)
    return list(found.values())


def learn(worker: Worker, tests: str, path: Path) -> Selection:
    """Run tests on the code as it is and return which lines they run. Exits when one of them fails.

    The worker writes into `path`.
    """
    job = Job("", "", [tests], LEARNING, needs_databases([tests]), str(path), tuple(TARGETS))
    if not any(worker.run(job).result == "passed" for _ in range(TRIES)):
        log = Path(f"{path}.log").read_text()
        raise SystemExit(f"{tests} does not pass on the unchanged code\n{log[-3000:]}")
    return Selection.load(path).within(worker.root)


def needs_databases(tests: Iterable[str]) -> bool:
    """Return whether some of the tests ask database servers."""
    return any(test.startswith("tests/contract") for test in tests)


def parts(tests: Iterable[str]) -> list[str]:
    """Return the same tests with the files of each folder instead of the folder."""
    files: list[str] = []
    for test in tests:
        found = sorted((PROJECT / test).rglob("test_*.py")) if (PROJECT / test).is_dir() else []
        files += [file.relative_to(PROJECT).as_posix() for file in found] or [test]
    return files


def _text(tests: str) -> bytes:
    return (PROJECT / tests.partition("::")[0]).read_bytes()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """Run so many workers."""
    with tempfile.TemporaryDirectory(prefix="cordillera-mutants-") as folder:
        started = [Worker(Path(folder), number, count) for number in range(count)]
        try:
            yield started
        finally:
            for worker in started:
                worker.close()


def together(work: Callable[[Worker, T], None], todo: Iterable[T], started: list[Worker]) -> None:
    """Let every worker do the same kind of work in a thread, until there is none left."""
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in todo:
        waiting.put(item)
    errors: list[BaseException] = []

    def working(worker: Worker) -> None:
        try:
            while not errors:
                work(worker, waiting.get_nowait())
        except queue.Empty:
            pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=working, args=(worker,)) for worker in started]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
