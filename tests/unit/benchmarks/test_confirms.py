import pytest

from benchmarks.confirms import ConfirmCounter
from benchmarks.deliveries import PeerFault
from benchmarks.frames import ACK, ack, method, nack_head, short_string


def test_a_multiple_ack_confirms_all_before_it():
    counter = ConfirmCounter()

    counter.take(ack(40, multiple=True))

    assert counter.settled == 40


def test_confirms_out_of_order_leave_a_gap_until_it_is_filled():
    counter = ConfirmCounter()

    counter.take(ack(1, multiple=False) + ack(3, multiple=False))
    gap = (counter.confirmed, counter.settled)
    counter.take(ack(2, multiple=False))

    assert gap == (1, 2)
    assert (counter.confirmed, counter.settled) == (3, 3)


def test_a_multiple_ack_does_not_count_early_ones_twice():
    counter = ConfirmCounter()

    counter.take(ack(2, multiple=False) + ack(5, multiple=False) + ack(3, multiple=True))

    assert (counter.confirmed, counter.settled) == (3, 4)


@pytest.mark.parametrize("step", [1, 5, 20, 22, 1000])
def test_confirms_are_counted_however_the_stream_is_cut(step):
    counter = ConfirmCounter()
    stream = b"".join(ack(tag, multiple=False) for tag in range(1, 51)) + b"\x08\x00\x00\x00\x00\x00\x00\xce"
    stream += ack(60, multiple=True)

    for at in range(0, len(stream), step):
        counter.take(stream[at : at + step])

    assert counter.settled == 60


def test_a_nack_is_settled_and_counted():
    counter = ConfirmCounter()

    counter.take(ACK.pack(nack_head(1), 1, 0, 0xCE))

    assert (counter.settled, counter.nacked) == (1, 1)


def test_a_channel_close_among_confirms_names_the_reason():
    counter = ConfirmCounter()
    close = method(1, 20, 40, b"\x01\x94" + short_string("no exchange 'nope'") + bytes(4))

    with pytest.raises(PeerFault, match="404 no exchange 'nope'"):
        counter.take(ack(1, multiple=False) + close)
