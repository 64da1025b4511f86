"""The event stream in a transaction: what commits tell, and what the consumers of groups are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hephaestus_celery.core.execution import stream_groups as rules
from hephaestus_celery.core.execution.stream_groups import NOTHING_READ, StreamGroup, place_of
from hephaestus_celery.core.execution.telling import Telling
from hephaestus_celery.storage.event_stream import UNUSED, Reading, StreamEntry, Told, read_told, write_told
from hephaestus_celery.storage.transactional.record import Record
from hephaestus_celery.storage.transactional.transaction import ToldEntry, Transaction


def tell(transaction: Transaction, record: Record, telling: Telling | None, *, stream: int) -> None:
    """Append what was told of a run, and drop the oldest beyond ``stream`` entries; nothing where that is 0."""
    if not stream or telling is None:
        return
    last = transaction.newest_told()
    place = rules.following(last or NOTHING_READ, at=telling.at, count=telling.count)
    new = record.new
    told = Told(
        run_id=new.run_id,
        instance_id=new.instance_id,
        workflow=new.name,
        version=new.version,
        telling=telling,
    )
    transaction.add_told(ToldEntry(id=place, told=write_told(told), detail=telling.detail), keep=stream)


def read_in(transaction: Transaction, *, group: str, consumer: str, limit: int, after: str | None, now: int) -> Reading:
    """New entries for a consumer, or its own behind ``after``."""
    found = _group(transaction, group, now)
    _forget_unused(transaction, now)
    if after is not None:
        ids = rules.own_after(found, after, consumer=consumer, limit=limit)
        return _handed(transaction, group, found, ids, consumer=consumer, now=now)
    entries = transaction.told_after(found.read, limit=limit)
    count = _count(entries[0]) if entries else 0
    ids = [entry.id for entry in entries]
    return _given(transaction, group, rules.read_on(found, ids, first_count=count, consumer=consumer, now=now), ids)


def take_over_in(transaction: Transaction, *, group: str, consumer: str, limit: int, idle: int, now: int) -> Reading:
    """Entries that nobody has acknowledged for ``idle`` microseconds."""
    found = _group(transaction, group, now)
    ids = rules.idle_from(found, since=now - idle, limit=limit)
    return _handed(transaction, group, found, ids, consumer=consumer, now=now)


def browse_in(transaction: Transaction, *, after: str | None, limit: int) -> Reading:
    """Entries behind ``after``, for nobody."""
    entries = transaction.told_after(after or NOTHING_READ, limit=limit)
    return Reading(
        entries=[_entry(entry.id, entry) for entry in entries],
        newest=transaction.newest_told() or NOTHING_READ,
    )


def acknowledge_in(transaction: Transaction, *, group: str, ids: Sequence[str]) -> None:
    """These entries are done with."""
    found = transaction.find_group(group)
    if found is not None:
        transaction.save_group(group, rules.acknowledge(found, ids))


def acknowledge_in_part_in(transaction: Transaction, *, group: str, id: str, places: Sequence[int]) -> None:
    """These events of an entry are done with."""
    found = transaction.find_group(group)
    if found is not None:
        transaction.save_group(group, rules.acknowledge_in_part(found, id, places))


def _group(transaction: Transaction, name: str, now: int) -> StreamGroup:
    found = transaction.find_group(name)
    if found is not None:
        return found if found.used_at == now else _used(found, now)
    oldest = transaction.told_after(NOTHING_READ, limit=1)
    read = rules.before(oldest[0].id, count=_count(oldest[0])) if oldest else NOTHING_READ
    return StreamGroup(read=read, used_at=now)


def _used(group: StreamGroup, now: int) -> StreamGroup:
    return replace(group, used_at=now)


def _forget_unused(transaction: Transaction, now: int) -> None:
    for name in transaction.groups():
        found = transaction.find_group(name)
        if found is not None and now - found.used_at > UNUSED:
            transaction.save_group(name, None)


def _handed(
    transaction: Transaction, name: str, group: StreamGroup, ids: Sequence[str], *, consumer: str, now: int
) -> Reading:
    return _given(transaction, name, rules.hand(group, ids, consumer=consumer, now=now), ids)


def _given(transaction: Transaction, name: str, group: StreamGroup, ids: Sequence[str]) -> Reading:
    transaction.save_group(name, group)
    return Reading(
        entries=[_entry(place, transaction.find_told(place), group) for place in ids],
        newest=transaction.newest_told() or NOTHING_READ,
    )


def _entry(id: str, entry: ToldEntry | None, group: StreamGroup | None = None) -> StreamEntry:
    told = None if entry is None else read_told(entry.told, entry.detail)
    if group is None:
        return StreamEntry(id=id, told=told)
    return StreamEntry(
        id=id,
        told=told,
        read_before=group.gaps.get(id),
        acknowledged=frozenset(group.acknowledged.get(id, ())),
    )


def _count(entry: ToldEntry) -> int:
    return read_told(entry.told, entry.detail).telling.count


def is_newer(newest: str | None, known: str) -> bool:
    """Whether something was told after the entry ``known``."""
    return newest is not None and place_of(newest) > place_of(known)
