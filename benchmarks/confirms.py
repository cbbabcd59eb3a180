"""Counts publisher confirms in a stream of bytes. Pure: does no I/O."""

from benchmarks.deliveries import CHANNEL_CLOSE, CONNECTION_CLOSE, PeerFault, describe_close
from benchmarks.frames import ACK, FRAME_HEARTBEAT, FRAME_OVERHEAD, FRAME_START, ack_head, nack_head


class ConfirmCounter:
    """Counts acks and nacks of channel 1, single or multiple, in any order."""

    __slots__ = ("_early", "_rest", "confirmed", "nacked")

    def __init__(self) -> None:
        self.confirmed = 0
        self.nacked = 0
        self._early: set[int] = set()
        self._rest = b""

    @property
    def settled(self) -> int:
        """How many publishes have been answered, including those after one that has not."""
        return self.confirmed + len(self._early)

    def take(self, received: bytes) -> None:
        """Count the confirms in `received`."""
        stream = self._rest + received if self._rest else received
        whole = len(stream) - len(stream) % ACK.size
        ack_start, nack_start = ack_head(1), nack_head(1)
        at = 0
        for head, tag, multiple, _ in ACK.iter_unpack(memoryview(stream)[:whole]):
            if head in (ack_start, nack_start):
                self.settle(tag, multiple)
                self.nacked += head == nack_start
                at += ACK.size
            else:
                skipped = self._skip(stream, at)
                self._rest = b""
                if skipped:
                    self.take(stream[at + skipped :])
                else:
                    self._rest = stream[at:]
                return
        self._rest = stream[at:]

    def settle(self, tag: int, multiple: int) -> None:
        """Count one ack or nack."""
        if multiple:
            self.confirmed = max(self.confirmed, tag)
            if self._early:
                self._early = {early for early in self._early if early > tag}
        elif tag == self.confirmed + 1:
            self.confirmed = tag
        else:
            self._early.add(tag)
        while self.confirmed + 1 in self._early:
            self.confirmed += 1
            self._early.remove(self.confirmed)

    @staticmethod
    def _skip(stream: bytes, at: int) -> int:
        frame_type, _, size = FRAME_START.unpack_from(stream, at)
        if frame_type == FRAME_HEARTBEAT:
            return FRAME_OVERHEAD
        if len(stream) - at < size + FRAME_OVERHEAD:
            return 0
        payload = stream[at + 7 : at + 7 + size]
        if payload[:4] in (CHANNEL_CLOSE, CONNECTION_CLOSE):
            raise PeerFault(describe_close(payload))
        raise PeerFault(f"method {payload[:4].hex()} among confirms")
