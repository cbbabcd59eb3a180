"""What a run of mutants changes and runs is there."""

from __future__ import annotations

import pytest

from tests.support.mutants.mutant import PROJECT
from tests.support.mutants.targets import TARGETS


@pytest.mark.parametrize("file", TARGETS)
def test_the_module_is_there(file: str) -> None:
    assert (PROJECT / file).is_file()


@pytest.mark.parametrize("tests", sorted({test for tests in TARGETS.values() for test in tests}))
def test_the_tests_are_there(tests: str) -> None:
    file, _, name = tests.partition("::")

    assert (PROJECT / file).exists()
    assert not name or f"def {name.partition('[')[0]}(" in (PROJECT / file).read_text()
