"""Pipelines: a script about many runs, once for each, several in one round trip. Coroutines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from hephaestus_celery.exceptions import DataError, StorageError
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.errors import was_not_made
from hephaestus_celery.storage.redis.scripts import fitting

_MOST = 100  # calls in one round trip
_MOST_BYTES = 524_288  # of arguments in one round trip, if there is more than one call


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCall:
    """A call of a script about one run: its parameters, its data, and the lists of a broker that it may push to."""

    run_id: str
    parameters: str
    data: Sequence[str] = ()
    lists: Sequence[str] = ()

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return len(self.parameters) + sum(map(len, self.data))


async def call_each(calls: AsyncCalls, script: str, asked: Sequence[RunCall]) -> list[Any]:
    """Call a script for each of some runs; gives each reply, or the error of a call that was refused by itself.

    Raises ``StorageError`` if a round trip has failed. Each call names its operation, so all of them may be repeated.
    """
    replies: list[Any] = []
    for batch in _batches(asked):
        replies.extend(await _call_batch(calls, script, batch))
    return replies


async def try_each(calls: AsyncCalls, script: str, asked: Sequence[RunCall]) -> list[Any]:
    """The same, but nothing is raised: the calls of a round trip that has failed give its error, and so do all after it.

    The error of a call that was surely not made has ``stored`` False.
    """
    replies: list[Any] = []
    for batch in _batches(asked):
        try:
            replies.extend(await _call_batch(calls, script, batch))
        except StorageError as error:
            if was_not_made(error):
                error.stored = False
            left = StorageError(*error.args, stored=False, transient=error.transient)
            replies.extend([error] * len(batch))
            replies.extend([left] * (len(asked) - len(replies)))
            return replies
    return replies


def _batches(asked: Sequence[RunCall]) -> list[list[RunCall]]:
    batches: list[list[RunCall]] = []
    size = 0
    for call in asked:
        if not batches or len(batches[-1]) == _MOST or size + call.size > _MOST_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(call)
        size += call.size
    return batches


async def _call_batch(calls: AsyncCalls, script: str, batch: Sequence[RunCall]) -> list[Any]:
    commands: list[list[str | int]] = []
    stamps: dict[str, str] = {}  # what is known of the time, once for a partition
    for call in batch:
        keys = calls.keys.of_run(call.run_id)
        if keys.prefix not in stamps:
            stamps[keys.prefix] = await calls.stamped(script, keys.prefix, "{}")
        stamp = stamps[keys.prefix]
        parameters = call.parameters if stamp == "{}" else f"{call.parameters[:-1]},{stamp[1:]}"
        commands.append(
            calls.scripts.command(script, [*keys.names, *call.lists], [keys.prefix, parameters, *call.data])
        )
    try:
        replies = await calls.commands(commands, fits=fitting(script, None))
    except (StorageError, DataError) as error:
        if isinstance(error, StorageError) and not isinstance(error.__cause__, ResponseError):
            raise
        # One of the calls was refused, and the others may have been carried out: each is asked again, by its operation.
        # So are all if the server has forgotten the script.
        return [await _call_alone(calls, script, call) for call in batch]
    return [
        await _call_alone(calls, script, call) if reply == b"late" else reply
        for call, reply in zip(batch, replies, strict=True)
    ]


async def _call_alone(calls: AsyncCalls, script: str, call: RunCall) -> Any:
    try:
        return await calls.of_run(script, call.run_id, call.parameters, *call.data, lists=call.lists)
    except DataError as error:
        return error
    except StorageError as error:
        if error.transient:
            raise
        if was_not_made(error):
            error.stored = False
        return error
