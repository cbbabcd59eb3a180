"""What a background loop survives."""

from __future__ import annotations

import errno

import pytest
from structlog.testing import capture_logs

from broker.machine.faults import MachineFaults

DISK = OSError(errno.EIO, "Input/output error")
DESCRIPTORS = OSError(errno.EMFILE, "Too many open files")


def take_step(faults: MachineFaults, error: BaseException | None = None) -> None:
    with faults:
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [DISK, DESCRIPTORS, MemoryError(), FileNotFoundError(errno.ENOENT, "gone")])
def test_an_error_of_the_machine_costs_one_step(error: Exception) -> None:
    take_step(MachineFaults("alarms"), error)


@pytest.mark.parametrize("error", [AssertionError(), KeyError("k"), ValueError(), KeyboardInterrupt()])
def test_any_other_error_ends_the_loop(error: BaseException) -> None:
    with pytest.raises(type(error)):
        take_step(MachineFaults("alarms"), error)


def test_each_kind_is_said_once_until_a_step_succeeds() -> None:
    faults = MachineFaults("alarms")
    with capture_logs() as logs:
        for error in (DISK, DISK, DESCRIPTORS, DISK, None, None, DISK):
            take_step(faults, error)
    assert [(log["event"].split()[2], log.get("error")) for log in logs] == [
        ("could", "EIO"),
        ("could", "EMFILE"),
        ("does", None),
        ("could", "EIO"),
    ]
    assert logs[0]["what"] == "alarms"
