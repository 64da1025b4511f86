"""The same run in two storages: what each replies and stores, in one form, so that the two can be compared whole.

Everything is compared as it is, times to the microsecond, but for what differs by design. That is all here:

- Memory has no scheduler lock, so its facts have no scheduler.
- A hash of Redis has no order: the steps of a delivery that may be meant, and those that are executed, are sorted.
- A tick makes up the fence of an attempt that it takes: it is named after the step and the attempt.
- The history entry of a rescue is JSON that each store writes by itself: it is read.
- Redis has an entry in the due set for each run, which says when to look whether it is gone: it doesn't count.
- Of a large run that is over time, Redis leaves it to the caller how many steps have completed: both are asked for that.
- Of a large run, Redis gives a part, and says so: the rest is read as its reader would, once the part is what was promised.
- Memory has no broker, so it sends no prepared message: see :meth:`Twin.posted`.
- Redis clears away in slices what a large run has left: it is let do so before anything is compared.
- A step of very many edges, and a start of very many steps, is settled in slices: who asks again is told what surely
  follows, not what followed; and a message is left to the caller where the step starts in a later slice than its own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from hephaestus_celery.core.execution.due_items import SWEEP
from hephaestus_celery.core.execution.lane_watch import LaneWatch
from hephaestus_celery.core.execution.standing import RunFacts
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.stream_event import StreamEvent
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.exceptions import HephaestusError
from hephaestus_celery.storage.claims import Claim, ClaimRequest, Refusal
from hephaestus_celery.storage.due import DueEntry, ExpiredRun, Tick
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.queries import DataKind, Query, StoredEntry, StoredRun
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.storage.snapshot import undo_numbers
from hephaestus_celery.storage.told_events import events_of

KINDS = {
    "results": DataKind.RESULT,
    "metadata": DataKind.METADATA,
    "configs": DataKind.CONFIG,
    "round_states": DataKind.ROUND_STATE,
}
UNORDERED = {"DeliveryReport": {"steps", "executing"}}


class Twin:
    """A run in one of the storages."""

    def __init__(self, run: Any, *, lists: Sequence[str] = (), small: int = 65_536) -> None:
        self.run, self.storage, self._lists, self._small = run, run.storage, lists, small
        self._fences: dict[str, str] = {}

    def reply(self, call: Any) -> Any:
        """What a call is replied, or the error that it raises, in the form that is compared."""
        try:
            return self.plain(call())
        except HephaestusError as error:
            return {"type": type(error).__name__, "message": str(error)}

    def plain(self, value: Any, name: str = "", owner: str = "") -> Any:
        """A value as mappings, lists and plain values."""
        match value:
            case StoredRun():
                value = self._whole(value)
            case RunSummary() if value.steps is None:
                value = dataclasses.replace(value, steps=self.storage.read_states(self.run.id))
            case RunFacts() | ExpiredRun():
                value = self._known(value)
            case Tick():
                value = self._without_watches(value)
            case StoredEntry():
                return {**self._fields(value), "detail": json.loads(value.detail)}
            case Enum():
                return value.value
            case _:
                pass
        if dataclasses.is_dataclass(value):
            return {"type": type(value).__name__, **self._fields(value)}
        if isinstance(value, Mapping):
            return {str(key): self.plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self.plain(item) for item in value]
            return sorted(items) if name in UNORDERED.get(owner, ()) else items
        return self._fences.get(value, value) if name == "fence" else value

    def _known(self, value: RunFacts | ExpiredRun) -> RunFacts | ExpiredRun:
        """What both stores tell, with what one of them leaves to who asks."""
        if isinstance(value, RunFacts):
            return dataclasses.replace(value, scheduler=None)
        states = self.storage.read_states(self.run.id).values()
        return dataclasses.replace(value, completed=sum(state.order is not None for state in states))

    def _fields(self, value: Any) -> dict[str, Any]:
        owner = type(value).__name__
        return {
            field.name: self.plain(getattr(value, field.name), field.name, owner) for field in dataclasses.fields(value)
        }

    def stored(self) -> dict[str, Any]:
        """All that is stored of the run."""
        lanes, watches = self._lanes()
        return {
            "run": self.reply(self.run.load),
            "history": self.reply(lambda: list(self.run.history())),
            "page": self.reply(lambda: list(self.run.history(after=3, limit=2))),
            "due": self.run.due(),
            "lanes": sorted(lanes),
            "watches": {lane: self.plain(watch) for lane, watch in watches.items()},
            "waits": self._waits(),
            "found": [self._found(filters) for filters in self._filters()],
            "listed": self.reply(lambda: self.storage.list_runs(Query())),
            "candidates": self.plain(self.storage.candidates(self.run.new.instance_id, family=None)),
            "paused": self.plain(self.storage.paused_workflows()),
            "reports": sorted(self.storage.reports()),
            "told": self.plain([dataclasses.replace(each, at=str(each.at), acknowledge=None) for each in self.told()]),
        }

    def _filters(self) -> Iterator[dict[str, Any]]:
        for event in ("go", "on", "timeout"):
            yield {"waiting_for": event}
        yield {"waiting_since_before": self.storage.now() - 1_000_000}
        yield {"failed_step": "s0"}
        yield {}

    def _found(self, filters: Mapping[str, Any]) -> tuple[list[str], int]:
        query = Query(**filters)
        return list(self.storage.list_run_ids(query)[0]), self.storage.count_runs(query)

    def _waits(self) -> dict[str, list[str]]:
        """The steps that wait, all and by event: in Redis what its indexes hold."""
        found: dict[str, list[str]] = {}
        if isinstance(self.storage, RedisStorage):
            prefix = self.storage.keys.of_run(self.run.id).prefix
            for event in ("s", "ing:go", "ing:on", "ing:up"):
                entries = self.storage._client.zrange(f"{prefix}index:wait{event}", 0, -1)
                found[event] = sorted(entry.decode() for entry in entries)
            return found
        with self.storage.transaction() as transaction:
            for record in transaction.runs_before(None):
                for key, step in record.state.steps.items():
                    if step.waits and not record.state.status.final:
                        for event in ("s", *(f"ing:{name}" for name in step.accepts)):
                            found.setdefault(event, []).append(f"{record.new.run_id}|{key}")
        return {event: sorted(found.get(event, [])) for event in ("s", "ing:go", "ing:on", "ing:up")}

    def told(self) -> list[StreamEvent]:
        """What the event stream was told: of each run each event, once and in order."""
        entries = self.storage.browse_events(0, after=None, limit=10_000).entries
        events = [event for entry in entries for event in events_of(entry.told)]
        numbers: dict[str, int] = {}
        for event in events:
            numbers[event.run_id] = numbers.get(event.run_id, 0) + 1
            assert event.sequence == numbers[event.run_id], (event, events)
        run = self.run.load()
        assert run is None or run.sequence == numbers.get(self.run.id, 0)
        return events

    def claim(self, request: ClaimRequest) -> Claim | Refusal:
        """Ask for an attempt, whose fence is known from then on."""
        claim = self.storage.claim(request)
        if isinstance(claim, Claim):
            self.run.fences[str(request.activation)] = request.fence
            self._check_promise(claim.run, [str(request.activation), *request.predecessors])
        return claim

    def _check_promise(self, run: StoredRun, asked: Sequence[str]) -> None:
        """A part of a run has the states that were asked for, and their results, for as long as these are small."""
        if run.lacks_steps:
            known = self.storage.read_states(self.run.id, asked)
            assert known == {key: run.steps[key] for key in asked if key in run.steps}
        if run.lacks_data:
            total, promised = 0, {}
            for key, text in self.storage.read_data(self.run.id, DataKind.RESULT, asked).items():
                if total + len(text) <= self._small:
                    total, promised[key] = total + len(text), text
            assert {key: text for key, text in run.results.items() if key in asked} == promised

    def seize(self, key: str, fields: Mapping[str, Any]) -> DueEntry | None:
        """Take an attempt from the task that held it; its fence is known from then on."""
        entry = self.storage.seize(self.run.id, Activation.parse(key), **fields)
        if entry is not None:
            self.run.fences[key] = fields["fence"]
        return entry

    def tick(self, *, seize: bool, durations: Durations) -> Tick:
        """One look at what has come due; the fences of what it takes are known from then on."""
        tick = self.storage.tick(0, owner="owner", worker="w1", seize=seize, durations=durations)
        for entry in tick.entries:
            self.learn(entry)
        return tick

    def soonest(self) -> int | None:
        """When something comes due next, or a lane is looked at."""
        if not isinstance(self.storage, RedisStorage):
            with self.storage.transaction() as transaction:
                return transaction.soonest_due()
        names = self.storage.keys.of_run(self.run.id)
        entries = self.storage._client.zrange(names.names[3], 0, -1, withscores=True)
        due = [int(at) for member, at in entries if b"||" not in member]
        due += [int(at) for _, at in self.storage._client.zrange(f"{names.prefix}lanes", 0, -1, withscores=True)]
        return min(due, default=None)

    def sweeps(self) -> bool:
        """Whether something of a large run that has ended is still to be cleared away."""
        return any(member.startswith(SWEEP) for member in self.run.due())

    def learn(self, entry: DueEntry) -> None:
        """This entry may be of an attempt that is held by another fence now."""
        if entry.attempt is not None:
            key, fence = str(entry.dispatch.activation), entry.attempt.fence
            if entry.run_id == self.run.id:
                self.run.fences[key] = fence
            self._fences[fence] = f"{key} {entry.dispatch.attempt}, taken"

    def posted(self) -> list[str]:
        """The prepared messages that the store has sent since this was asked before."""
        found = []
        for key in self._lists:
            found += [text.decode() for text in self.storage._client.lrange(key, 0, -1)]
            self.storage._client.delete(key)
        return sorted(found)

    def _whole(self, run: StoredRun) -> StoredRun:
        storage, run_id = self.storage, self.run.id
        if not (run.lacks_steps or run.lacks_data or run.initial is None):
            return run
        steps = {**storage.read_states(run_id), **run.steps} if run.lacks_steps else run.steps
        data = {}
        for name, kind in KINDS.items():
            held = getattr(run, name)
            data[name] = (
                {**storage.read_data(run_id, kind, list(self.run.graph.by_key)), **held} if run.lacks_data else held
            )
        numbers = undo_numbers(run)
        data["undo"] = storage.read_data(run_id, DataKind.UNDO, numbers) if run.lacks_data and numbers else run.undo
        initial = storage.read_initial(run_id) if run.initial is None else run.initial
        return dataclasses.replace(run, lacks_steps=False, lacks_data=False, initial=initial, steps=steps, **data)

    def _without_watches(self, tick: Tick) -> Tick:
        return tick if self.soonest() is not None else dataclasses.replace(tick, next_in=None)

    def _lanes(self) -> tuple[list[tuple[str, str, int]], dict[str, LaneWatch]]:
        """What waits in lanes, and how these are watched."""
        if not isinstance(self.storage, RedisStorage):
            with self.storage.transaction() as transaction:
                return lanes_of(transaction)
        client, prefix = self.storage._client, self.storage.keys.of_run(self.run.id).prefix
        with client.pipeline(transaction=False) as pipeline:
            pipeline.zrange(f"{prefix}lanes", 0, -1, withscores=True)
            pipeline.zrange(f"{prefix}marks", 0, -1, withscores=True)
            pipeline.hgetall(f"{prefix}looks")
            for lane in LANES:
                pipeline.zrange(f"{prefix}lane:{lane}", 0, -1, withscores=True)
            due, marks, looks, *lanes = pipeline.execute()
        due, marks = ({lane.decode(): int(at) for lane, at in found} for found in (due, marks))
        seen = {lane.decode(): json.loads(text) for lane, text in looks.items()}
        waiting = [
            (lane, member.decode(), int(at)) for lane, found in zip(LANES, lanes, strict=True) for member, at in found
        ]
        return waiting, {
            lane: watch_of(due.get(lane), marks.get(lane), seen.get(lane, {})) for lane in {*due, *marks, *seen}
        }


LANES = ("0:one", "9:two")


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two values in the compared form differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from differences(one.get(key, "-"), other.get(key, "-"), f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif one != other:
        yield f"{place}: {one} and {other}"


def lanes_of(transaction: Any) -> tuple[list[tuple[str, str, int]], dict[str, LaneWatch]]:
    """What a transactional storage has in its lanes, and how it watches them."""
    waiting = [
        (lane, f"{run_id}|{step}", at)
        for lane in LANES
        for (run_id, step), at in transaction.waiting(lane, start=0, limit=1000)
    ]
    watches = {lane: transaction.find_watch(lane) for lane in LANES}
    return waiting, {lane: watch for lane, watch in watches.items() if watch is not None}


def watch_of(due: int | None, mark: int | None, seen: Mapping[str, Any]) -> LaneWatch:
    """How Redis watches a lane."""
    times = {
        name: int(seen[short])
        for name, short in (("last", "l"), ("passed", "o"), ("coming", "m"), ("since", "t"))
        if short in seen
    }
    return LaneWatch(due=due, mark=mark, rounds=seen.get("r", 0), offset=seen.get("c", 0), **times)
