"""One chaos run: a steady load of workflows, a fault that strikes again and again, and what became of all."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aims
import chaos_flows as flows
import checker
from arena import Arena
from faults import Fault

from hephaestus_celery import (
    AlreadyRunningError,
    Instance,
    InstanceNotFoundError,
    NotCancellableError,
    NotWaitingError,
    RunStateError,
    StorageError,
)
from hephaestus_celery.embedded import EmbeddedServer

RUNS_PER_SECOND = 10
PAUSE_SECONDS = (0.2, 1.2)  # between two strikes
PAUSED_SECONDS = (0.05, 0.6)
CANCELLED_SECONDS = (0.0, 1.0)  # after the start
SETTLE_SECONDS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault struck; ``at`` is nanoseconds of the wall clock, which server, workers and client share here."""

    at: int
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run that was started. ``doubtful``: its start was stored, though the call had failed."""

    run_id: str
    at: int
    doubtful: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WholePause:
    """A workflow was paused: for certain from ``since`` until ``until``, in nanoseconds of the wall clock."""

    family: str
    since: int
    until: int


@dataclass(slots=True, kw_only=True)
class Episode:
    """What happened with one fault and one seed, and what the checker says of it.

    ``crashes``: workers that ended by themselves and were started again.
    """

    fault: str
    seed: int
    strikes: list[Strike] = field(default_factory=list)
    started: list[Started] = field(default_factory=list)
    pauses: list[WholePause] = field(default_factory=list)
    crashes: int = 0
    verdict: checker.Verdict | None = None


def play(fault: Fault, *, seed: int, runs: int, folder: Path) -> Episode:
    """Let a fault strike while ``runs`` workflows are started and executed; gives what the checker found."""
    chance = random.Random(f"{fault.name} {seed}")
    episode = Episode(fault=fault.name, seed=seed)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer())
        arena = Arena(server, module="chaos_app", folder=folder)
        stack.callback(arena.close)
        if fault.synced:
            arena.keep_every_write()
        arena.open()
        client = Client(arena, random.Random(chance.random()))
        load = Load(client.start, runs=runs)

        def strike() -> int:
            at = time.time_ns()
            episode.strikes.append(Strike(at=at, said=fault.inject(arena, chance)))
            arena.revive()
            return at

        others = random.Random(chance.random())
        with pausing(arena, others, episode.pauses) if fault.pauses else contextlib.nullcontext():
            aimed = strike_until(load, client, strike, iter(lambda: chance.uniform(*PAUSE_SECONDS), None))
        episode.started = [*load.result(), *aimed]
        settle(arena)
        arena.stop_workers()
        episode.crashes = arena.crashes
        episode.verdict = checker.check(arena, episode, silences=fault.silences or arena.crashes > 0)
    return episode


def strike_until(load: Load, client: Client, strike: Callable[[], int], pauses: Iterator[float]) -> list[Started]:
    """Start a load, and strike until all of it is started; at each of the moments aimed at first.

    Gives the runs that were started for these.
    """
    load.start()
    aimed = aims.strike_at_each(client, strike)
    while load.is_alive():
        time.sleep(next(pauses))
        strike()
    return aimed


@contextlib.contextmanager
def pausing(arena: Arena, chance: random.Random, pauses: list[WholePause]) -> Iterator[None]:
    """Meanwhile, runs and workflows are paused and go on."""
    over = threading.Event()

    def pause_until_over() -> None:
        while not over.wait(chance.uniform(0.05, 0.3)):
            (pause_whole if chance.random() < 0.5 else pause_some)(arena, chance, pauses)

    with ThreadPoolExecutor(1) as pool:
        paused = pool.submit(pause_until_over)
        try:
            yield
        finally:
            over.set()
        paused.result()


def pause_whole(arena: Arena, chance: random.Random, pauses: list[WholePause]) -> None:
    """Pause a workflow for a moment, whatever becomes of the server meanwhile."""
    flow = chance.choice(flows.FLOWS)
    insist(lambda: arena.hephaestus.pause_workflow(flow))
    since = time.time_ns()
    time.sleep(chance.uniform(*PAUSED_SECONDS))
    pauses.append(WholePause(family=flow.family, since=since, until=time.time_ns()))
    insist(lambda: arena.hephaestus.unpause_workflow(flow))


def pause_some(arena: Arena, chance: random.Random, pauses: list[WholePause]) -> None:
    """Pause some active runs for a moment; their histories say for how long."""
    del pauses
    active = {"status_in": ["pending", "running", "waiting"], "limit": chance.randint(1, 10)}
    run_ids = [instance.run_id for instance in insist(lambda: arena.hephaestus.list(**active)).instances]
    for run_id in run_ids:
        with contextlib.suppress(RunStateError):  # it has ended meanwhile
            insist(lambda run_id=run_id: arena.hephaestus.pause(run_id))
    time.sleep(chance.uniform(*PAUSED_SECONDS))
    for run_id in run_ids:
        insist(lambda run_id=run_id: arena.hephaestus.unpause(run_id))


def settle(arena: Arena) -> None:
    """Wait until no run is active, or for so long that what is left counts as lost."""
    active = {"status_in": ["pending", "running", "waiting"], "limit": 1}
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        try:
            if not arena.hephaestus.list(**active).instances:
                return
        except StorageError:
            pass
        arena.revive()
        time.sleep(0.05)


class Load(threading.Thread):
    """Calls ``start(number)`` at a steady pace, whatever becomes of the server meanwhile."""

    def __init__(self, start: Callable[[int], Started], *, runs: int) -> None:
        super().__init__(name="load")
        self._begin, self._runs = start, runs
        self._known: list[Started] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        begun = time.monotonic()
        try:
            for number in range(self._runs):
                time.sleep(max(0.0, begun + number / RUNS_PER_SECOND - time.monotonic()))
                self._known.append(self._begin(number))
        except BaseException as error:  # noqa: BLE001 - shown by result()
            self._error = error

    def result(self) -> list[Started]:
        """All runs, once all are started."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._known


class Client:
    """Starts runs of all workflows in turn, and sends some of them an event, or cancels them."""

    def __init__(self, arena: Arena, chance: random.Random) -> None:
        self._arena, self._chance = arena, chance

    def start(self, number: int) -> Started:
        """Start a run, and do what belongs to its workflow."""
        flow = flows.FLOWS[number % len(flows.FLOWS)]
        started = self.begin(flow, number=number, name=f"r{number}")
        if flow is not flows.Deadline or self._chance.random() < 0.5:
            self.send_events(flow, started.run_id)
        if flows.ENDINGS.get(flow) == ("cancelled", None):
            time.sleep(self._chance.uniform(*CANCELLED_SECONDS))
            self.cancel(started.run_id)
        return started

    def begin(self, flow: Any, *, number: int, name: str) -> Started:
        """Start a run, however often it takes."""
        instance_id = f"{flow.unique.key}::{name}"
        hephaestus = self._arena.hephaestus
        return self._create(
            instance_id, lambda: hephaestus.start_instance(flow, {"value": number}, id=instance_id).run_id
        )

    def _create(self, instance_id: str, call: Callable[[], str]) -> Started:
        hephaestus = self._arena.hephaestus
        doubtful = False

        def start() -> str | None:
            nonlocal doubtful
            try:
                return call()
            except AlreadyRunningError:
                doubtful = True  # an attempt that failed for us has reached the store all the same
                return hephaestus.get(instance_id).run_id

        def start_or_find() -> str | None:
            try:
                doubted = hephaestus.get(instance_id).run_id
            except InstanceNotFoundError:
                return start()
            nonlocal doubtful
            doubtful = True
            return doubted

        run_id = insist(start, start_or_find)
        return Started(run_id=run_id, at=time.time_ns(), doubtful=doubtful)

    def send_events(self, flow: Any, run_id: str) -> None:
        """The events of its workflow, however often it takes."""
        event = flows.EVENTS.get(flow)
        if event is None:
            return
        if flow in flows.MISFITS:
            self._resume(run_id, event, flows.MISFITS[flow])
        self._resume(run_id, event, {"by": "load"})

    def _resume(self, run_id: str, event: str, data: dict[str, Any]) -> None:
        hephaestus = self._arena.hephaestus

        def resume() -> bool:
            # Nothing waits: the timeout came first, or an attempt that failed for us was recorded all the same.
            with contextlib.suppress(NotWaitingError):
                hephaestus.resume(run_id, event, data, keep_early=True)
            return True

        insist(resume, resume)

    def cancel(self, run_id: str) -> None:
        """Cancel a run, which undoes what has completed, however often it takes."""

        def cancel() -> None:
            # It is cancelled already: an attempt that failed for us was recorded all the same.
            with contextlib.suppress(NotCancellableError):
                self._arena.hephaestus.cancel(run_id, compensate=True)

        insist(cancel)

    def retry(self, run_id: str) -> Started:
        """Retry a run, with what mends it."""
        hephaestus, doubtful = self._arena.hephaestus, False

        def retry() -> str | None:
            nonlocal doubtful
            try:
                return hephaestus.retry(run_id, context=flows.MENDED).run_id
            except (RunStateError, AlreadyRunningError):
                doubtful = True  # an attempt that failed for us has reached the store all the same
                return hephaestus.get(run_id).retried_as

        return Started(run_id=insist(retry), at=time.time_ns(), doubtful=doubtful)

    def fork(self, run_id: str, step: Any, *, name: str) -> Started:
        """Fork a run under another name, with what mends it."""
        hephaestus = self._arena.hephaestus
        flow = insist(lambda: hephaestus.get(run_id)).workflow
        return self._create(
            f"{flow.unique.key}::{name}",
            lambda: hephaestus.fork(run_id, step, value=name, context=flows.MENDED).run_id,
        )

    def get(self, run_id: str) -> Instance:
        """How a run stands."""
        return insist(lambda: self._arena.hephaestus.get(run_id))


def insist(first: Callable[[], Any], again: Callable[[], Any] | None = None) -> Any:
    """What a client does while the store is away: the call once more, or another from then on."""
    call = first
    while True:
        try:
            return call()
        except StorageError:
            call = again or first
            time.sleep(0.1)
