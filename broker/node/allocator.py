"""Makes the C library keep freed memory, because a broker soon needs it again.

By default glibc returns the top of its heap whenever a few hundred KiB are free there. A broker that passes large
bodies on frees and takes that much for every read: half of all octets then land on pages that the kernel must clear.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3

_KEPT: Final = 64 << 20
"""Octets at the top of the heap that stay with the process when they are free."""


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB that it has freed. Does nothing where the C library is not glibc."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_TOP_PAD, _KEPT // 4)
        mallopt(_M_MMAP_THRESHOLD, _KEPT // 2)


def give_back_freed_memory() -> None:
    """Return all freed memory to the system, when the load is over."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
