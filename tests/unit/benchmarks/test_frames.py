import struct

from pamqp import commands, decode, frame, header

from benchmarks import frames


def test_a_publish_is_what_an_independent_codec_reads():
    message = frames.publish("logs", "red", 3, persistent=True, frame_max=4096)

    size, channel, method = frame.unmarshal(message)
    header_size, _, content = frame.unmarshal(message[size:])
    body_size, _, body = frame.unmarshal(message[size + header_size :])

    assert channel == 1
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key) == ("logs", "red")
    assert isinstance(content, header.ContentHeader)
    assert (content.body_size, content.properties.delivery_mode) == (3, 2)
    assert body.value == bytes(3)
    assert size + header_size + body_size == len(message)


def test_a_large_body_is_cut_into_frames_no_longer_than_agreed():
    one_frame = frames.content(1, bytes(4088), persistent=False, frame_max=4096)
    two_frames = frames.content(1, bytes(4089), persistent=False, frame_max=4096)

    assert len(two_frames) - len(one_frame) == 1 + frames.FRAME_OVERHEAD


def test_the_first_body_octet_of_a_publish_is_found():
    message = frames.publish("", "queue", 8, persistent=False, frame_max=4096)

    offset = frames.first_body_offset(message)

    assert message[offset : offset + 9] == bytes(8) + b"\xce"


def test_a_run_of_acks_acknowledges_each_tag_alone():
    run = frames.ack_run(7, 9)

    assert run == frames.ack(7, multiple=False) + frames.ack(8, multiple=False) + frames.ack(9, multiple=False)


def test_an_ack_is_what_an_independent_codec_reads():
    _, channel, method = frame.unmarshal(frames.ack(300, multiple=True))

    assert channel == 1
    assert isinstance(method, commands.Basic.Ack)
    assert (method.delivery_tag, method.multiple) == (300, True)


def test_multiple_acks_are_due_once_per_step_and_the_rest_waits():
    acks, reached = frames.ack_every(100, 100, 350)

    assert acks == frames.ack(200, multiple=True) + frames.ack(300, multiple=True)
    assert reached == 300


def test_no_ack_is_due_before_a_step_is_full():
    assert frames.ack_every(100, 100, 199) == (b"", 100)


def test_method_frames_end_with_the_frame_end_octet():
    assert frames.method(1, 85, 10, b"\x00") == struct.pack(">BHIHHBB", 1, 1, 5, 85, 10, 0, 0xCE)


def test_a_run_of_nacks_gives_each_tag_back_alone():
    run = frames.requeue_run(7, 8)
    size, _, method = frame.unmarshal(run)

    assert isinstance(method, commands.Basic.Nack)
    assert (method.delivery_tag, method.multiple, method.requeue) == (7, False, True)
    assert frame.unmarshal(run[size:])[2].delivery_tag == 8
    assert len(run) == 2 * size


def test_priority_and_expiration_are_among_the_properties_when_they_are_set():
    message = frames.publish("", "q", 3, persistent=False, frame_max=4096, priority=7, expiration="60000")

    size, _, _ = frame.unmarshal(message)
    _, _, content = frame.unmarshal(message[size:])

    assert isinstance(content, header.ContentHeader)
    assert (content.properties.priority, content.properties.expiration) == (7, "60000")


def test_a_table_is_what_an_independent_codec_reads():
    encoded = frames.table({"x-max-length": 5, "x-overflow": "drop-head", "x-single-active-consumer": True})

    assert decode.field_table(encoded)[1] == {
        "x-max-length": 5,
        "x-overflow": "drop-head",
        "x-single-active-consumer": True,
    }
