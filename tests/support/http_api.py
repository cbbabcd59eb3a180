"""The HTTP API over the broker of a harness, without a socket: requests are asked and answered in memory.

Knows how the API is put together, and RabbitMQ's way of writing requests; must not judge answers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from broker.auth.identity import Identity
from broker.auth.password_hash import Public
from broker.auth.recorded_access import RecordedAccess
from broker.auth.users import User, Users
from broker.broker import Limits
from broker.management.figures.subscriptions import read_consumers
from broker.management.figures.view import Listening, MachineFigures, NodeView
from broker.management.http.api import Api
from broker.management.http.call import Call, HttpAnswer, TooLarge
from broker.management.http.live import LiveViews
from broker.management.http.login import HttpLogin
from broker.management.http.node_view import ManagedNode, Member, StoreFacts, TimelineEntry
from broker.ports.records import PermissionRecord, Put, Record, UserRecord
from broker.queue.settings import QueueLimits
from broker.topology.administration import Administration
from broker.topology.commands import Commands
from broker.topology.dead_letter_commands import DeadLetterCommands
from broker.topology.dead_letter_jobs import DeadLetterJobs
from broker.topology.redrive_commands import RedriveCommands
from broker.topology.schedule_commands import ScheduleCommands
from broker.topology.stream_commands import StreamCommands
from broker.topology.subscription_commands import SubscriptionCommands
from broker.topology.subscription_list import ConsumersElsewhere, SubscriptionList, WantedSubscriptions
from broker.turn_budget import TURN
from tests.support.harness import Harness
from tests.support.logins import InlineHashing, new_passwords
from tests.support.stage import Event

T = TypeVar("T")

ALL = (".*", ".*", ".*")
_KNOWN = {
    "guest": ("guest", "administrator", ALL),
    "watcher": ("watcher", "monitoring", None),
    "maker": ("maker", "policymaker", ALL),
    "user": ("user", "management", ("^mine", "^mine|^amq.default$", "^mine")),
    "nobody": ("nobody", "", ALL),
}
"""Users with password, tags and permissions in `/`."""


class StandInDrain:
    """A drain of `open` connections, of which each look sends `pace` away."""

    def __init__(self) -> None:
        self.state = "serving"
        self.open = 0
        self.closed = 0
        self.pace = 0
        self.seconds: list[float] = []

    def progress(self) -> Mapping[str, Any]:
        told = {"state": self.state, "connections": self.open, "closed": self.closed}
        if self.state == "draining":
            gone = min(self.pace, self.open)
            self.open, self.closed = self.open - gone, self.closed + gone
            self.state = "draining" if self.open else "drained"
        return told

    def begin(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.state = "draining"

    async def end(self) -> None:
        self.state = "serving"


class Around:
    """NodeFacts that say what a test wants."""

    def __init__(self) -> None:
        self.clustering = False
        self.minimum_cluster_size = 1
        self.reason = ""
        self.store_facts = StoreFacts(description="memory")
        self.known = [Member("NODE:1", "", 0, True, True)]
        self.ends: dict[str, float] = {}
        self.entries: list[TimelineEntry] = []
        self.drain = StandInDrain()
        self.told: list[str] = []
        """What the process was told to do."""
        self.has_ended = True
        """Has the process ended when somebody waits for that?"""

    def alarm(self) -> str:
        return self.reason

    def store(self) -> StoreFacts:
        return self.store_facts

    def members(self) -> Sequence[Member]:
        return self.known

    async def timeline(self, limit: int) -> Sequence[TimelineEntry]:
        return self.entries[:limit]

    def certificates_end(self) -> Mapping[str, float]:
        return self.ends


class HttpNode:
    """One node with its API. Requests are those of `guest` unless they say who asks."""

    def __init__(
        self,
        *,
        turn: int = TURN,
        limits: Limits | None = None,
        queue_limits: QueueLimits | None = None,
        prefix: str = "",
        max_queues: int = 100,
    ) -> None:
        self.hashing = InlineHashing()
        users = Users(self._user, new_passwords(self.hashing, _clock := _Late()))  # type: ignore[arg-type]
        self.harness = Harness(
            limits=limits,
            queue_limits=queue_limits,
            users=users,
            access=_LateAccess(self),  # type: ignore[arg-type]
            turn=turn,
            max_queues=max_queues,
        )
        _clock.clock = self.harness.clock
        self.directory = self.harness.live.directory
        self.access = RecordedAccess(self.directory)
        for name, (password, tags, patterns) in _KNOWN.items():
            self.put(UserRecord(name, Public(password).text, tags, loopback_only=name == "guest"))
            if patterns is not None:
                self.put(PermissionRecord(name, "/", *patterns))
        self.put(PermissionRecord("guest", "carbon", *ALL))
        self.around = Around()
        self.live = LiveViews()
        administration = Administration(self.harness.live, self.harness.parts.recorder)
        letters = self.harness.parts.dead_letter_channels
        broker, turns = self.harness.broker, self.harness.turns

        async def elsewhere(vhost: str, wanted: WantedSubscriptions) -> ConsumersElsewhere:
            return await read_consumers(view.others, vhost, wanted)

        subscriptions = SubscriptionList(
            broker.vhosts, lambda: broker.open_connections, "NODE:1", turns.next, elsewhere
        )
        more = {
            **DeadLetterCommands(letters).by_name,
            **SubscriptionCommands(subscriptions).by_name,
            **ScheduleCommands(self.harness.parts.schedules).by_name,
            **StreamCommands(self.harness.parts.stream_replays).by_name,
            **RedriveCommands(self.harness.parts.redrives).by_name,
        }
        self.commands = Commands(administration, _hash, "0.1.0", more)
        view = NodeView(
            self.harness.broker,
            "NODE:1",
            version="0.1.0",
            now_ms=self.harness.clock.wall_ms,
            machine=lambda: MachineFigures(memory_used=1000, process_id=17, descriptors_total=1024),
            listening=[Listening("amqp", "127.0.0.1", 5672), Listening("http", "127.0.0.1", 15672)],
            platform="Python 3.11",
        )
        self.node = ManagedNode(
            view,
            administration,
            self.commands.by_name,
            _hash,
            self.harness.shared,
            DeadLetterJobs(letters, self.harness.stage.spawn, self.harness.clock.wall_ms),
            self.around,
            Event,
            self._tags,
            self.live,
            self.harness.store.find_messages,
        )
        self.login = HttpLogin(users, self._tags, self.harness.broker.logins["http"])
        self.api = Api(self.node, self.login, prefix)

    def put(self, *records: Record) -> None:
        """Let records be there as if an administrator had made them."""
        for record in records:
            self.harness.live.apply(Put(record))

    def _user(self, name: str) -> User | None:
        record = self.directory.user(name)
        return None if record is None else User(name, record.password_hash, record.loopback_only)

    def _tags(self, identity: Identity) -> list[str]:
        record = self.directory.user(identity.user)
        return [] if record is None else [tag for tag in record.tags.split(",") if tag]

    # Requests

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str | None = "guest",
        headers: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
    ) -> HttpAnswer:
        """Return the answer to a request. `body` is sent as JSON, or as it is if it is octets; `user` is also the
        password.
        """
        octets = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = {} if user is None else {"authorization": basic(user, user)}
        call = new_call(method, path, octets, {**given, **(headers or {})}, address)
        return self.run(self.api.handle(call))

    def get(self, path: str, **options: Any) -> Any:
        """Return the value of JSON that a GET of `/api` and `path` answers with, which must be 200."""
        answer = self.ask("GET", f"/api{path}", **options)
        assert answer.status == 200, (path, answer.status, answer.body)
        return json.loads(answer.body)

    def status(self, method: str, path: str, body: Any = None, **options: Any) -> int:
        """Return the status of the answer to a request for `/api` and `path`."""
        return self.ask(method, f"/api{path}", body, **options).status

    def refusal(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any, Any]:
        """Return status, error and reason of a request that is refused."""
        answer = self.ask(method, f"/api{path}", body, **options)
        told = json.loads(answer.body) if answer.body else {}
        return answer.status, told.get("error"), told.get("reason")

    def detail(self, method: str, path: str, body: Any = None, **options: Any) -> str:
        """Return what a refusal says in our own words."""
        found: str = json.loads(self.ask(method, f"/api{path}", body, **options).body)["detail"]
        return found

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let everything go on until the coroutine is done, and return its result."""
        done: list[T] = []
        failed: list[BaseException] = []

        async def finish() -> None:
            try:
                done.append(await coroutine)
            except Exception as error:
                failed.append(error)

        self.harness.stage.spawn(finish())
        self.harness.run()
        if failed:
            raise failed[0]
        assert done, "the request waits for something that does not come"
        return done[0]


def new_call(
    method: str, path: str, octets: bytes = b"", headers: Mapping[str, str] | None = None, address: str = "127.0.0.1"
) -> Call:
    """Return a request."""
    path, _, query = path.partition("?")

    async def read_body(limit: int) -> bytes:
        if len(octets) > limit:
            raise TooLarge(limit)
        return octets

    pairs = dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))
    return Call(method, path, pairs, headers or {}, address, address.startswith("127."), read_body)


def basic(name: str, password: str) -> str:
    """Return the header `Authorization` of a user."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


async def _hash(password: str) -> str:
    return Public(password).text


class _Late:
    """The clock of a harness that is made later."""

    clock: Any

    def monotonic(self) -> float:
        return float(self.clock.monotonic())


class _LateAccess:
    """Permissions of a directory that is made later."""

    def __init__(self, node: HttpNode) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node.access, name)
