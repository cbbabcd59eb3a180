"""A broker that does nothing, to find out what the load generator itself can do.

It discards whatever is published and sends a consumer ready-made deliveries as fast as its socket takes them.
"""

import os
import socket
import struct
import threading

from benchmarks.client import CLOSE
from benchmarks.frames import FRAME_START, TAG, content, method, short_string

BATCH = 2_000
# The answer to each method that a client sends to set up its connection.
ANSWERS = {
    (10, 11): method(0, 10, 30, struct.pack(">HIH", 2047, 131_072, 0)),
    (10, 40): method(0, 10, 41, b"\x00"),
    (10, 50): method(0, 10, 51),
    (20, 10): method(1, 20, 11, bytes(4)),
    (50, 10): method(1, 50, 11, short_string("q") + bytes(8)),
    (50, 40): method(1, 50, 41, bytes(4)),
    (60, 10): method(1, 60, 11),
    (60, 20): method(1, 60, 21, short_string("c")),
}
START = method(0, 10, 10, b"\x00\x09" + bytes(4) + struct.pack(">I", 5) + b"PLAIN" + struct.pack(">I", 5) + b"en_US")


def null_peer_process(server: socket.socket, size: int, count: int, cores: set[int]) -> None:
    """Serve connections until killed; the main function of the process."""
    if cores:
        os.sched_setaffinity(0, cores)
    published = threading.Event()
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_serve, args=(connection, size, count, published), daemon=True).start()


def _serve(connection: socket.socket, size: int, count: int, published: threading.Event) -> None:
    with connection:
        stream = connection.makefile("rb", 4096)
        stream.read(8)
        connection.sendall(START)
        while len(head := stream.read(FRAME_START.size)) == FRAME_START.size:
            payload = stream.read(FRAME_START.unpack(head)[2] + 1)
            asked = struct.unpack_from(">HH", payload)
            if asked == (60, 40):
                published.set()
                _discard(connection)
                return
            if asked in ANSWERS:
                connection.sendall(ANSWERS[asked])
            if asked == (60, 20):
                threading.Thread(target=_deliver, args=(connection, size, count, published), daemon=True).start()
                _discard(connection)
                return


def _discard(connection: socket.socket) -> None:
    """Read and discard everything until the peer closes the connection."""
    buffer = bytearray(1 << 20)
    while size := connection.recv_into(buffer):
        if buffer.endswith(CLOSE, 0, size):
            connection.sendall(ANSWERS[10, 50])


def _deliver(connection: socket.socket, size: int, count: int, published: threading.Event) -> None:
    head = short_string("c") + bytes(8) + b"\x00" + short_string("") + short_string("bench.queue.00000")
    one = method(1, 60, 60, head) + content(1, bytes(size), persistent=False, frame_max=131_072)
    tag_at = FRAME_START.size + 4 + len(short_string("c"))
    batch = bytearray(one * BATCH)
    published.wait()
    for first in range(1, count + 1, BATCH):
        for offset in range(BATCH):
            TAG.pack_into(batch, offset * len(one) + tag_at, first + offset)
        try:
            connection.sendall(memoryview(batch)[: min(BATCH, count + 1 - first) * len(one)])
        except OSError:
            return
