"""What a selector costs for each message, in this process: no broker takes part."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from benchmarks.results import Row, Values
from benchmarks.session import Session
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.selector.index import SelectorIndex
from broker.selector.message_view import MessageView
from broker.selector.selector import Selector
from broker.turn_budget import TurnBudget

HEADERS: Final = {
    "region": "eu",
    "type": "order",
    "amount": 120,
    "customer": "c17",
    "vip": True,
    "name": "Anna Meier",
    "JMS_QPID_DESTTYPE": 1,
}
FIVE_TERMS: Final = "region = 'eu' AND type = 'order' AND amount > 100 AND vip AND customer <> 'c1'"
SELECTORS: Final = {
    "name = 'value'": "region = 'eu'",
    "five terms with AND": FIVE_TERMS,
    "LIKE 'Anna%'": "name LIKE 'Anna%'",
    "LIKE '%n%M%r'": "name LIKE '%n%M%r'",
    "LIKE '%M_i%'": "name LIKE '%M_i%'",
    "amount * 2 + 1 > 200": "amount * 2 + 1 > 200",
}
MANY: Final = 1000
SECONDS: Final = 0.2


def run(session: Session) -> None:
    """Measure single selectors, many on one message, and what is done once for each message and selector."""
    payload = encode_header(0, BasicProperties(headers=FieldTable.of(HEADERS), type="order"))
    view = MessageView(payload)
    rows: dict[str, Callable[[], object]] = {
        name: partial(Selector(text).matches, view) for name, text in SELECTORS.items()
    }
    rows["the headers of a message, decoded once"] = lambda: MessageView(payload)["region"]
    rows[f"{MANY} selectors with other values of one name"] = looked_up("customer = 'c{}' AND amount > 100", payload)
    rows[f"{MANY} selectors on other names"] = looked_up("n{} = 1", payload)
    rows[f"{MANY} selectors that no value leads to"] = looked_up("amount > {}", payload)
    rows["compiled: name = 'value'"] = lambda: Selector("region = 'eu'")
    rows["compiled: five terms with AND"] = lambda: Selector(FIVE_TERMS)
    for name, call in rows.items():
        session.rounds(Row("selectors", name, ["ns"]), partial(measured, call), [session.subject])


def looked_up(text: str, payload: bytes) -> Callable[[], object]:
    """Return a function that finds the selectors for one message among many."""
    index: SelectorIndex[int] = SelectorIndex()
    for number in range(MANY):
        index.add(Selector(text.format(number)), number)
    work = TurnBudget()
    return lambda: list(index.match(MessageView(payload), work))


def measured(call: Callable[[], object], _: object) -> Values:
    """Return the nanoseconds of CPU time that a call takes."""
    calls, began = 0, time.process_time()
    while (spent := time.process_time() - began) < SECONDS:
        for _ in range(10):
            call()
        calls += 10
    return {"ns": spent / calls * 1e9}
