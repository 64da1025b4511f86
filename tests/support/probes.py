"""What sees more of our storages than the port shows, and changes it: for tests that look past the port."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from sql_storage import SqlStorage

from hephaestus_celery.core.execution.due_items import encode, parse
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.storage.memory import MemoryStorage
from hephaestus_celery.storage.redis.store import RedisStorage
from hephaestus_celery.storage.transactional.store import TransactionalStorage


class OurProbe:
    """Looks into whichever of our storages it is given; see ``Probe``."""

    def __getattr__(self, name: str) -> Any:
        def look(storage: Any, *args: Any) -> Any:
            [probe] = [probe for kind, probe in PROBES.items() if isinstance(storage, kind)]
            return getattr(probe, name)(storage, *args)

        return look


class TransactionalProbe:
    """Looks through the transactions of a storage."""

    def set_due(self, storage: TransactionalStorage, run_id: str, member: str, at: int) -> None:
        with storage.transaction() as transaction:
            transaction.set_due(run_id, parse(member), at)

    def lose_due(self, storage: TransactionalStorage, run_id: str, member: str) -> None:
        with storage.transaction() as transaction:
            assert transaction.clear_due(run_id, parse(member))

    def set_origin(self, storage: TransactionalStorage, run_id: str, step: str, origin: str) -> None:
        with storage.transaction() as transaction:
            record = transaction.find_run(run_id)
            repeated = dataclasses.replace(record.state.steps[step], origin=origin)
            record.state = record.state.with_step(Activation.parse(step), repeated)
            transaction.save_run(record)

    def schema(self, storage: TransactionalStorage, run_id: str) -> int:
        with storage.transaction() as transaction:
            return transaction.find_run(run_id).schema

    def add_event_keys(self, storage: TransactionalStorage, run_id: str, keys: Sequence[str]) -> None:
        with storage.transaction() as transaction:
            record = transaction.find_run(run_id)
            record.state = dataclasses.replace(record.state, keys=frozenset(keys))
            transaction.save_run(record)


class MemoryProbe(TransactionalProbe):
    """The same of memory."""

    def due(self, storage: MemoryStorage, run_id: str) -> dict[str, int]:
        return {encode(item): at for (owner, item), at in storage._memory.due.items() if owner == run_id}

    def lanes(self, storage: MemoryStorage, run_id: str) -> dict[str, str]:
        lanes = storage._memory._lanes.items()
        return {step: lane for lane, waiting in lanes for owner, step in waiting if owner == run_id}

    def set_started_at(self, storage: MemoryStorage, run_id: str, at: int) -> None:
        record = storage._memory.runs[run_id]
        storage._memory._order.remove((record.started_at, run_id))
        record.started_at = at
        storage._memory._order.append((at, run_id))
        storage._memory._order.sort()


class SqlProbe(TransactionalProbe):
    """The same of SQL."""

    def due(self, storage: SqlStorage, run_id: str) -> dict[str, int]:
        with storage.transaction() as transaction:
            return dict(transaction._all("select member, at from due where run_id = ?", run_id))

    def lanes(self, storage: SqlStorage, run_id: str) -> dict[str, str]:
        with storage.transaction() as transaction:
            return dict(transaction._all("select step, lane from messages where run_id = ?", run_id))

    def set_started_at(self, storage: SqlStorage, run_id: str, at: int) -> None:
        with storage.transaction() as transaction:
            record = transaction.find_run(run_id)
            record.started_at = at
            transaction.save_run(record)
            transaction._all("update runs set started_at = ? where run_id = ?", at, run_id)


class RedisProbe:
    """Looks at the keys of a server."""

    def due(self, storage: RedisStorage, run_id: str) -> dict[str, int]:
        entries = storage._client.zrange(storage.keys.of_run(run_id).names[3], 0, -1, withscores=True)
        parts = [(member.decode().partition("|"), int(score)) for member, score in entries]
        return {key: at for (owner, _, key), at in parts if owner == run_id and key and key[0] != "|"}

    def set_due(self, storage: RedisStorage, run_id: str, member: str, at: int) -> None:
        storage._client.zadd(storage.keys.of_run(run_id).names[3], {f"{run_id}|{member}": at})

    def lose_due(self, storage: RedisStorage, run_id: str, member: str) -> None:
        storage._client.zrem(storage.keys.of_run(run_id).names[3], f"{run_id}|{member}")

    def lanes(self, storage: RedisStorage, run_id: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for key in storage._client.scan_iter(f"{storage.keys.of_run(run_id).prefix}lane:*", count=1000):
            for member in storage._client.zrange(key, 0, -1):
                owner, _, step = member.decode().partition("|")
                if owner == run_id:
                    found[step] = key.decode().partition("lane:")[2]
        return found

    def set_started_at(self, storage: RedisStorage, run_id: str, at: int) -> None:
        prefix = storage.keys.of_run(run_id).prefix
        storage._client.hset(f"{prefix}run:{run_id}", "t0", at)
        indexes = list(storage._client.scan_iter(f"{prefix}index:*", count=10_000, _type="zset"))
        waits = [index for index in indexes if index.startswith(f"{prefix}index:wait".encode())]
        entries = [
            [entry for entry in storage._client.zrange(index, 0, -1) if entry.startswith(f"{run_id}|".encode())]
            for index in waits
        ]
        with storage._client.pipeline() as pipeline:
            for index in indexes:
                pipeline.zadd(index, {run_id: at}, xx=True)
            for index, found in zip(waits, entries, strict=True):
                pipeline.zadd(index, dict.fromkeys([run_id, *found], at), xx=True)
            pipeline.execute()

    def set_origin(self, storage: RedisStorage, run_id: str, step: str, origin: str) -> None:
        run = storage.keys.of_run(run_id).run
        state = json.loads(storage._client.hget(run, f"s:{step}"))
        storage._client.hset(run, f"s:{step}", json.dumps({**state, "v": origin}))

    def schema(self, storage: RedisStorage, run_id: str) -> int:
        return int(storage._client.hget(storage.keys.of_run(run_id).run, "schema"))

    def add_event_keys(self, storage: RedisStorage, run_id: str, keys: Sequence[str]) -> None:
        storage._client.sadd(f"{storage.keys.of_run(run_id).prefix}taken:{run_id}", *keys)


PROBES: dict[type, Any] = {MemoryStorage: MemoryProbe(), SqlStorage: SqlProbe(), RedisStorage: RedisProbe()}
