"""Deletions of runs in Redis, and cancellations of many. Coroutines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.exceptions import StorageError
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.framing import named, reading
from hephaestus_celery.storage.redis.parameters import as_parameters, retention_of, stream_of
from hephaestus_celery.storage.redis.pipelines import RunCall, call_each
from hephaestus_celery.storage.redis.replies import read_cancellation
from hephaestus_celery.storage.redis.stored_runs import read_run
from hephaestus_celery.storage.resume_and_cancel import Cancellation
from hephaestus_celery.storage.schema import SCHEMA


class Deletions:
    """Deletes runs of one storage, and cancels many of them; see ``Storage``."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def delete_many(self, run_ids: Sequence[str], *, operation: str) -> Sequence[Untouched | None]:
        """Delete ended runs: one round trip for a hundred, and a few more for each large one."""
        asked = [
            RunCall(run_id=run_id, parameters=as_parameters(run_id=run_id, op=operation, schema=SCHEMA))
            for run_id in run_ids
        ]
        replies = await call_each(self._calls, "delete", asked)
        return [await self._finished(call, reply) for call, reply in zip(asked, replies, strict=True)]

    async def cancel_many(
        self, run_ids: Sequence[str], *, operation: str, reason: str | None, entry: str, durations: Durations
    ) -> Sequence[Cancellation | Untouched]:
        """End runs: one round trip for a hundred."""
        text = "" if reason is None else json.dumps(reason)
        asked = [
            RunCall(
                run_id=run_id,
                parameters=as_parameters(
                    run_id=run_id,
                    op=operation,
                    schema=SCHEMA,
                    retention=retention_of(durations),
                    stream=stream_of(durations),
                    brief=True,
                ),
                data=(entry, text),
            )
            for run_id in run_ids
        ]
        replies = await call_each(self._calls, "cancel", asked)
        return [_cancelled(run_id, reply) for run_id, reply in zip(run_ids, replies, strict=True)]

    async def _finished(self, call: RunCall, reply: Any) -> Untouched | None:
        while True:
            found = _read(reply)
            if "held" in found:
                await self._release(found["held"].decode(), call.run_id)
            if found["verdict"] != b"more":
                return None if found["verdict"] == b"deleted" else _untouched(found)
            reply = await self._calls.of_run("delete", call.run_id, call.parameters)

    async def _release(self, source: str, copy: str) -> None:
        with suppress(StorageError):  # then the mark ends by itself
            parameters = as_parameters(run_id=source, copy=copy, reads=SCHEMA, release=True)
            await self._calls.of_run("hold", source, parameters)


def _read(reply: Any) -> dict[str, bytes]:
    if isinstance(reply, Exception):
        raise reply
    return named(reply)


def _cancelled(run_id: str, reply: Any) -> Cancellation | Untouched:
    found = _read(reply)
    if found["verdict"] != b"applied":
        return _untouched(found)
    with reading(run_id):
        return read_cancellation(found, run=read_run(found["run"], start=found["start"], run_id=run_id))


def _untouched(found: dict[str, bytes]) -> Untouched:
    if "schema" in found:
        return Untouched(schema=int(found["schema"]))
    return Untouched(
        status=Status(found["status"].decode()) if "status" in found else None,
        copied_by=found["copy"].decode() if "copy" in found else None,
    )
