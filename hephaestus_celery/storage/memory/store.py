"""The memory store: runs in the memory of this process, for tests, notebooks and eager applications.

The runs are lost when the process ends.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from hephaestus_celery.clock import SYSTEM_CHANCE, SYSTEM_CLOCK, Chance, Clock
from hephaestus_celery.core.execution.due_items import DueItem, encode
from hephaestus_celery.core.execution.lane_watch import LaneWatch
from hephaestus_celery.core.execution.stream_groups import StreamGroup, place_of
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.storage.async_port import AsyncStorage
from hephaestus_celery.storage.memory.loops import MemoryLoops
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.transactional.event_stream import is_newer
from hephaestus_celery.storage.transactional.record import Record, claimant
from hephaestus_celery.storage.transactional.store import TransactionalStorage
from hephaestus_celery.storage.transactional.transaction import Member, ToldEntry, Transaction

T = TypeVar("T")


class Memory:
    """Runs in plain dictionaries: the transaction of :class:`MemoryStorage`, used only under the lock of the storage."""

    def __init__(self) -> None:
        self.runs: dict[str, Record] = {}
        self.due: dict[tuple[str, DueItem], int] = {}
        self._order: list[tuple[int, str]] = []
        self._by_id: dict[str, list[str]] = {}
        self._active: dict[str, list[str]] = {}
        self._lanes: dict[str, dict[Member, int]] = {}
        self._watches: dict[str, LaneWatch] = {}
        self._reports: dict[str, tuple[int, str]] = {}
        self._replies: dict[tuple[str, str], tuple[int, Any]] = {}
        self._told: list[ToldEntry] = []
        self._groups: dict[str, StreamGroup] = {}
        self._pauses: dict[str, PauseMark] = {}
        self.moved = False

    def find_run(self, run_id: str) -> Record | None:
        return self.runs.get(run_id)

    def add_run(self, record: Record) -> None:
        run_id, instance_id = record.new.run_id, record.new.instance_id
        self.runs[run_id] = record
        bisect.insort(self._order, (record.started_at, run_id))
        self._by_id.setdefault(instance_id, []).append(run_id)
        self._active.setdefault(instance_id, []).append(run_id)

    def save_run(self, record: Record) -> None:
        self.moved = True
        active = self._active[record.new.instance_id]
        if record.state.status.final and record.new.run_id in active:
            active.remove(record.new.run_id)

    def delete_run(self, record: Record) -> None:
        run_id, instance_id = record.new.run_id, record.new.instance_id
        del self.runs[run_id]
        self._order.remove((record.started_at, run_id))
        self._by_id[instance_id].remove(run_id)
        if not self._by_id[instance_id]:
            del self._by_id[instance_id], self._active[instance_id]
        self.moved = True

    def runs_of(self, instance_id: str, *, active: bool) -> Sequence[Claimant]:
        held = self._active if active else self._by_id
        return [claimant(self.runs[run_id].new) for run_id in held.get(instance_id, ())]

    def runs_before(self, position: tuple[int, str] | None) -> Iterator[Record]:
        end = len(self._order) if position is None else bisect.bisect_left(self._order, position)
        return (self.runs[self._order[place][1]] for place in range(end - 1, -1, -1))

    def pauses(self) -> Mapping[str, PauseMark]:
        return self._pauses

    def save_pause(self, family: str, pause: PauseMark | None) -> None:
        if pause is None:
            self._pauses.pop(family, None)
        else:
            self._pauses[family] = pause

    def due_at(self, run_id: str, item: DueItem) -> int | None:
        return self.due.get((run_id, item))

    def set_due(self, run_id: str, item: DueItem, at: int) -> None:
        self.due[run_id, item] = at
        self.moved = True

    def clear_due(self, run_id: str, item: DueItem) -> bool:
        return self.due.pop((run_id, item), None) is not None

    def clear_all_due(self, run_id: str) -> None:
        for entry in [entry for entry in self.due if entry[0] == run_id]:
            del self.due[entry]

    def due_until(self, moment: int) -> Sequence[tuple[str, DueItem, int]]:
        passed = [(run_id, item, at) for (run_id, item), at in self.due.items() if at <= moment]
        return sorted(passed, key=lambda entry: (entry[2], entry[0], encode(entry[1])))

    def soonest_due(self) -> int | None:
        watched = (watch.due for watch in self._watches.values() if watch.due is not None)
        return min((*self.due.values(), *watched), default=None)

    def enter_lane(self, lane: str, member: Member, at: int) -> None:
        self._lanes.setdefault(lane, {})[member] = at

    def leave_lane(self, lane: str, member: Member) -> None:
        self._lanes.get(lane, {}).pop(member, None)

    def leave_lanes(self, run_id: str) -> None:
        for waiting in self._lanes.values():
            for member in [member for member in waiting if member[0] == run_id]:
                del waiting[member]

    def waiting(self, lane: str, *, start: int, limit: int) -> Sequence[tuple[Member, int]]:
        waiting = sorted(self._lanes.get(lane, {}).items(), key=lambda item: (item[1], item[0]))
        return waiting[start : start + limit]

    def count_waiting(self, lane: str) -> int:
        return len(self._lanes.get(lane, ()))

    def find_watch(self, lane: str) -> LaneWatch | None:
        return self._watches.get(lane)

    def save_watch(self, lane: str, watch: LaneWatch | None) -> None:
        if watch is None:
            self._watches.pop(lane, None)
        else:
            self._watches[lane] = watch

    def watches_until(self, moment: int) -> Sequence[tuple[str, LaneWatch]]:
        due = [(watch.due, lane) for lane, watch in self._watches.items() if watch.due is not None]
        return [(lane, self._watches[lane]) for at, lane in sorted(due) if at <= moment]

    def save_report(self, worker: str, holdings: str | None, *, ends_at: int) -> None:
        self._reports.pop(worker, None)
        if holdings is not None:
            self._reports[worker] = (ends_at, holdings)

    def reports(self, moment: int) -> Sequence[str]:
        return [holdings for ends_at, holdings in self._reports.values() if ends_at > moment]

    def find_reply(self, kind: type[T], owner: str, operation: str) -> T | None:
        return self._replies.get((owner, operation), (0, None))[1]

    def save_reply(self, owner: str, operation: str, reply: object, *, ends_at: int) -> None:
        self._replies[owner, operation] = (ends_at, reply)

    def forget_replies(self, moment: int) -> None:
        while self._replies and next(iter(self._replies.values()))[0] <= moment:  # oldest first
            del self._replies[next(iter(self._replies))]

    def newest_told(self) -> str | None:
        return self._told[-1].id if self._told else None

    def add_told(self, entry: ToldEntry, *, keep: int) -> None:
        self._told.append(entry)
        del self._told[:-keep]
        self.moved = True

    def told_after(self, id: str, *, limit: int) -> Sequence[ToldEntry]:
        first = bisect.bisect_right(self._told, place_of(id), key=lambda entry: place_of(entry.id))
        return self._told[first : first + limit]

    def find_told(self, id: str) -> ToldEntry | None:
        place = bisect.bisect_left(self._told, place_of(id), key=lambda entry: place_of(entry.id))
        found = self._told[place : place + 1]
        return found[0] if found and found[0].id == id else None

    def find_group(self, name: str) -> StreamGroup | None:
        return self._groups.get(name)

    def save_group(self, name: str, group: StreamGroup | None) -> None:
        self._groups.pop(name, None)
        if group is not None:
            self._groups[name] = group

    def groups(self) -> Sequence[str]:
        return list(self._groups)


class MemoryStorage(TransactionalStorage):
    """The port over plain dictionaries and one lock. Runs are kept as long as the storage itself."""

    name = "memory"

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, chance: Chance = SYSTEM_CHANCE) -> None:
        self._changed = threading.Condition()
        self._memory = Memory()
        self._told: list[tuple[str, Callable[[], None]]] = []
        super().__init__(clock=clock, chance=chance)

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        with self._changed:
            self._memory.moved = False
            try:
                yield self._memory
            finally:
                if self._memory.moved:  # a call that only reads wakes nobody
                    self._changed.notify_all()
                    self._tell()

    def is_one_with(self, other: Storage) -> bool:
        return self is other

    def separate(self) -> MemoryStorage:
        return self

    def resign(self, *, owner: str) -> None:
        """There is no other scheduler."""

    def close(self) -> None:
        """Nothing is open: the runs stay readable."""

    def await_events(self, partition: int, *, newest: str, timeout: float) -> bool:
        del partition
        with self._changed:
            return self._changed.wait_for(lambda: is_newer(self._memory.newest_told(), newest), timeout)

    def await_due(self, *, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.is_sooner(self._memory), timeout)

    def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._has_ended(run_id), timeout)

    def aio(self) -> AsyncStorage:
        return MemoryLoops(self, telling=self._telling)

    @contextmanager
    def _telling(self, run_id: str, tell: Callable[[], None]) -> Generator[None]:
        """For the block, ``tell`` is called when the run has ended: at once, or by the thread that ends it."""
        entry = (run_id, tell)
        with self._changed:
            if self._has_ended(run_id):
                tell()
            self._told.append(entry)
        try:
            yield
        finally:
            with self._changed:
                self._told = [other for other in self._told if other is not entry]

    def _tell(self) -> None:
        for run_id, tell in self._told:
            if self._has_ended(run_id):
                tell()

    def _has_ended(self, run_id: str) -> bool:
        record = self._memory.find_run(run_id)
        return record is None or record.state.status.final
