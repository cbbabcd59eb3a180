"""A queue of one virtual host on this node: the one owner of its messages' state.

A message comes in by `append`, `insert` or `offer` and leaves by `settle`, whose outcome says why. In between it is
ready, or a consumer holds it until it settles or requeues it. `Window` decides which messages are in memory and which
in slots; `Dispatcher` decides which consumer gets the next one; `Retention` decides what is too old or too much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from itertools import chain
from typing import ClassVar, Final

import structlog

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.message import PENDING, SETTLED, STORED, TRANSIENT, WRITING, KeyedMessage, Message, published_ms
from broker.ports.slot import Slot
from broker.ports.store import Journal
from broker.queue.ack_deadlines import Holder
from broker.queue.counts import CountsInQueue
from broker.queue.deadlines import Deadlines
from broker.queue.delivery_count import count_returns, mark_returned
from broker.queue.dispatcher import QueueConsumer
from broker.queue.expiry import Expiry
from broker.queue.length_limit import Contents, LengthElsewhere, LengthLimit
from broker.queue.outcome import DELETED, EXPIRED, OVER_DELIVERED, OVER_LENGTH, PURGED, Outcome
from broker.queue.pace import DeliveryAllowance
from broker.queue.queue_slots import QueueSlots
from broker.queue.queue_turns import QueueTurns
from broker.queue.ready_messages import BEYOND
from broker.queue.selecting import Selecting
from broker.queue.services import UNOBSERVED, QueueObserver, QueueServices
from broker.queue.settings import Overflow, QueueLimits, QueueSettings, RetryDelay
from broker.queue.stock import Stock, stock_of
from broker.queue.window import Window

_log = structlog.get_logger(__name__)

_SELECTED: Final = 4
"""Consumers that select messages look at so many times the limit of the queue's memory; what is behind that waits."""


class Queue:
    """One queue of one virtual host, on this node."""

    is_stream: ClassVar[bool] = False
    """Is it a `StreamQueue`, to which everything is appended by way of the journal, persistent or not?"""
    new_window = Window
    __slots__ = (
        "_after_dispatch",
        "_expiry",
        "_held",
        "_is_closing",
        "_is_deleted",
        "_journal",
        "_length",
        "_observer",
        "_on_dropped",
        "_read_slots",
        "_remote_consumers",
        "_remote_octets",
        "_remote_ready",
        "_services",
        "_settings",
        "_unacked",
        "_window",
        "append",
        "arguments",
        "auto_delete",
        "counts",
        "deadlines",
        "durable",
        "dying",
        "elsewhere",
        "expects_answers",
        "is_stored",
        "lane",
        "limits",
        "looks_at_publishers",
        "name",
        "owner",
        "queue_id",
        "refuses_publishers",
        "slots",
        "turns",
        "vhost",
    )

    def __init__(
        self,
        vhost: str,
        name: str,
        queue_id: int,
        *,
        durable: bool,
        auto_delete: bool = False,
        owner: object | None = None,
        arguments: FieldTable = EMPTY_TABLE,
        lane: int = 0,
        limits: QueueLimits | None = None,
        journal: Journal,
        read_slots: Callable[[Queue], None],
        observer: QueueObserver[Queue] = UNOBSERVED,
        services: QueueServices[Queue],
        settings: QueueSettings | None = None,
        turns: QueueTurns | None = None,
        counts_octets: bool = False,
    ) -> None:
        """`owner` is the connection an exclusive queue belongs to; `read_slots` starts a read of the queue's slots.

        Policies, and for a level of a queue with priorities the queue, give it other `settings` than `arguments` tell.
        The levels of one queue share their `turns`; with `counts_octets` somebody else wants to know `ready_octets`.
        """
        self.vhost: Final = vhost
        self.name: Final = name
        self.queue_id: Final = queue_id
        self.durable: Final = durable
        self.is_stored: Final = durable and owner is None  # an exclusive queue never survives its connection
        self.auto_delete: Final = auto_delete
        self.owner: Final = owner
        self.arguments = arguments
        self._settings = settings or QueueSettings.of(arguments)
        self.lane: Final = lane
        self.limits: Final = limits or QueueLimits()
        self._journal = journal
        self._read_slots = read_slots
        self._observer = observer
        self._on_dropped = observer.on_dropped
        self.elsewhere: LengthElsewhere | None = None
        """What other nodes have of the queue, while one of them keeps its length."""
        self.turns: Final = turns or QueueTurns(self._settings)
        counts_octets = counts_octets or self._settings.max_length_bytes is not None
        self._window = window = self.new_window(queue_id, lane, self.limits, journal, counts_octets=counts_octets)
        self._services = services
        self._expiry: Expiry | None = None
        self.deadlines: Final = Deadlines(services)
        self.slots: Final = QueueSlots(window)
        self._held: deque[Message] | None = None
        """Messages that ask for keys, about which the store has not decided, and those that have come after them."""
        self.dying: dict[int, Message] = {}
        """Messages that have left the queue, by id, whose rows are in the store until they are dead-lettered."""
        self._unacked = 0
        self.counts: Final = CountsInQueue()
        """What has happened here; of a queue with levels, what its levels have not counted."""
        self._remote_ready = self._remote_octets = 0  # as of the last exchange of counts, about a second ago
        self._remote_consumers = 0
        self._is_closing = False
        self._is_deleted = False
        self._take_on(self._settings)
        self.use()

    def __repr__(self) -> str:
        return f"<Queue {self.vhost}:{self.name} ready={self.ready_count} consumers={len(self.consumers)}>"

    # Settings

    @property
    def settings(self) -> QueueSettings:
        """What the queue is set to do, by its arguments and by policies."""
        return self._settings

    def set(self, settings: QueueSettings) -> None:
        """This is what the queue is set to do from now on, to what is in it too. The caller dispatches it then."""
        is_leased = self._settings.expires is not None
        self._settings = settings
        if self.whole is self:
            self.turns.set(settings)
        self._take_on(settings)
        if not is_leased:
            self.use()
        self._services.watch(self)

    def take_arguments(self, arguments: FieldTable) -> None:
        """These are the queue's arguments from now on; `set` tells what they ask for."""
        self.arguments = arguments

    def _take_on(self, settings: QueueSettings) -> None:
        window = self._window
        if settings.max_length_bytes is not None:
            window.begin_counting()
        self.append = self._new_append() if self._held is None else self._held.append
        """Add a published message. Hot: the caller dispatches once per batch."""
        if settings.has_retention or self._expiry is not None:
            self._with_expiry().set(settings)
        self._length = LengthLimit(settings, self._contents()) if settings.has_length else None
        self._observe()
        self.refuses_publishers = settings.refuses_publishers
        """Must `refuses` be asked before each publish?"""
        self.looks_at_publishers = settings.looks_at_publishers
        """May the queue not take each message that is published to it?"""
        self.deadlines.set(settings, self.limits.transient_memory)
        if self.whole is self and (settings.limits_deliveries or self.turns.is_metered):
            self.turns.meter(self._new_allowance(settings))
        self.expects_answers = settings.consumer_timeout is not None
        """Is `expect_answers` to be called with all deliveries?"""

    def _new_allowance(self, settings: QueueSettings) -> DeliveryAllowance:
        return DeliveryAllowance(
            settings.max_unacked,
            settings.max_rate,
            unacked=lambda: self.unacked_count,
            now_ms=self._services.now_ms,
            on_held=lambda: self._services.watch(self),
        )

    def _observe(self) -> None:
        """Tell the observer what it must know from now on. None saves a call in every dispatch if it does nothing."""
        observer = self._observer
        told = observer.after_exact_dispatch if self.is_exact else observer.after_dispatch
        self._after_dispatch = None if observer is UNOBSERVED else told

    @property
    def is_exact(self) -> bool:
        """May no node have more of the queue than its consumers take at once, but for the one that keeps its length?"""
        whole = self.whole
        settings = whole.settings
        return settings.has_length or settings.is_given_by_one_node or whole.turns.is_ranked

    def keep_length(self, *, is_here: bool) -> None:
        """This node keeps the length of the whole queue from now on, or another one does."""
        if is_here:
            self.elsewhere = None
        elif self.elsewhere is None:
            self.elsewhere = LengthElsewhere()

    # Priorities

    @property
    def levels(self) -> Sequence[Queue]:
        """The queues in which the messages lie, by priority, the lowest first: mostly it is the queue itself."""
        return (self,)

    @property
    def whole(self) -> Queue:
        """The queue that clients see, of which this may be a level."""
        return self

    def level_for(self, header: bytes) -> Queue:
        """Return the level for a message with this header (`Message.header`)."""
        return self

    # Contents and counts

    @property
    def ready(self) -> Sequence[Message]:
        """The messages in memory that consumers get next, oldest first; slots follow them."""
        self._window.put_in_order()
        return self._window.ready

    @property
    def in_memory(self) -> list[Message]:
        """All ready messages that are in memory, those behind slots too."""
        ready, tail = self.ready, self._window.tail
        return [*ready, *(() if tail is self._window.ready else tail)]

    def has_expired(self, message: Message) -> bool:
        """Is the time of this message over, by its own or the queue's?"""
        now, ttl = self._services.now_ms(), self._settings.ttl_of(message.id)
        return 0 < message.due <= now or (ttl is not None and published_ms(message.id) + ttl <= now)

    @property
    def ready_count(self) -> int:
        """Messages on this node that no consumer holds, wherever they lie (contract Q1)."""
        return self._window.ready_count

    @property
    def ready_octets(self) -> int:
        """Octets of the bodies of the messages that `ready_count` counts, if the queue has a limit of them, else 0."""
        return self._window.ready_octets

    @property
    def has_ready(self) -> bool:
        """Is anything ready on this node, in memory or in slots?"""
        return bool(self._window.ready) or self._window.is_paged

    @property
    def unacked_count(self) -> int:
        """Messages that clients of this node hold."""
        return self._unacked

    @property
    def message_count(self) -> int:
        """Ready messages on all nodes together."""
        return self._window.ready_count + self._remote_ready

    @property
    def consumers(self) -> Collection[QueueConsumer]:
        """The consumers on this node."""
        return self.turns.dispatcher.consumers

    @property
    def consumer_count(self) -> int:
        """Consumers on all nodes together."""
        return len(self.turns.dispatcher.consumers) + self._remote_consumers

    def stock(self) -> Stock:
        """Return what is in the queue on this node, as far as it can be told at once."""
        return stock_of(self._window, self._unacked, is_stored=self.is_stored)

    @property
    def is_exclusive(self) -> bool:
        return self.owner is not None

    def set_remote_counts(self, ready: int, consumers: int, octets: int) -> None:
        """Set how many ready messages and consumers the queue has on other nodes, and of how many octets."""
        self._remote_ready, self._remote_consumers, self._remote_octets = ready, consumers, octets

    @property
    def remote_octets(self) -> int:
        """Octets of the bodies of ready messages on other nodes, as far as they are counted there."""
        return self._remote_octets

    # Messages in

    def expect_expiry(self, messages: Sequence[Message]) -> None:
        """Some of the messages that were appended just now have a `due` of their own."""
        if self._held is None:  # else they are noted when they are inserted
            self._window.note_due(messages)

    def hold(self, message: KeyedMessage) -> None:
        """Add a published message that asks for keys: it is ready when it has got them. Its order is kept: what comes
        after it waits for it. `admit` is to be called when it is decided.
        """
        held = self._held
        if held is None:
            held = self._held = deque()
            self.append = held.append
            self._window.held_from = message.id
        held.append(message)

    def admit(self) -> None:
        """The store has decided about messages that are held: those that have their keys are ready, if nothing before
        them is still held.
        """
        held = self._held
        if held is None:
            return
        admitted: list[Message] = []
        while held and not (isinstance(held[0], KeyedMessage) and not held[0].is_decided):
            message = held.popleft()
            if message.state != SETTLED:
                admitted.append(message)
        if held:
            self._window.held_from = held[0].id
        else:
            self._held = None
            self.append = self._new_append()
            self._window.held_from = BEYOND
        if admitted:
            self.insert(admitted)

    def refuses(self, octets: int, messages: int = 1) -> bool:
        """Has the queue no room for so many messages more, whose bodies have so many octets (contract F8)?"""
        length, elsewhere = self._length, self.elsewhere
        if length is None or length.drops_head:
            return False
        if elsewhere is not None and length.is_full_elsewhere(elsewhere, octets, messages):
            return True
        return length.is_full_for(octets, messages)

    @property
    def has_dead_letters(self) -> bool:
        """Do messages that die here go on to an exchange?"""
        return self.settings.dead_letter_exchange is not None

    @property
    def dead_letters_refused(self) -> bool:
        """Is what `refuses` refuses to be settled as over the length?"""
        return self.settings.overflow is Overflow.REJECT_PUBLISH_DLX

    def insert(self, messages: Sequence[Message]) -> None:
        """Add the messages of a committed transaction, ascending by id; younger ids may be in the queue already."""
        if self._is_deleted:
            self.settle(messages, DELETED)
        else:
            self._window.insert(messages)

    def recover(self, slot: Slot) -> None:
        """Add a slot of messages that were stored before this node started."""
        self._window.recover(slot)
        self._watch()

    def take_over(self, slot: Slot) -> bool:
        """Add a slot from another node; return whether newer messages of its lane will be delivered before it."""
        is_late = self._window.take_over(slot)
        self._watch()
        return is_late

    def requeue(self, messages: Sequence[Message], *, is_lost: bool = False, is_unseen: bool = False) -> None:
        """Put delivered messages back at their places (contract B24), marked as redelivered. `is_lost`: their client
        did not give them back itself. `is_unseen`: nothing tells that it has handled them.

        Those that were given back more often than the queue allows leave it instead (contract F10). Others may have to
        wait first (contract F13).
        """
        settings = self.settings
        if settings.counts_deliveries and not self._is_deleted:
            if is_unseen and settings.counts_seen_only:
                mark_returned(messages)
            else:
                messages = self._count(messages)
            delay = settings.retry_delay
            if delay is not None and (delay.after_loss if is_lost else delay.after_return):
                self._keep_back(messages, delay)
                return
        else:
            for message in messages:
                message.redelivered = 1
        self.return_unsent(messages)

    def _keep_back(self, messages: Sequence[Message], delay: RetryDelay) -> None:
        """Let messages wait before they are delivered again. They count as unacknowledged meanwhile."""
        if self.deadlines.keep_back(messages, delay):
            self._services.watch(self)
        self.return_unsent(self.deadlines.take_delayed())

    def return_unsent(self, messages: Sequence[Message]) -> None:
        """Put messages that no client has now back at their places."""
        selection = self.turns.selection
        if selection is not None:
            selection.forget(messages)
        if self._expiry is not None:
            messages = self._let_served_go(self._expiry, messages)
        self._unacked -= len(messages)
        if self._is_deleted:
            self.settle(messages, DELETED)
            return
        if selection is not None:
            messages = selection.bring_back(self._window, messages)
        if messages:
            self._window.put_back(messages)

    def _let_served_go(self, expiry: Expiry, messages: Sequence[Message]) -> Sequence[Message]:
        """Settle those that were to be taken at once, and have been (contract F1, F2); return the others."""
        served: list[Message] = []
        others: list[Message] = []
        for message in messages:
            (served if message.redelivered and expiry.expires_at_once(message) else others).append(message)
        if not served or self._is_deleted:
            return messages
        self._unacked -= len(served)
        self.settle(served, EXPIRED)
        return others

    def _count(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Count one delivery more of each message; settle those that had too many, and return the others."""
        kept, over = count_returns(messages, self.settings.delivery_limit)
        if over:
            self.settle(over, OVER_DELIVERED)
        for message in kept:
            if message.state in (WRITING, STORED):
                self._journal.recount(message)
        return kept

    # Messages out

    def settle(self, messages: Sequence[Message], outcome: Outcome, unstored: int = 0) -> None:
        """Record that these messages, and `unstored` others of which the store knows nothing, left the queue for good.

        Hot: the journal deletes their rows, written or about to be.
        """
        count = len(messages) + unstored
        self.counts.settled[outcome.number] += count
        if outcome.was_held:
            self._unacked -= count
        if outcome.is_death and self.settings.is_dead_lettered(outcome.reason) and not self._is_deleted:
            self._bury(messages, outcome)
            return
        settle = self._journal.settle
        for message in messages:
            if message.state < SETTLED:
                settle(message)

    def _bury(self, messages: Sequence[Message], outcome: Outcome) -> None:
        """Hand dead messages over: their rows stay until they are safe in the queues of the dead-letter exchange."""
        self.counts.bury(outcome.number, len(messages))
        self.dying.update((message.id, message) for message in messages if message.state < SETTLED)
        self._services.bury(self, messages, outcome)

    def withdraw(self, messages: Iterable[Message]) -> list[Message]:
        """Remove and return those of these messages that are ready on this node, in memory or in slots.

        The caller has read them in the meantime since `begin_reading`. Their rows stay until `end_dying`.
        """
        taken = self._window.withdraw([message for message in messages if message.id not in self.dying])
        self.dying.update((message.id, message) for message in taken if message.state < SETTLED)
        return taken

    def end_dying(self, messages: Iterable[Message]) -> None:
        """These dead messages have no row any more."""
        for message in messages:
            self.dying.pop(message.id, None)

    def pop(self) -> Message | None:
        """Remove and return the next message for basic.get; None when none is in memory."""
        window = self._window
        if window.is_watched and not self._expire():
            return None
        if not window.ready and window.is_paged:
            self.refill()
        message = window.take_first()
        if message is not None:
            self._unacked += 1
        return message

    def on_taken(self, count: int, octets: int) -> None:
        """A consumer took `count` messages from `ready`, which occupied `octets` octets of memory in all."""
        self._unacked += count
        self.counts.taken += count
        window = self._window
        if window.tail is window.ready:
            window.bytes -= octets

    def purge(self) -> list[Slot]:
        """Settle every ready message; return the slots whose rows are to be deleted."""
        return self._drop_all(PURGED)

    def _drop_all(self, outcome: Outcome) -> list[Slot]:
        messages, slots = self._window.clear()
        if messages:
            self.settle(messages, outcome)
        self._on_dropped(slots)
        return slots

    # Dispatch

    def dispatch(self, *, may_deliver: bool = True) -> bool:
        """Deliver what is ready to the consumers that have credit, then keep memory bounded.

        Hot: once per batch. Return whether consumers are behind: there are some, and more is ready than they take now.
        Unless it `may_deliver`, consumers get nothing: others come before this queue.
        """
        window = self._window
        is_watched = window.is_watched
        if is_watched and not self._expire():
            self._services.watch(self)
            return False  # the rest expires in later turns, and until then nobody may get it
        if may_deliver:
            ready = window.ready
            if not ready and window.tail is not ready:
                self.refill()
                ready = window.ready
                if ready and is_watched:
                    return Queue.dispatch(self)  # what has expired behind slots goes first
            turns = self.turns
            if turns.selection is not None:
                self._select(turns.selection)
            dispatcher = turns.dispatcher
            if (window.late or (is_watched and window.needs_runs)) and not self._share_out_in_runs():
                pass  # nobody takes more
            elif ready:
                last = ready[-1].id
                if dispatcher.share_out(ready):
                    if ready:
                        last = ready[0].id - 1
                    if last > window.last_taken:
                        window.last_taken = last
            if not ready:
                if window.tail is ready:
                    window.bytes = 0
                elif not window.is_reading and dispatcher.has_credit():
                    self.refill()
                    if ready:
                        return Queue.dispatch(self)
        if is_watched and self._expiry is not None:
            self._let_go(self._expiry)
        limits = self.limits
        if (window.bytes > limits.memory or len(window.tail) > limits.window_size) and not self.is_closing:
            window.page_out()
        if self._after_dispatch is not None:
            self._after_dispatch(self)
        selection = self.turns.selection  # what nobody selects holds nobody up
        return bool(window.ready and (self.turns if selection is None else selection.plain).consumers)

    def _select(self, selection: Selecting) -> None:
        """Deliver to consumers that select messages; bring more into memory if they want it, and there is room."""
        window, most = self._window, _SELECTED * self.limits.memory
        if window.tail is window.ready and window.bytes > most:
            return  # what is taken now would keep all older ones in memory
        selection.serve(window)
        if selection.is_behind:
            self._services.watch(self)
        elif window.is_paged and not window.is_reading and selection.wants_more and _weight_of(window.ready) <= most:
            self.refill()
            if window.tail is window.ready:  # what was behind slots is there now
                self._select(selection)

    def _share_out_in_runs(self) -> bool:
        """Deliver, in order, while `ready` alone does not tell who comes next, or who has been taken must be known;
        return whether nothing is left that needs this.
        """
        window, dispatcher = self._window, self.turns.dispatcher
        while window.ready and (window.late or window.needs_runs):
            if not dispatcher.has_credit():
                return False
            run = window.take_run()
            if not run:
                break
            last = run[-1].id
            offered = tuple(run) if window.counts_octets else ()
            dispatcher.share_out(run)
            if window.counts_octets:
                window.count_octets(-1, offered[: len(offered) - len(run)])
            if run:
                last = run[0].id - 1
                window.return_run(run)
            window.last_taken = max(window.last_taken, last)
        return True

    def refill(self) -> None:
        """Bring the next messages into `ready`: from a slot, or from `tail` when no slot is left."""
        window = self._window
        if window.is_reading or (self._expiry is not None and not self._expiry.has_room(self)):
            return
        if window.has_slots:
            window.is_reading = True
            self._read_slots(self)
        else:
            window.join_tail()

    # What leaves by itself

    def _new_append(self) -> Callable[[Message], None]:
        window = self._window
        return window.append_counted if window.counts_octets else window.append

    def _contents(self) -> Contents:
        """Return what a limit of the queue's length counts."""
        return self._window

    def _with_expiry(self) -> Expiry:
        if self._expiry is None:
            self._expiry = Expiry(self._settings, self._window, self._services)
        return self._expiry

    def _expire(self) -> bool:
        """Let go what has expired, before a consumer gets it; return False when more has than goes in one turn."""
        return self._with_expiry().run(self)

    def _let_go(self, expiry: Expiry) -> None:
        """Let go what consumers have left and was to be taken at once, or is too much; see to what expires next."""
        expiry.let_unserved_go(self)
        length = self._length
        if length is not None and length.drops_head:
            self._drop_excess(length)
        self._services.watch(self)

    def _drop_excess(self, length: LengthLimit) -> None:
        """Let the oldest messages go, as far as they are in memory; the others are read for that."""
        for _ in range(2):  # what was behind slots may be there at once
            excess = list(length.take_excess())
            if excess:
                self.settle(excess, OVER_LENGTH)
            if not length.is_exceeded:
                break
            self.read_oldest()

    def read_oldest(self) -> None:
        """Bring the oldest messages into memory, in whichever slot they are."""
        self._window.open_oldest_first()
        self.refill()

    @property
    def due_after(self) -> tuple[int, int]:
        """Time and id of the last message that expired in slots."""
        return self._window.due_after

    def set_due_in_slots(self, due: int | None, after: tuple[int, int]) -> None:
        """The next message in slots expires by itself at `due`, or none does; all up to `after` are seen to.

        What has left memory for slots since `QueueServices.read_due` may be due before that.
        """
        expiry = self._expiry if due is None else self._with_expiry()
        if expiry is not None:
            expiry.set_due_in_slots(due, after)
        self._services.watch(self)

    @property
    def has_unknown_slots(self) -> bool:
        """Are there slots from other nodes, of which nobody has told whether something in them expires by itself?"""
        window = self._window
        return window.has_foreign and window.has_slots and not window.may_be_due

    def expect_due(self) -> None:
        """Messages from other nodes may expire by a time of their own. The caller dispatches then, if some are here."""
        self._with_expiry().expect_due()
        self._services.watch(self)

    def expire_in_slots(self, due: Sequence[Message]) -> None:
        """These stored messages have expired: let those go that lie in slots, and not with a client or in memory."""
        self._with_expiry().expire_in_slots(self, due)

    def drop_spent(self, slot: Slot) -> None:
        """The store has nothing of this slot any more."""
        if self._window.drop_spent(slot):
            self._on_dropped((slot,))

    def _watch(self) -> None:
        if self._expiry is not None:
            self._services.watch(self)

    def next_due(self) -> int | None:
        """Return when the queue or something in it may expire, or a delivery is to be taken back, in milliseconds since
        1970; None when nothing will.
        """
        if self.is_closing:
            return None
        selection = self.turns.selection
        if selection is not None and selection.is_behind:
            return 1  # at once
        due = None if self._expiry is None else self._expiry.next_due()
        times = (due, self._lease_end(), self.deadlines.next_due(), self.turns.held_until)
        return min([each for each in times if each is not None], default=None)

    def expect_answers(self, holder: Holder, first: int, last: int, timeout: int = 0) -> None:
        """A channel holds the deliveries with these tags now: they are to be answered in time (contract B30), in
        `timeout` milliseconds if their consumer has asked for that.
        """
        if self.deadlines.expect_answers(holder, first, last, timeout):
            self._services.watch(self)

    def on_time(self) -> None:
        """Take back what clients have not answered in time, and deliver again what has waited long enough."""
        self.turns.end_hold()
        delayed = self.deadlines.take_delayed()
        if delayed:
            self.return_unsent(delayed)
        spans = self.deadlines.take_unanswered()
        count = sum([span.holder.take_back(self, span.first, span.last) for span in spans])
        if count:
            _log.warning("deliveries without an answer are taken back", queue=self.name, vhost=self.vhost, count=count)

    def end_delays(self) -> None:
        """Nothing waits any longer: the node stops."""
        self.return_unsent(self.deadlines.take_all_delayed())

    @property
    def may_slots_be_behind(self) -> bool:
        """May the store not know yet that messages in a slot from another node are settled?"""
        return False

    def known_ids(self) -> Set[int]:
        """The ids of stored messages that whoever reads slots leaves out, now and when they are read."""
        return frozenset(self.dying)

    @property
    def may_be_got(self) -> bool:
        """Is something ready that a basic.get may get, if it is not in memory now?"""
        return self.ready_count > 0

    @property
    def withheld_ids(self) -> Iterator[int]:
        """The ids of messages that are neither ready nor with a client, but have rows."""
        return chain(self.dying, self.deadlines.delayed_ids, (message.id for message in self._held or ()))

    def use(self) -> None:
        """A client uses the queue: its lease begins anew (contract F3)."""
        if self.deadlines.use():
            self._services.watch(self)

    def use_elsewhere(self, used_at: int) -> None:
        """A client of some node used the queue at this time, in milliseconds since 1970."""
        if self.deadlines.use_elsewhere(used_at):
            self._services.watch(self)

    def _lease_end(self) -> int | None:
        """Return when the queue is deleted if nobody uses it, in milliseconds since 1970."""
        return None if self.consumer_count else self.deadlines.lease_end(self._services.lease_margin)

    def is_lease_over(self, now_ms: int) -> bool:
        """Has nobody used the queue for as long as it may be without use?"""
        end = self._lease_end()
        return end is not None and end <= now_ms

    # Consumers

    def remove_consumer(self, consumer: QueueConsumer) -> bool:
        """Remove a consumer from dispatch, if it is there; return whether it was the single active one."""
        was_active = self.turns.remove(consumer)
        self.use()
        return was_active

    def rank(self) -> None:
        """Consumers of this queue have different priorities, and some are on other nodes."""
        if self.turns.rank():
            self._observe()

    def unrank(self) -> None:
        """Consumers of this queue have no priorities any more. The caller dispatches then."""
        if self.turns.unrank():
            self._observe()

    def give_way(self, priority: int | None) -> bool:
        """Let consumers below `priority` have nothing of this queue, because others want what it has; with None, let
        them have messages again. Return whether anybody waits no longer: the caller dispatches then.
        """
        return self.turns.give_way(self.queue_id, priority)

    @property
    def has_demand(self) -> bool:
        """Would consumers take more messages than this node has?"""
        window = self._window
        selection = self.turns.selection
        if selection is not None and selection.wants_more and not window.has_slots:
            return window.bytes < self.limits.memory
        is_short = len(window.ready) < self.limits.window_size // 2 and not window.has_slots
        return is_short and self.turns.dispatcher.has_credit()

    @property
    def can_hand_off(self) -> bool:
        """May messages be taken out of memory for another node now?"""
        window = self._window
        return not (window.open_transactions or window.is_reading or self.is_closing or window.reaches_over_held)

    # Deletion

    @property
    def is_closing(self) -> bool:
        """Is the queue being deleted, or deleted?"""
        return self._is_closing or self._is_deleted

    def begin_delete(self) -> None:
        """The deletion of the queue is being recorded."""
        self._is_closing = True

    def cancel_delete(self) -> None:
        """The deletion could not be recorded: serve the queue again, unless it was deleted meanwhile."""
        self._is_closing = False

    @property
    def is_deleted(self) -> bool:
        return self._is_deleted

    def delete(self) -> list[Slot]:
        """Delete the queue: settle what is ready, cancel consumers; return the slots whose rows are to be deleted."""
        self._is_deleted = True
        slots = self._drop_all(DELETED)
        self.return_unsent(self.deadlines.take_all_delayed())
        for consumer in self.turns.remove_all():
            consumer.on_queue_deleted()
        return slots

    def leave_behind(self) -> tuple[list[Message], list[Slot]]:
        """Return the stored messages that were delivered, and the slots that may hold some, to be marked for the next
        start.

        The slots leave the queue: nothing is read from them any more.
        """
        messages = [message for message in self.ready if message.redelivered and message.state == STORED]
        return messages, self.slots.take_delivered()


def _weight_of(messages: Iterable[Message]) -> int:
    return sum(message.weight for message in messages)


def state_of(queue: Queue, *, is_persistent: bool) -> int:
    """Return the state of a new message for this queue: a stream stores all, another one what is persistent."""
    return PENDING if (is_persistent or queue.is_stream) and queue.is_stored else TRANSIENT
