import pytest

from benchmarks.deliveries import DeliveryCounter, PeerFault, find_layout
from benchmarks.frames import TAG, content, method, short_string


def delivery(tag: int, body: bytes = b"x" * 20, key: str = "q") -> bytes:
    arguments = short_string("consumer") + TAG.pack(tag) + b"\x00" + short_string("") + short_string(key)
    return method(1, 60, 60, arguments) + content(1, body, persistent=False, frame_max=4096)


def feed(counter: DeliveryCounter, data: bytes, step: int, now_ns: int = 0) -> None:
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        counter.buffer[counter.filled : counter.filled + len(piece)] = piece
        counter.take(len(piece), now_ns)


@pytest.mark.parametrize("step", [1, 7, 64, 1000, 100_000])
def test_deliveries_are_counted_however_the_stream_is_cut(step):
    counter = DeliveryCounter(200_000)

    feed(counter, b"".join(delivery(tag) for tag in range(1, 501)), step)

    assert counter.received == 500
    assert counter.filled == 0


def test_only_the_first_of_equal_deliveries_is_parsed():
    counter = DeliveryCounter(200_000)

    feed(counter, b"".join(delivery(tag) for tag in range(1, 501)), 10_000)

    assert counter.parsed == 1


def test_deliveries_of_other_lengths_are_parsed_exactly():
    counter = DeliveryCounter(200_000)
    stream = b"".join(delivery(tag, body=b"y" * (tag % 7)) for tag in range(1, 101))

    feed(counter, stream, len(stream))

    assert counter.received == 100


def test_a_heartbeat_between_deliveries_is_passed_over():
    counter = DeliveryCounter(10_000)
    heartbeat = b"\x08\x00\x00\x00\x00\x00\x00\xce"

    feed(counter, delivery(1) + heartbeat + delivery(2) + heartbeat, 10_000)

    assert counter.received == 2
    assert counter.filled == 0


def test_a_missing_delivery_is_a_fault():
    counter = DeliveryCounter(10_000)

    with pytest.raises(PeerFault, match="delivery tag 3 where 2 was expected"):
        feed(counter, delivery(1) + delivery(3), 10_000)


def test_a_channel_close_among_deliveries_names_the_reason():
    counter = DeliveryCounter(10_000)
    close = method(1, 20, 40, b"\x01\x96" + short_string("unknown delivery tag") + bytes(4))

    with pytest.raises(PeerFault, match="406 unknown delivery tag"):
        feed(counter, delivery(1) + close, 10_000)


def test_latency_is_now_less_the_time_in_the_body():
    counter = DeliveryCounter(10_000, keep_latencies=True)

    feed(counter, delivery(1, TAG.pack(900)) + delivery(2, TAG.pack(950)), 10_000, now_ns=1000)

    assert counter.latencies is not None
    assert counter.latencies.tolist() == [100, 50]


def test_the_layout_of_a_body_in_several_frames_covers_them_all():
    whole = delivery(1, bytes(10_000))

    layout = find_layout(whole, 0, len(whole))

    assert layout is not None
    assert layout.length == len(whole)
    assert find_layout(whole, 0, len(whole) - 1) is None
