"""Counters shared by the processes of one measurement. Only one process writes each, so they need no lock."""

import ctypes
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Event


@dataclass(slots=True)
class Shared:
    """The progress of every publisher and consumer, and the two signals that the measuring process sends them."""

    published: "ctypes.Array[ctypes.c_uint64]"
    consumed: "ctypes.Array[ctypes.c_uint64]"
    stop: ctypes.c_int
    go: Event

    @staticmethod
    def create(context: SpawnContext, publishers: int, consumers: int) -> "Shared":
        """Make counters for so many processes; at least one of each, because an empty array cannot be shared."""
        return Shared(
            context.RawArray(ctypes.c_uint64, max(1, publishers)),
            context.RawArray(ctypes.c_uint64, max(1, consumers)),
            context.RawValue(ctypes.c_int, 0),
            context.Event(),
        )
