"""A store over SQL, in one file of SQLite: shows that a store of transactions can be any database that has them."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hephaestus_celery.core.execution.due_items import DueItem, parse
from hephaestus_celery.core.execution.due_items import encode as as_text
from hephaestus_celery.core.execution.joins import Arrivals
from hephaestus_celery.core.execution.lane_watch import LaneWatch
from hephaestus_celery.core.execution.stream_groups import StreamGroup, place_of
from hephaestus_celery.core.execution.uniqueness import Claimant
from hephaestus_celery.core.values.pause import PauseMark
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import StoredEntry
from hephaestus_celery.storage.transactional.documents import decode, encode
from hephaestus_celery.storage.transactional.event_stream import is_newer
from hephaestus_celery.storage.transactional.record import Record
from hephaestus_celery.storage.transactional.store import TransactionalStorage
from hephaestus_celery.storage.transactional.transaction import Member, ToldEntry, Transaction

T = TypeVar("T")
TABLES = """
create table if not exists runs (
  run_id text primary key, instance_id text, scope text, family text, version integer, started_at integer,
  active integer, record text
);
create index if not exists runs_by_id on runs (instance_id);
create index if not exists runs_by_start on runs (started_at, run_id);
create table if not exists parts (run_id text, part text, name, text text, primary key (run_id, part, name));
create table if not exists due (run_id text, member text, at integer, primary key (run_id, member));
create index if not exists due_by_time on due (at);
create table if not exists messages (lane text, run_id text, step text, at integer, primary key (lane, run_id, step));
create index if not exists messages_by_time on messages (lane, at, run_id, step);
create table if not exists watches (lane text primary key, due integer, watch text);
create table if not exists pauses (family text primary key, pause text);
create table if not exists reports (worker text primary key, ends_at integer, holdings text);
create table if not exists told (number integer primary key, id text, told text, detail text);
create table if not exists groups (name text primary key, stream_group text);
create table if not exists replies (
  owner text, operation text, ends_at integer, reply text, primary key (owner, operation)
);
"""
PAUSE = 0.005
"""Seconds between two looks at what others may have changed: SQLite tells nobody."""


KINDS = {
    "steps": StepState,
    "arrivals": Arrivals,
    "configs": tuple[int, str],
    "results": None,
    "metadata": None,
    "history": StoredEntry,
    "rounds": StoredEntry,
}
"""What a run has of each step or number, and what it is; None: a text already."""


Parts = dict[str, dict[Any, Any]]
"""What there is of a run in the table ``parts``, each value as it was read or written last."""


class SqlTransaction:
    """One transaction over a connection.

    A run is a row and its parts: what there is of each step, and each line of the history, is written when it changes.
    """

    def __init__(self, connection: sqlite3.Connection, kept: dict[str, Parts]) -> None:
        self._connection, self._kept = connection, kept

    def _all(self, command: str, *values: Any) -> list[Any]:
        return self._connection.execute(command, values).fetchall()

    def _one(self, command: str, *values: Any) -> Any:
        """The only value of a row; None where there is no such row."""
        row = self._connection.execute(command, values).fetchone()
        return None if row is None else row[0]

    def find_run(self, run_id: str) -> Record | None:
        text = self._one("select record from runs where run_id = ?", run_id)
        return None if text is None else self._whole(run_id, text)

    def _whole(self, run_id: str, text: str) -> Record:
        if run_id not in self._kept:
            self._kept[run_id] = self._parts(run_id)
        found = {part: dict(values) for part, values in self._kept[run_id].items()}
        record = decode(Record, text)
        state = replace(record.state, steps=found.pop("steps"), arrivals=found.pop("arrivals"))
        return replace(record, state=state, history=list(found.pop("history").values()), **found)

    def _parts(self, run_id: str) -> Parts:
        found: Parts = {part: {} for part in KINDS}
        for part, name, text in self._all("select part, name, text from parts where run_id = ? order by rowid", run_id):
            kind = KINDS[part]
            found[part][name] = text if kind is None else decode(kind, text)
        return found

    def add_run(self, record: Record) -> None:
        new = record.new
        self._all(
            "insert into runs values (?, ?, ?, ?, ?, ?, 1, '')",
            *(new.run_id, new.instance_id, new.scope, new.family, new.version, record.started_at),
        )

    def save_run(self, record: Record) -> None:
        run_id = record.new.run_id
        kept = self._kept.setdefault(run_id, {part: {} for part in KINDS})
        parts: dict[str, Mapping[Any, Any]] = {
            "steps": record.state.steps,
            "arrivals": record.state.arrivals,
            "history": dict(enumerate(record.history)),
            **{part: getattr(record, part) for part in ("configs", "results", "metadata", "rounds")},
        }
        for part, values in parts.items():
            kind, held = KINDS[part], kept[part]
            changed = {name: value for name, value in values.items() if value is not held.get(name)}
            held.update(changed)
            for name, value in changed.items():
                self._all(
                    "insert into parts values (?, ?, ?, ?) on conflict do update set text = excluded.text",
                    *(run_id, part, name, value if kind is None else encode(kind, value)),
                )
        state = replace(record.state, steps={}, arrivals={})
        rest = replace(record, state=state, history=[], configs={}, results={}, metadata={}, rounds={})
        self._all(
            "update runs set record = ?, active = ? where run_id = ?",
            *(encode(Record, rest), not record.state.status.final, run_id),
        )

    def delete_run(self, record: Record) -> None:
        for table in ("runs", "parts"):
            self._all(f"delete from {table} where run_id = ?", record.new.run_id)
        self._kept.pop(record.new.run_id, None)

    def runs_of(self, instance_id: str, *, active: bool) -> Sequence[Claimant]:
        rows = self._all(
            "select run_id, scope, family, version from runs where instance_id = ? and active >= ? order by rowid",
            *(instance_id, active),
        )
        return [
            Claimant(run_id=run, scope=scope, family=family, version=version) for run, scope, family, version in rows
        ]

    def runs_before(self, position: tuple[int, str] | None) -> Iterator[Record]:
        after, values = ("where (started_at, run_id) < (?, ?)", position) if position else ("", ())
        rows = self._connection.execute(
            f"select run_id, record from runs {after} order by started_at desc, run_id desc", values
        )
        return (self._whole(run_id, text) for run_id, text in rows)

    def pauses(self) -> Mapping[str, PauseMark]:
        return {family: decode(PauseMark, text) for family, text in self._all("select family, pause from pauses")}

    def save_pause(self, family: str, pause: PauseMark | None) -> None:
        if pause is None:
            self._all("delete from pauses where family = ?", family)
        else:
            self._all("insert or replace into pauses values (?, ?)", family, encode(PauseMark, pause))

    def due_at(self, run_id: str, item: DueItem) -> int | None:
        return self._one("select at from due where (run_id, member) = (?, ?)", run_id, as_text(item))

    def set_due(self, run_id: str, item: DueItem, at: int) -> None:
        self._all("insert or replace into due values (?, ?, ?)", run_id, as_text(item), at)

    def clear_due(self, run_id: str, item: DueItem) -> bool:
        return bool(self._all("delete from due where (run_id, member) = (?, ?) returning 1", run_id, as_text(item)))

    def clear_all_due(self, run_id: str) -> None:
        self._all("delete from due where run_id = ?", run_id)

    def due_until(self, moment: int) -> Sequence[tuple[str, DueItem, int]]:
        rows = self._all("select run_id, member, at from due where at <= ? order by at, run_id, member", moment)
        return [(run_id, parse(member), at) for run_id, member, at in rows]

    def soonest_due(self) -> int | None:
        return self._one("select min(at) from (select at from due union all select due from watches)")

    def enter_lane(self, lane: str, member: Member, at: int) -> None:
        self._all("insert or replace into messages values (?, ?, ?, ?)", lane, *member, at)

    def leave_lane(self, lane: str, member: Member) -> None:
        self._all("delete from messages where (lane, run_id, step) = (?, ?, ?)", lane, *member)

    def leave_lanes(self, run_id: str) -> None:
        self._all("delete from messages where run_id = ?", run_id)

    def waiting(self, lane: str, *, start: int, limit: int) -> Sequence[tuple[Member, int]]:
        rows = self._all(
            "select run_id, step, at from messages where lane = ? order by at, run_id, step limit ? offset ?",
            *(lane, limit, start),
        )
        return [((run_id, step), at) for run_id, step, at in rows]

    def count_waiting(self, lane: str) -> int:
        return self._one("select count(*) from messages where lane = ?", lane)

    def find_watch(self, lane: str) -> LaneWatch | None:
        text = self._one("select watch from watches where lane = ?", lane)
        return None if text is None else decode(LaneWatch, text)

    def save_watch(self, lane: str, watch: LaneWatch | None) -> None:
        if watch is None:
            self._all("delete from watches where lane = ?", lane)
        else:
            self._all("insert or replace into watches values (?, ?, ?)", lane, watch.due, encode(LaneWatch, watch))

    def watches_until(self, moment: int) -> Sequence[tuple[str, LaneWatch]]:
        rows = self._all("select lane, watch from watches where due <= ? order by due, lane", moment)
        return [(lane, decode(LaneWatch, text)) for lane, text in rows]

    def save_report(self, worker: str, holdings: str | None, *, ends_at: int) -> None:
        self._all("delete from reports where worker = ?", worker)
        if holdings is not None:
            self._all("insert into reports values (?, ?, ?)", worker, ends_at, holdings)

    def reports(self, moment: int) -> Sequence[str]:
        return [holdings for (holdings,) in self._all("select holdings from reports where ends_at > ?", moment)]

    def find_reply(self, kind: type[T], owner: str, operation: str) -> T | None:
        text = self._one("select reply from replies where (owner, operation) = (?, ?)", owner, operation)
        return None if text is None else decode(kind, text)

    def save_reply(self, owner: str, operation: str, reply: object, *, ends_at: int) -> None:
        text = encode(type(reply), reply)
        self._all("insert or replace into replies values (?, ?, ?, ?)", owner, operation, ends_at, text)

    def forget_replies(self, moment: int) -> None:
        self._all("delete from replies where ends_at <= ?", moment)

    def newest_told(self) -> str | None:
        return self._one("select id from told order by number desc limit 1")

    def add_told(self, entry: ToldEntry, *, keep: int) -> None:
        self._all("insert into told values (?, ?, ?, ?)", place_of(entry.id)[1], entry.id, entry.told, entry.detail)
        self._all(
            "delete from told where number <= (select number from told order by number desc limit 1 offset ?)", keep
        )

    def told_after(self, id: str, *, limit: int) -> Sequence[ToldEntry]:
        rows = self._all(
            "select id, told, detail from told where number > ? order by number limit ?", place_of(id)[1], limit
        )
        return [ToldEntry(id=place, told=told, detail=detail) for place, told, detail in rows]

    def find_told(self, id: str) -> ToldEntry | None:
        rows = self._all("select id, told, detail from told where id = ?", id)
        return next((ToldEntry(id=place, told=told, detail=detail) for place, told, detail in rows), None)

    def find_group(self, name: str) -> StreamGroup | None:
        text = self._one("select stream_group from groups where name = ?", name)
        return None if text is None else decode(StreamGroup, text)

    def save_group(self, name: str, group: StreamGroup | None) -> None:
        self._all("delete from groups where name = ?", name)
        if group is not None:
            self._all("insert into groups values (?, ?)", name, encode(StreamGroup, group))

    def groups(self) -> Sequence[str]:
        return [name for (name,) in self._all("select name from groups")]


class SqlStorage(TransactionalStorage):
    """Keeps runs in a file of SQLite, which any number of processes may share."""

    name = "sql"

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__(**settings)
        self._path, self._settings = path, settings
        self._lock = threading.RLock()
        self._opened: tuple[int, sqlite3.Connection] | None = None
        self._kept: dict[str, Parts] = {}
        self._version: int | None = None

    def connection(self) -> sqlite3.Connection:
        """The connection of this process, opened when it is first used, and anew in a forked one."""
        if self._opened is None or self._opened[0] != os.getpid():
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
            connection.executescript(f"pragma journal_mode = wal; pragma synchronous = off; {TABLES}")
            self._opened, self._version = (os.getpid(), connection), None
        return self._opened[1]

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        with self._lock:
            connection = self.connection()
            connection.execute("begin immediate")
            [version] = connection.execute("pragma data_version").fetchone()
            if version != self._version:  # another connection has changed something
                self._kept, self._version = {}, version
            try:
                yield SqlTransaction(connection, self._kept)
            except BaseException:
                self._kept = {}
                connection.execute("rollback")
                raise
            connection.execute("commit")

    def is_one_with(self, other: Storage) -> bool:
        return isinstance(other, SqlStorage) and self._path == other._path

    def separate(self) -> SqlStorage:
        return SqlStorage(self._path, **self._settings)

    def resign(self, *, owner: str) -> None:
        """Schedulers need no lock here: each entry that comes due is given to one of them."""

    def close(self) -> None:
        with self._lock:
            if self._opened is not None and self._opened[0] == os.getpid():
                self._opened[1].close()
            self._opened = None

    def await_events(self, partition: int, *, newest: str, timeout: float) -> bool:
        return self._poll(lambda transaction: is_newer(transaction.newest_told(), newest), timeout)

    def await_due(self, *, timeout: float) -> bool:
        return self._poll(self.is_sooner, timeout)

    def wait_finished(self, run_id: str, *, timeout: float | None) -> bool:
        def finished(transaction: Transaction) -> bool:
            record = transaction.find_run(run_id)
            return record is None or record.state.status.final

        return self._poll(finished, timeout)

    def _poll(self, condition: Any, timeout: float | None) -> bool:
        end = None if timeout is None else self._clock.monotonic_ns() + timeout * 1e9
        while True:
            with self.transaction() as transaction:
                if condition(transaction):
                    return True
            if end is not None and self._clock.monotonic_ns() >= end:
                return False
            self._clock.sleep(PAUSE)
