"""Runs one scenario against one broker: prepare the queues, run the load, clean up, compute the values."""

from collections.abc import Callable

from benchmarks.client import Client
from benchmarks.load import LoadResult, run_load
from benchmarks.results import Values, latency_values
from benchmarks.scenario import Scenario
from benchmarks.target import Meter, Target

Progress = Callable[[int, int], None]


def prepare(target: Target, scenario: Scenario) -> None:
    """Declare the exchange and the queues of the scenario, and empty the queues."""
    client = Client(target.address)
    for number in range(scenario.queues):
        name = scenario.queue_name(number)
        client.delete_queue(name)
        client.declare_queue(name, durable=scenario.persistent, arguments=scenario.arguments_of(number))
        if scenario.dead_letters:
            dead = scenario.dead_letter_queue_name(number)
            client.delete_queue(dead)
            client.declare_queue(dead, durable=scenario.persistent)
    if scenario.exchange:
        client.delete_exchange(scenario.exchange_name)
        client.declare_exchange(scenario.exchange_name, scenario.exchange)
        client.bind(scenario.exchange_name, scenario.bindings_of_queues())
    client.close()


def clean(target: Target, scenario: Scenario) -> None:
    """Delete what `prepare` declared."""
    client = Client(target.address)
    for number in range(scenario.queues):
        client.delete_queue(scenario.queue_name(number))
        if scenario.dead_letters:
            client.delete_queue(scenario.dead_letter_queue_name(number))
    if scenario.exchange:
        client.delete_exchange(scenario.exchange_name)
    client.close()


def measure(target: Target, scenario: Scenario, cores: set[int], progress: Progress) -> Values:
    """Run a scenario once, from empty queues to empty queues."""
    prepare(target, scenario)
    try:
        return run_prepared(target, scenario, cores, progress)
    finally:
        clean(target, scenario)


def run_prepared(target: Target, scenario: Scenario, cores: set[int], progress: Progress, expected: int = 0) -> Values:
    """Run a scenario on existing queues; `expected` is how many messages a drain must receive."""
    meter = Meter(target, cores)

    def tick(published: int, consumed: int) -> None:
        meter.sample()
        progress(published, consumed)

    result = run_load(target.address, scenario, cores, tick, expected)
    return work_out(scenario, result) | meter.values()


def work_out(scenario: Scenario, result: LoadResult) -> Values:
    """Compute rates and percentiles from the reports of the processes."""
    publishers, consumers = result.of("publisher"), result.of("consumer")
    published = sum(report.count for report in publishers)
    consumed = sum(report.count for report in consumers)
    started = min(report.first_ns for report in publishers or consumers)
    ended = max(report.last_ns for report in consumers or publishers)
    counted = consumed if consumers else published
    rate = counted / max(1e-9, (ended - started) / 1e9)
    values: Values = {"rate": rate, "mb_per_s": rate * scenario.size / 1e6, "messages": float(counted)}
    if publishers:
        publish_ended = max(report.last_ns for report in publishers)
        values["publish_rate"] = published / max(1e-9, (publish_ended - started) / 1e9)
        values["nacked"] = float(sum(report.nacked for report in publishers))
    if scenario.rate:
        values |= latency_values("", result.latencies("consumer"))
        values |= latency_values("confirm_", result.latencies("publisher"))
    return values
