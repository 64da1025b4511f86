"""What all tests share: a hostile environment, a real server, a namespace for each test, storages driven by hand."""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from rabbitmq import RabbitMQServer
from redis import Redis

from hephaestus_celery.clock import SYSTEM_CLOCK
from hephaestus_celery.core.definition.builtin import Done
from hephaestus_celery.core.definition.graph import Graph, Target
from hephaestus_celery.core.definition.plan import plan
from hephaestus_celery.core.definition.step import Step
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.resolve import RunReference
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.identity import new_run_id
from hephaestus_celery.embedded import EmbeddedServer
from hephaestus_celery.exceptions import ConfigurationError
from hephaestus_celery.storage.claims import ClaimRequest, Lease
from hephaestus_celery.storage.commits import Complete, Fail, Retry, Suspend
from hephaestus_celery.storage.due import Outstanding, Sent
from hephaestus_celery.storage.interventions import Delivery
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.storage.starts import FirstStep, NewRun

os.environ["TZ"] = "Pacific/Chatham"  # UTC+12:45: whatever forgets its time zone shows


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the chaos suite; each may be given by environment too."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos-seeds", type=int, help="how many seeds (HEPHAESTUS_CHAOS_SEEDS; 1)")
    group.addoption("--chaos-runs", type=int, help="runs for each fault and seed (HEPHAESTUS_CHAOS_RUNS; 20 to 80)")
    group.addoption("--chaos-fault", help="this fault only (HEPHAESTUS_CHAOS_FAULT; the cheap ones)")
    nodes = parser.getgroup("nodes of tests/docker")
    nodes.addoption("--nodes", help="auto, containers, processes or both (HEPHAESTUS_TEST_NODES; auto)")


def without_server(error: Exception) -> None:
    """Skip a test that needs a server; where CI is set it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"no server for the tests, and this is CI: {error}")
    pytest.skip(f"no server: {error}")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Valkey or Redis: the one that HEPHAESTUS_TEST_REDIS names, else an embedded one."""
    external = os.environ.get("HEPHAESTUS_TEST_REDIS")
    if external:
        yield external
        return
    server = EmbeddedServer()
    try:
        server.start()
    except ConfigurationError as error:
        without_server(error)
    try:
        yield server.url
    finally:
        server.close()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQServer]:
    """A RabbitMQ of the tests' own, which may be stopped by a test that starts it again."""
    try:
        server = RabbitMQServer()
    except ConfigurationError as error:
        without_server(error)
    with server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """A real RabbitMQ: the one that HEPHAESTUS_TEST_RABBITMQ names, else the tests' own."""
    return os.environ.get("HEPHAESTUS_TEST_RABBITMQ") or request.getfixturevalue("rabbitmq").url


@pytest.fixture(scope="module")
def private_server() -> Iterator[EmbeddedServer]:
    """A server that no other test talks to at the same time."""
    server = EmbeddedServer()
    try:
        server.start()
    except ConfigurationError as error:
        without_server(error)
    with server:
        yield server


@pytest.fixture
def namespace() -> str:
    """Begins the keys of this test and of no other."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def redis_storage(redis_url: str, namespace: str) -> Iterator[RedisStorage]:
    """An empty ``RedisStorage``; its keys are deleted after the test."""
    storage = RedisStorage(redis_url, namespace=namespace)
    yield storage
    for key in storage._client.scan_iter(f"{namespace}:*", count=1000):
        storage._client.delete(key)
    storage.close()


@pytest.fixture
def drive() -> Callable[..., Stand]:
    """``drive(storage)``: start runs by hand and lead them through every operation of the port."""
    return Stand


class Stand:
    """A storage, and the runs that a test starts in it."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def start(self, edges: Mapping[tuple[str, str], Any] | None = None, **fields: Any) -> HandRun:
        """Create a run of a graph, by default a -> b -> done; ``fields`` replace those of the ``NewRun``."""
        run = self.prepare(edges, **fields)
        run.dispatched = list(self.storage.create(run.new))
        return run

    def tick(self, *, owner: str = "owner", seize: bool = True) -> Any:
        """One look at what has come due."""
        return self.storage.tick(0, owner=owner, worker="w1", seize=seize)

    def entries(self, count: int = 1, *, seize: bool = True) -> list[Any]:
        """What comes due next, in the order in which it does."""
        found: list[Any] = []
        deadline = SYSTEM_CLOCK.monotonic_ns() + 20_000_000_000
        while len(found) < count:
            found.extend(self.tick(seize=seize).entries)
            assert SYSTEM_CLOCK.monotonic_ns() < deadline, f"{count} entries were to come due, and these did: {found}"
        return found

    def calm(self) -> None:
        """Let what was due within a millisecond come due; it was nothing that wants more than the store can do."""
        soon = self.storage.now() + 1000
        while self.storage.now() <= soon:
            pass
        assert list(self.tick().entries) == []

    def prepare(self, edges: Mapping[tuple[str, str], Any] | None = None, **fields: Any) -> HandRun:
        """A run that is not created yet."""
        edges = edges or {("a", "ok"): ["b"], ("b", "ok"): ["done"]}
        graph = graph_of(edges)
        instance_id = fields.get("instance_id", "order::a")
        run_id = new_run_id(
            milliseconds=SYSTEM_CLOCK.time_ns() // 1_000_000, instance_id=instance_id, random_bits=secrets.randbits(58)
        )
        values = {
            "operation": run_id,
            "run_id": run_id,
            "instance_id": instance_id,
            "name": "shop.Order",
            "family": fields.get("name", "shop.Order"),
            "version": 1,
            "scope": "workflow",
            "tags": (),
            "header": header(run_id, instance_id),
            "initial": '{"items":3}',
        }
        first = {"config": None, "max_attempts": 5, "prepared_message": None, "lane": None}
        first = {name: fields.pop(name, value) for name, value in first.items()}
        firsts = [FirstStep(step=initial.step.key, **first) for initial in graph.initials]
        return HandRun(self.storage, graph, NewRun(**{**values, "firsts": firsts, **fields}))


FAILURE = '{"kind":"error","type":"ValueError","message":"no"}'


class HandRun:
    """One run; fences and operations are made up where a test gives none."""

    _numbers = itertools.count(1)

    def __init__(self, storage: Storage, graph: Graph, new: NewRun) -> None:
        self.storage, self.graph, self.new, self.id = storage, graph, new, new.run_id
        self.lane = new.firsts[0].lane
        self.fences: dict[str, str] = {}
        self.dispatched: list[Any] = []

    def claim(
        self,
        step: str,
        attempt: int = 1,
        *,
        fence: str | None = None,
        versions: Sequence[int] = (1,),
        predecessors: Sequence[str] = (),
        limit: int | None = None,
        holder: str | None = None,
        lane: str | None = None,
        token: int | None = None,
        workflow: str | None = None,
    ) -> Any:
        fence = fence or f"fence{next(self._numbers)}"
        claim = self.storage.claim(
            ClaimRequest(
                run_id=self.id,
                workflow=workflow or self.new.name,
                activation=Activation.parse(step),
                attempt=attempt,
                fence=fence,
                versions=versions,
                predecessors=predecessors,
                limit=limit,
                holder=holder,
                lane=lane,
                token=token,
            )
        )
        if not hasattr(claim, "reason"):
            self.fences[step] = fence
        return claim

    def completion(self, step: str, event: str = "ok", *, rank: int = 0, **fields: Any) -> Complete:
        targets = self.graph.table.get((self.graph.by_key[step], event), ()) if step != "done" else ()
        settlement = plan(self.graph, self.graph.by_key[step], targets)
        configs = {target.step.key: json.dumps(target.config) for target in targets if target.config is not None}
        values = {
            **self._common(step, "c"),
            "event": event,
            "result": None,
            "metadata": None,
            "settlement": settlement,
            "attempts": dict.fromkeys(settlement.rows, 5),
            "configs": configs,
            "rank": rank,
            "done_entry": '{"kind":"attempt","step":"done"}',
            "lanes": dict.fromkeys(settlement.rows, self.lane) if self.lane else {},
            "stuck": '{"kind":"error","type":"Error","message":"stuck"}',
        }
        return Complete(**{**values, **fields})

    def complete(self, step: str, event: str = "ok", **fields: Any) -> Any:
        return self.storage.commit(self.completion(step, event, **fields))

    def suspend(self, step: str, *, accepts: Mapping[str, str] | None = None, timeout: int | None = None) -> Any:
        accepts = {"go": "ok"} if accepts is None else accepts
        return self.storage.commit(Suspend(**self._common(step, "c"), accepts=accepts, timeout=timeout))

    def fail(self, step: str, **fields: Any) -> Any:
        return self.storage.commit(Fail(**{**self._common(step, "f"), "failure": FAILURE, **fields}))

    def retry(self, step: str, *, delay: int = 0, **fields: Any) -> Any:
        return self.storage.commit(Retry(**{**self._common(step, "f"), "delay": delay, **fields}))

    def renew(self, step: str, *, fence: str | None = None) -> bool:
        lease = Lease(
            run_id=self.id, activation=Activation.parse(step), fence=fence or self.fences.get(step, "no fence")
        )
        [held] = self.storage.renew([lease])
        return held

    def seize(
        self, step: str, attempt: int = 1, *, holder: str, fence: str | None = None, timed_out: bool = False
    ) -> int | None:
        fence = fence or f"fence{next(self._numbers)}"
        number = self.storage.seize(
            self.id, step, attempt=attempt, holder=holder, fence=fence, entry='{"kind":"rescue"}', timed_out=timed_out
        )
        if number is not None:
            self.fences[step] = fence
        return number

    def resend(
        self, step: str, attempt: int = 1, token: int = 1, *, lane: str | None = None, operation: str | None = None
    ) -> Any:
        """Say that a message is lost."""
        dispatch = DispatchStep(Activation.parse(step), attempt, token)
        lost = Outstanding(run_id=self.id, name=self.new.name, version=self.new.version, dispatch=dispatch, passed=True)
        operation = operation or f"resend{next(self._numbers)}"
        return self.storage.resend(0, {lost: lane}, lane=self.lane or "", operation=operation, worker="w1")

    def redirect(self, step: str, attempt: int = 1, token: int = 1, *, lane: str) -> None:
        """Say that a message went to this lane."""
        self.storage.redirect(
            [Sent(run_id=self.id, dispatch=DispatchStep(Activation.parse(step), attempt, token), lane=lane)]
        )

    def schedule(self, step: str, *, reference: str = "ref", delay: int = 0) -> bool:
        return self.storage.schedule(self.id, step, reference=reference, delay=delay)

    def unschedule(self, step: str, *, reference: str = "ref", operation: str | None = None) -> bool:
        operation = operation or f"{self.id}-untimer{next(self._numbers)}"
        return self.storage.unschedule(self.id, step, reference=reference, operation=operation)

    def deliver(
        self,
        name: str = "go",
        data: str = '{"x":1}',
        *,
        step: str | None = None,
        keep: bool = False,
        key: str | None = None,
    ) -> Any:
        operation = f"{self.id}-delivery{next(self._numbers)}"
        return self.storage.deliver(
            Delivery(
                operation=operation, run=RunReference(id=self.id), name=name, data=data, step=step, keep=keep, key=key
            )
        )

    def cancel(self, reason: str | None = None) -> Any:
        operation = f"cancel{next(self._numbers)}"
        return self.storage.cancel(self.id, operation=operation, reason=reason, entry='{"kind":"cancel"}')

    def step(self, step: str, event: str = "ok", **fields: Any) -> Any:
        """Claim a step and complete it."""
        self.claim(step)
        return self.complete(step, event, **fields)

    def wait_at(self, step: str, **fields: Any) -> Any:
        """Claim a step and suspend it."""
        self.claim(step)
        return self.suspend(step, **fields)

    def load(self) -> Any:
        return self.storage.load(self.id)

    def history(self) -> Any:
        return self.storage.history(self.id)

    def due(self) -> dict[str, int]:
        """What the due set holds for the steps of this run."""
        if isinstance(self.storage, MemoryStorage):
            return {key: at for (run_id, key), at in self.storage._due.items() if run_id == self.id}
        assert isinstance(self.storage, RedisStorage)
        client: Redis = self.storage._client
        entries = client.zrange(self.storage.keys.of_run(self.id).names[3], 0, -1, withscores=True)
        parts = [(member.decode().partition("|"), int(score)) for member, score in entries]
        return {key: at for (run_id, _, key), at in parts if run_id == self.id and key and key[0] != "|"}

    def lanes(self) -> dict[str, str]:
        """The lane of each step of this run that waits in one."""
        if isinstance(self.storage, MemoryStorage):
            return self.storage._lanes.members(self.id)
        assert isinstance(self.storage, RedisStorage)
        client: Redis = self.storage._client
        found: dict[str, str] = {}
        for key in client.scan_iter(f"{self.storage.keys.of_run(self.id).prefix}lane:*", count=1000):
            for member in client.zrange(key, 0, -1):
                run_id, _, step = member.decode().partition("|")
                if run_id == self.id:
                    found[step] = key.decode().partition("lane:")[2]
        return found

    def _common(self, step: str, suffix: str) -> dict[str, Any]:
        fence = self.fences.get(step, "no fence")
        entry = json.dumps({"kind": "attempt", "step": step})
        return {
            "operation": fence + suffix,
            "run_id": self.id,
            "activation": Activation.parse(step),
            "fence": fence,
            "entry": entry,
        }


def graph_of(edges: Mapping[tuple[str, str], Any]) -> Graph:
    """A graph from ``{(source, event): [target or (target, config), ...]}``; what nothing leads to is where it begins."""
    steps: dict[str, type[Step]] = {"done": Done}

    def target(given: Any) -> Target:
        key, config = given if isinstance(given, tuple) else (given, None)
        return Target(steps.setdefault(key, Step.named(key)), config)

    table = {(target(source).step, event): tuple(map(target, targets)) for (source, event), targets in edges.items()}
    reached = {target.step for targets in table.values() for target in targets}
    initials = list(dict.fromkeys(source for source, _ in table if source not in reached)) or [Done]
    return Graph(initials=tuple(map(Target, initials)), table=table)


def header(run_id: str, instance_id: str) -> str:
    """The unchanging part of a run of no defined workflow."""
    return json.dumps(
        {
            "schema": 1,
            "id": instance_id,
            "run_id": run_id,
            "name": "shop.Order",
            "family": "shop.Order",
            "version": 1,
            "tags": [],
            "metadata": {},
            "telemetry": {},
        }
    )
