from benchmarks.scenario import MAX_BYTES, Scenario, encode_batch


def test_a_run_never_publishes_more_than_its_bound_in_bytes():
    assert Scenario("large", size=1 << 20).limit == MAX_BYTES >> 20


def test_a_fan_out_counts_every_copy_against_the_bound():
    assert Scenario("fan", size=1 << 20, exchange="fanout", queues=4).limit == MAX_BYTES >> 22


def test_a_rate_bounds_the_count():
    assert Scenario("steady", rate=5000, seconds=2.0).limit == 10_000


def test_publishers_share_the_queues_between_them():
    scenario = Scenario("spread", publishers=2, queues=4)

    assert scenario.routing_keys(0) == ["bench.queue.00000", "bench.queue.00002"]
    assert scenario.routing_keys(1) == ["bench.queue.00001", "bench.queue.00003"]


def test_topic_patterns_are_spread_over_the_queues_and_keys_match_them():
    scenario = Scenario("topic", exchange="topic", bindings=4, queues=2)

    assert scenario.bindings_of_queues()[3] == ("bench.queue.00001", "site.000003.*.read")
    assert scenario.routing_keys(0)[3] == "site.000003.meter.read"


def test_a_batch_is_whole_messages_with_each_key_equally_often():
    scenario = Scenario("two", queues=2)

    batch = encode_batch(scenario, 0, 131_072)

    assert len(batch.frames) == batch.length * batch.count
    assert batch.count % 2 == 0
    assert batch.frames.count(b"bench.queue.00000") == batch.frames.count(b"bench.queue.00001")


def test_priorities_go_round_and_messages_keep_one_length():
    batch = encode_batch(Scenario("levels", priorities=3), 0, 131_072)

    assert batch.count % 3 == 0
    assert len(batch.frames) == batch.length * batch.count


def test_dead_letters_go_to_a_queue_of_their_own():
    scenario = Scenario("dying", dead_letters=True, arguments={"x-max-length": 0})

    assert scenario.consumed_queue_name(1) == scenario.dead_letter_queue_name(1)
    assert scenario.arguments_of(1) == {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "bench.dead.00001",
        "x-max-length": 0,
    }
    assert Scenario("plain").consumed_queue_name(1) == "bench.queue.00001"


def test_keys_are_new_each_time_a_batch_is_sent_and_come_as_often_as_they_should():
    batch = encode_batch(Scenario("keyed", size=1, publishes_of_key=2), 0, 131_072)
    sent = batch.with_keys(1, 4, 7, 2)
    assert len(sent) == 4 * batch.length
    assert [sent.count(b"%016d" % number) for number in (2, 3, 4, 5, 6)] == [0, 1, 2, 1, 0]
    assert batch.frames.count(b"0" * 16) == batch.count


def test_headers_are_in_each_message_beside_its_key():
    batch = encode_batch(Scenario("delayed", size=1, headers={"x-delay": 7}, publishes_of_key=1), 0, 131_072)
    assert batch.frames.count(b"\x07x-delayl" + bytes(7) + b"\x07") == batch.count
    assert batch.frames.count(b"x-dedup-id") == batch.count


def test_consumers_have_the_wishes_in_turn():
    scenario = Scenario("readers", wishes=[{"x-stream-offset": 0}, {"x-stream-offset": 5}])
    assert [scenario.wish_of(number) for number in range(3)] == [
        {"x-stream-offset": 0},
        {"x-stream-offset": 5},
        {"x-stream-offset": 0},
    ]
    assert Scenario("any").wish_of(0) == {}
