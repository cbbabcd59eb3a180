"""The memory that control groups leave to a process: contract M13."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.server.memory_limit import total_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MIB = 1 << 20
V2 = "31 23 0:26 / /sys/fs/cgroup rw,nosuid,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
OTHERS = "23 1 8:1 / / rw - ext4 /dev/sda1 rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"


def machine(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> Path:
    """Lay out what the kernel shows; `files` are named from `/sys/fs/cgroup` on."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text(OTHERS + mounts)
    for name, value in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")
    return root


SERVICE = "system.slice/cordillera.service"
UNLIMITED = "9223372036854771712"


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "limit"),
    [
        ("0::/\n", V2, {"memory.max": str(512 * MIB)}, 512 * MIB),
        (f"0::/{SERVICE}\n", V2, {f"{SERVICE}/memory.max": str(512 * MIB)}, 512 * MIB),
        (f"0::/{SERVICE}\n", V2, {f"{SERVICE}/memory.max": "max", "system.slice/memory.max": str(64 * MIB)}, 64 * MIB),
        (
            f"0::/{SERVICE}\n",
            V2,
            {f"{SERVICE}/memory.max": str(64 * MIB), "system.slice/memory.max": str(512 * MIB)},
            64 * MIB,
        ),
        (f"0::/{SERVICE}\n", V2, {f"{SERVICE}/memory.max": "max", f"{SERVICE}/memory.high": str(64 * MIB)}, 64 * MIB),
        (f"0::/{SERVICE}\n", V2, {"user.slice/memory.max": str(64 * MIB)}, MACHINE),
        (
            f"9:name=systemd:/x\n4:memory:/{SERVICE}\n1:cpu:/\n",
            V1,
            {f"memory/{SERVICE}/memory.limit_in_bytes": str(512 * MIB), "memory/memory.limit_in_bytes": UNLIMITED},
            512 * MIB,
        ),
        (
            f"4:cpu,memory:/{SERVICE}\n0::/{SERVICE}\n",
            HYBRID,
            {
                f"memory/{SERVICE}/memory.limit_in_bytes": UNLIMITED,
                "memory/system.slice/memory.limit_in_bytes": str(64 * MIB),
            },
            64 * MIB,
        ),
        (
            "4:memory:/docker/0123abcd\n",
            V1.replace(" / /sys", " /docker/0123abcd /sys"),
            {"memory/memory.limit_in_bytes": str(64 * MIB)},
            64 * MIB,
        ),
        (
            "4:memory:/docker/0123abcd/child\n",
            V1.replace(" / /sys", " /docker/0123abcd /sys"),
            {
                "memory/memory.limit_in_bytes": str(512 * MIB),
                "memory/child/memory.limit_in_bytes": str(64 * MIB),
            },
            64 * MIB,
        ),
        ("0::/../other\n", V2, {"memory.max": str(512 * MIB)}, 512 * MIB),
        ("4:memory:/docker/gone\n", V1, {"memory/memory.limit_in_bytes": str(512 * MIB)}, 512 * MIB),
        (f"0::/{SERVICE}\n", V2, {f"{SERVICE}/memory.max": str(MACHINE * 2)}, MACHINE),
        ("0::/a:b/c\n", V2, {"a:b/memory.max": str(64 * MIB)}, 64 * MIB),
        ("0::/\n", "", {"memory.max": str(64 * MIB)}, MACHINE),
        ("", V2, {"memory.max": str(64 * MIB)}, MACHINE),
    ],
    ids=[
        "v2, the root of a container",
        "v2, a service",
        "v2, its slice",
        "v2, a service below a slice",
        "v2, slowed down above",
        "v2, another slice",
        "v1, a service",
        "both, limits in v1",
        "v1, a container",
        "v1, below the group of a container",
        "v2, outside the namespace",
        "v1, a group that is not seen",
        "more than there is",
        "a colon in the name",
        "nothing mounted",
        "no group",
    ],
)
def test_the_smallest_limit_on_the_way_up_counts(
    tmp_path: Path, cgroup: str, mounts: str, files: dict[str, str], limit: int
) -> None:
    assert total_memory(machine(tmp_path, cgroup, mounts, files)) == limit


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert total_memory(tmp_path) == MACHINE


def test_the_figures_of_this_machine_can_be_read() -> None:
    assert MIB < total_memory() <= MACHINE
