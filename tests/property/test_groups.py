"""A queue with message groups under random use: each group in order, one message of it out, none lost, none twice.

Real are the broker, the store in memory and the slots; time stands still, and the journal commits now and then. A
message that was given back, or whose consumer was cut off, may come again, and before all younger ones of its group.
"""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicAck, BasicConsume, BasicGet, BasicNack, BasicQos, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness

GROUPS = "abcdefgh"
LIMITS = QueueLimits(memory=8000, transient_memory=8000, window_size=5, read_ahead=5, read_ahead_bytes=20_000)


class GroupMachine(RuleBasedStateMachine):
    """Publishers, consumers that take, acknowledge, give back and vanish, and a model of what they may see."""

    concurrency = 1

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness(queue_limits=LIMITS)
        self.publisher = self.harness.peer()
        arguments = {"x-message-groups": True, "x-group-concurrency": self.concurrency}
        self.publisher.send(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of(arguments)))
        self.consumers: list[Client] = []
        self.published: dict[str, list[str]] = defaultdict(list)
        self.settled: set[str] = set()
        self.held: dict[Client, dict[int, str]] = {}

    # What happens

    @rule(group=st.sampled_from(GROUPS), count=st.integers(1, 30), is_persistent=st.booleans())
    def publish(self, group: str, count: int, is_persistent: bool) -> None:
        headers = FieldTable.of({"x-group-id": group})
        properties = BasicProperties(headers=headers, delivery_mode=2 if is_persistent else 1)
        for _ in range(count):
            body = f"{group}{len(self.published[group])}"
            self.published[group].append(body)
            self.publisher.publish("q", body.encode(), properties=properties)
        self.look()

    @rule(prefetch=st.integers(1, 5))
    @precondition(lambda self: len(self.consumers) < 4)
    def consume(self, prefetch: int) -> None:
        consumer = self.harness.peer()
        consumer.send(1, BasicQos(0, prefetch))
        consumer.send(1, BasicConsume(queue="q"))
        self.consumers.append(consumer)
        self.held[consumer] = {}
        self.look()

    @rule(data=st.data(), count=st.integers(1, 20))
    def acknowledge(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            holders = [consumer for consumer in self.consumers if self.held[consumer]]
            if not holders:
                return
            consumer = data.draw(st.sampled_from(holders))
            tag = data.draw(st.sampled_from(sorted(self.held[consumer])))
            self.settled.add(self.held[consumer].pop(tag))
            consumer.send(1, BasicAck(tag))
            self.look()

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        holders = [consumer for consumer in self.consumers if self.held[consumer]]
        if holders:
            consumer = data.draw(st.sampled_from(holders))
            tag = data.draw(st.sampled_from(sorted(self.held[consumer])))
            del self.held[consumer][tag]
            consumer.send(1, BasicNack(tag, requeue=True))
            self.look()

    @rule(data=st.data())
    @precondition(lambda self: self.consumers)
    def cut_off(self, data: st.DataObject) -> None:
        consumer = data.draw(st.sampled_from(self.consumers))
        self.consumers.remove(consumer)
        del self.held[consumer]
        consumer.lose()
        self.look()

    @rule()
    def get(self) -> None:
        consumer = next(iter(self.consumers), None)
        if consumer is not None:
            consumer.send(1, BasicGet(queue="q"))
            self.look()

    @rule()
    def commit(self) -> None:
        self.harness.commit()
        self.look()

    # What may be seen

    def look(self) -> None:
        """Note what consumers have got, and that it was its turn."""
        self.harness.run()
        came = [
            (int(content.body[1:]), content.body.decode(), content.method.delivery_tag, consumer)  # type: ignore[attr-defined]
            for consumer in self.consumers
            for content in consumer.contents()
        ]
        for number, body, tag, consumer in sorted(came, key=itemgetter(0)):  # of one group several came at once
            assert body not in self.settled, f"{body} comes after it was settled"
            assert body not in self.all_held(), f"{body} comes twice"
            older = self.published[body[0]][:number]
            waiting = [each for each in older if each not in self.settled and each not in self.all_held()]
            assert not waiting, f"{body} comes before {waiting[0]}"
            self.held[consumer][tag] = body

    def all_held(self) -> list[str]:
        return [body for bodies in self.held.values() for body in bodies.values()]

    @invariant()
    def no_group_has_more_out_than_it_may(self) -> None:
        held = self.all_held()
        assert all(sum(body[0] == group for body in held) <= self.concurrency for group in GROUPS)

    def teardown(self) -> None:
        """With a consumer that takes everything, everything comes."""
        for consumer in self.consumers:
            consumer.lose()
        self.consumers.clear()
        self.held.clear()
        self.consume(5)
        self.harness.commit()
        left = sum(map(len, self.published.values())) - len(self.settled)
        for _ in range(10 * left + 50):
            (held,) = self.held.values()
            for tag, body in list(held.items()):
                self.settled.add(body)
                del held[tag]
                self.consumers[0].send(1, BasicAck(tag))
                self.look()
            self.commit()
        assert len(self.settled) == sum(map(len, self.published.values()))
        queue = self.harness.vhost.queues["q"]
        assert (queue.ready_count, queue.unacked_count) == (0, 0)
        assert not self.harness.store.state.rows


class ConcurrentGroupMachine(GroupMachine):
    """Likewise, with three messages of a group out at once."""

    concurrency = 3


_settings = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
TestGroups = GroupMachine.TestCase
TestGroups.settings = _settings
TestConcurrentGroups = ConcurrentGroupMachine.TestCase
TestConcurrentGroups.settings = _settings
