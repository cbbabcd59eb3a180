"""Counters that the processes of one measurement share: each is written by one process alone, so none needs a lock."""

import ctypes
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Event


@dataclass(slots=True)
class Shared:
    """Progress of every publisher and consumer, and the two signals from the measuring process."""

    published: "ctypes.Array[ctypes.c_uint64]"
    consumed: "ctypes.Array[ctypes.c_uint64]"
    stop: ctypes.c_int
    go: Event

    @staticmethod
    def create(context: SpawnContext, publishers: int, consumers: int) -> "Shared":
        """Make counters for that many processes; at least one each, since an empty array cannot be shared."""
        return Shared(
            context.RawArray(ctypes.c_uint64, max(1, publishers)),
            context.RawArray(ctypes.c_uint64, max(1, consumers)),
            context.RawValue(ctypes.c_int, 0),
            context.Event(),
        )
