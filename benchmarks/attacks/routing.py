"""Publishes that are routed far, or to many queues."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from benchmarks.attacks.requests import (
    Field,
    bind_exchange,
    bind_queue,
    declare_exchanges,
    declare_queues,
    delete_exchanges,
    delete_queues,
    empty_publish,
    finish,
)
from benchmarks.client import Client
from benchmarks.frames import method
from benchmarks.target import Target

SECONDS = 300.0
"""How long one answer may take."""
BIG = "fair.big"
KEYS = [f"{number:x}" for number in range(2000)]
COPIES: Mapping[str, Field] = {"CC": KEYS[:1000], "BCC": KEYS[1000:]}


def chain(length: int) -> bytes:
    """Encode fanouts that are bound one to the next, and a queue behind the last."""
    names = [f"fair.{number}" for number in range(length)]
    bindings = b"".join(bind_exchange(after, before) for before, after in pairwise(names))
    return declare_exchanges(names, "fanout") + bindings + declare_queues([BIG]) + bind_queue(BIG, names[-1])


def clean_chain(client: Client, length: int) -> None:
    """Delete what `chain` declares."""
    finish(client, delete_exchanges(f"fair.{number}" for number in range(length)) + delete_queues([BIG]))
    client.close()


def copies_through_fanouts(target: Target) -> Iterator[None]:
    """One message with 2000 more keys, through 2000 fanouts that are bound one to the next."""
    client = Client(target.address, SECONDS)
    finish(client, chain(2000))
    request = empty_publish("fair.0", "k", COPIES) * 3
    yield
    finish(client, request)
    yield
    clean_chain(client, 2000)


def keys_through_fanouts(target: Target) -> Iterator[None]:
    """1000 messages with a key each, so that no route is known already, through 2000 fanouts."""
    client = Client(target.address, SECONDS)
    finish(client, chain(2000))
    request = b"".join(empty_publish("fair.0", key) for key in KEYS[:1000])
    yield
    finish(client, request)
    yield
    clean_chain(client, 2000)


def bound(client: Client, kind: str, bindings: Iterable[tuple[str, Mapping[str, Field]]]) -> None:
    """Bind one queue to one exchange in many ways."""
    ways = b"".join(bind_queue(BIG, BIG, key, arguments) for key, arguments in bindings)
    finish(client, declare_exchanges([BIG], kind) + declare_queues([BIG]) + ways)


def clean_bound(client: Client) -> None:
    """Delete what `bound` declares."""
    finish(client, delete_exchanges([BIG]) + delete_queues([BIG]))
    client.close()


def copies_to_headers(target: Target) -> Iterator[None]:
    """One message with 2000 more keys, to a headers exchange with 2000 bindings."""
    client = Client(target.address, SECONDS)
    bound(client, "headers", ((key, {"a": number}) for number, key in enumerate(KEYS)))
    request = empty_publish(BIG, "k", COPIES) * 3
    yield
    finish(client, request)
    yield
    clean_bound(client)


def headers(target: Target) -> Iterator[None]:
    """53 KiB of publishes to a headers exchange with 10 000 bindings, half of them `any`."""
    client = Client(target.address, SECONDS)
    ways = ({"x-match": ("all", "any")[n % 2], "kind": n % 10, f"name{n % 100}": n, "size": n} for n in range(10_000))
    bound(client, "headers", (("", way) for way in ways))
    one = empty_publish(BIG, "k", {"kind": 3, "name13": 14, "size": -1})
    request = one * (53 * 1024 // len(one))
    yield
    finish(client, request)
    yield
    clean_bound(client)


def presence(target: Target) -> Iterator[None]:
    """1000 publishes to a headers exchange with 10 000 bindings that ask for the same header and one more."""
    client = Client(target.address, SECONDS)
    bound(client, "headers", (("", {"kind": None, f"name{number}": None}) for number in range(10_000)))
    request = empty_publish(BIG, "k", {"kind": 3, "name": 14}) * 1000
    yield
    finish(client, request)
    yield
    clean_bound(client)


def topic(target: Target) -> Iterator[None]:
    """200 keys of 120 words to a topic exchange with 10 000 patterns full of `#`."""
    client = Client(target.address, SECONDS)
    patterns = (".".join("#" if number >> bit & 1 else "a" for bit in range(14)) for number in range(10_000))
    bound(client, "topic", ((f"{pattern}.#.b{n}", {}) for n, pattern in enumerate(patterns)))
    request = b"".join(empty_publish(BIG, "a." * 120 + str(number)) for number in range(200))
    yield
    finish(client, request)
    yield
    clean_bound(client)


def fan_out(client: Client, queues: int) -> None:
    """Bind many queues to one fanout."""
    names = [f"fair.{number}" for number in range(queues)]
    bindings = b"".join(bind_queue(name, BIG) for name in names)
    finish(client, declare_exchanges([BIG], "fanout") + declare_queues(names) + bindings)


def clean_fan_out(client: Client, queues: int) -> None:
    """Delete what `fan_out` declares."""
    finish(client, delete_exchanges([BIG]) + delete_queues(f"fair.{number}" for number in range(queues)))
    client.close()


def fan_out_publishes(target: Target) -> Iterator[None]:
    """270 publishes to a fanout of 3000 queues."""
    client = Client(target.address, SECONDS)
    fan_out(client, 3000)
    request = empty_publish(BIG, "") * 270
    yield
    finish(client, request)
    yield
    clean_fan_out(client, 3000)


def fan_out_commit(target: Target) -> Iterator[None]:
    """The same publishes in a transaction."""
    client = Client(target.address, SECONDS)
    fan_out(client, 3000)
    client.call(method(1, 90, 10), 90, 11)
    finish(client, empty_publish(BIG, "") * 270)
    yield
    client.call(method(1, 90, 20), 90, 21)
    yield
    clean_fan_out(client, 3000)


def wide_fan_out(target: Target) -> Iterator[None]:
    """One publish to a fanout of 50 000 queues."""
    client = Client(target.address, SECONDS)
    fan_out(client, 50_000)
    request = empty_publish(BIG, "")
    yield
    finish(client, request)
    yield
    clean_fan_out(client, 50_000)


def cascade(target: Target) -> Iterator[None]:
    """The end of a queue that takes 10 000 auto-delete exchanges with it, all bound from one exchange."""
    client = Client(target.address, SECONDS)
    names = [f"fair.{number}" for number in range(10_000)]
    requests = declare_exchanges([BIG], "fanout", auto_delete=True) + declare_queues([BIG])
    requests += declare_exchanges(names, "fanout", auto_delete=True)
    requests += b"".join(bind_exchange(name, BIG) for name in names)
    requests += b"".join(bind_queue(BIG, name) for name in names)
    finish(client, requests)
    yield
    client.delete_queue(BIG)
    yield
    client.close()


ATTACKS = {
    "2000 CC and BCC keys through 2000 fanouts": copies_through_fanouts,
    "1000 keys through 2000 fanouts": keys_through_fanouts,
    "2000 CC and BCC keys to 2000 headers bindings": copies_to_headers,
    "53 KiB of publishes to 10 000 headers bindings": headers,
    "1000 publishes to 10 000 headers bindings that ask for presence": presence,
    "200 keys to 10 000 topic patterns full of #": topic,
    "270 publishes to a fanout of 3000 queues": fan_out_publishes,
    "commit of 270 publishes to a fanout of 3000 queues": fan_out_commit,
    "one publish to a fanout of 50 000 queues": wide_fan_out,
    "queue.delete that ends 10 000 auto-delete exchanges": cascade,
}
