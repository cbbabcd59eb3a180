"""A run of mutants learns each file of tests once, and goes on where an earlier run was ended."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tests.support.mutants import campaign
from tests.support.mutants.campaign import Worker, candidates, groups, learn, parts, stages, together
from tests.support.mutants.mutant import Mutant
from tests.support.mutants.selection import Selection
from tests.support.mutants.sites import sites
from tests.support.mutants.worker import Job, Outcome


class Answers:
    """Stands for a worker: answers jobs as told, in a folder of its own."""

    def __init__(self, root: Path, *results: str) -> None:
        self.root = root
        self.results = list(results)

    def run(self, job: Job) -> Outcome:
        result = self.results.pop(0)
        Path(f"{job.learn}.log").write_text("what pytest said")
        if result == "passed":
            Selection({"test": 1.0}, {str(self.root / "a.py"): {1: ["test"]}}).save(Path(job.learn))
        return Outcome(result, 0.0)


def learned(answers: Answers, path: Path) -> Selection:
    return learn(cast(Worker, answers), "tests/unit/test_a.py", path)


def test_tests_that_fail_once_on_a_busy_machine_are_learned_from(tmp_path: Path) -> None:
    path = tmp_path / "lesson.json"

    found = learned(Answers(tmp_path, "failed", "hung", "passed"), path)

    assert found.tests_of("a.py", 1, 1) == ["test"]


def test_tests_that_do_not_pass_on_the_unchanged_code_end_the_run(tmp_path: Path) -> None:
    path = tmp_path / "lesson.json"

    with pytest.raises(SystemExit, match="what pytest said"):
        learned(Answers(tmp_path, *["failed"] * campaign.TRIES), path)


def test_a_folder_of_tests_is_learned_file_by_file() -> None:
    found = parts(("tests/unit/support/mutants", "tests/unit/test_clock.py", "tests/unit/test_clock.py::test_a"))

    assert "tests/unit/support/mutants/test_campaign.py" in found
    assert found[-2:] == ["tests/unit/test_clock.py", "tests/unit/test_clock.py::test_a"]


def test_an_error_in_one_worker_ends_all_of_them(tmp_path: Path) -> None:
    done: list[int] = []

    def work(worker: Worker, item: int) -> None:
        done.append(item)
        if item == 2:
            raise ValueError("no worker any more")

    with pytest.raises(ValueError, match="no worker any more"):
        together(work, range(1, 1000), [cast(Worker, Answers(tmp_path))])

    assert done == [1, 2]


def test_the_tests_of_the_module_itself_come_first() -> None:
    others = ["tests/unit/amqp/test_a.py::test_quick", "tests/unit/amqp/test_queue.py.old/test_b.py::test_slow"]
    own = ["tests/unit/queue/test_queue.py::test_one", "tests/unit/queue/test_queue.py::test_two[a::b]"]

    assert stages("broker/queue/queue.py", [others[0], own[0], others[1], own[1]]) == [own, others]
    assert stages("broker/queue/window.py", own) == [own]
    assert stages("broker/queue/queue.py", []) == []


def test_a_change_of_a_coroutine_has_the_tests_of_all_of_its_lines() -> None:
    source = b"async def a():\n    await b()\n    c = d + 1\n\n\ndef e():\n    f = g + 1\n"
    selection = Selection(
        {"begins": 0.1, "ends": 0.2, "other": 0.3}, {"x.py": {2: ["begins"], 3: ["ends"], 7: ["other"]}}
    )
    found = {site.line: candidates(Mutant("x.py", "", site), selection) for site in sites(source)}

    assert found == {2: ["begins", "ends"], 3: ["ends", "begins"], 7: ["other"]}


def test_modules_with_the_same_tests_are_changed_together() -> None:
    window, dispatcher, secret = "broker/queue/window.py", "broker/queue/dispatcher.py", "broker/thrift/secret.py"

    assert groups([window, secret, dispatcher, window]) == [[window, dispatcher], [secret]]
