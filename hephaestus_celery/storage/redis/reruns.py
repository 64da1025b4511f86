"""Retries and forks in Redis: the new run is made by one script, and what is too large for it is copied in slices.

The rows of a copy say what is copied, and which steps start in the end: see ``lua/parts/copying.lua``. Very many are staged
before the new run is made, as the edges of a wide step are. If both runs are in one partition, the server copies; else the
values are read and passed on here, and the earlier run is held first, so that it stays. All are coroutines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from redis.exceptions import RedisError

from hephaestus_celery.clock import Chance
from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.reruns import Obstacle
from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.exceptions import InstanceNotFoundError, StorageError
from hephaestus_celery.storage.durations import Durations
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.errors import was_not_done
from hephaestus_celery.storage.redis.framing import reading
from hephaestus_celery.storage.redis.parameters import as_parameters, places, retention_of, stream_of, whole
from hephaestus_celery.storage.redis.reads import Reads
from hephaestus_celery.storage.redis.scripts import is_texts, is_values
from hephaestus_celery.storage.redis.wide_steps import STAGED
from hephaestus_celery.storage.reruns import LOST, Copied, Rerun, half_copied, refused
from hephaestus_celery.storage.schema import SCHEMA, written_by_newer
from hephaestus_celery.storage.starts import FirstStep, already_running

AT_ONCE = 150
"""The most rows that the script takes which makes the new run; more are staged."""
SLICES = 20
"""The most slices that a scheduler copies before it looks at what else is due."""

FULL = 65536
"""What a taken edge adds to the count of a join, see ``lua/parts/joins.lua``."""

_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_READ = 65_536  # bytes of values that one slice reads in another partition, and one value
_KEYS = 50  # keys of events that one slice reads there


class Reruns:
    """Makes runs of earlier ones in one storage; see ``rerun`` and ``copy`` of ``Storage``."""

    def __init__(self, calls: AsyncCalls, reads: Reads, *, chance: Chance) -> None:
        self._calls, self._reads, self._chance = calls, reads, chance

    async def rerun(self, rerun: Rerun) -> Sequence[DispatchStep]:
        """Make the new run, and copy what it needs; if the run was certainly not made, the error says so."""
        try:
            made = await self._make(rerun)
        except StorageError as error:
            if not isinstance(error.__cause__, RedisError) or was_not_done(error.__cause__):
                error.stored = False
            raise
        run = rerun.run
        dispatches = [first.dispatch for first in run.firsts]
        if made == "posted":
            return ()
        if made == "ok":
            return dispatches
        sent: set[str] = set()
        with suppress(StorageError):  # the new run is made: a scheduler copies the rest
            sent = await self._go_on(rerun)
        return [dispatch for dispatch in dispatches if dispatch.activation.step not in sent]

    async def copy(self, run_id: str, *, durations: Durations) -> Copied:
        """Copy some slices, for a scheduler that takes over."""
        about = await self._about(run_id)
        if about is None or "lost" in about:
            return Copied()
        dispatches: list[DispatchStep] = []
        operation = self._chance.token()
        for number in range(SLICES):
            facts = await self._copy(run_id, about["source"], f"{operation}{number}", durations, at_once=True)
            dispatches.extend(DispatchStep(Activation(key), 1, 1) for key in _unsent(facts))
            if not facts.get("left"):
                return Copied(dispatches=dispatches, failed=facts["seq"] if facts.get("lost") else None)
        return Copied(dispatches=dispatches, more=True)

    async def _make(self, rerun: Rerun) -> str:
        run = rerun.run
        apart = self._is_apart(run.run_id, rerun.source)
        if apart:
            await self._hold(rerun)
        rows, staged = list(_rows(rerun)), self._chance.token()
        if len(rows) > AT_ONCE:
            await self._stage(run.run_id, staged, rows)
            rows = []
        lists, prepared, texts = _messages(run.firsts if rows else ())
        reply: list[bytes] = await self._calls.of_run(
            "rerun",
            run.run_id,
            as_parameters(
                run_id=run.run_id,
                source=rerun.source,
                retry=rerun.retry or None,
                apart=apart or None,
                id=run.instance_id,
                name=run.name,
                family=run.family,
                version=str(run.version),
                scope=run.scope,
                tags=list(run.tags),
                schema=run.schema,
                reads=SCHEMA,
                headers=run.message_headers,
                deadline=run.deadline,
                left=rerun.left,
                active=len(run.firsts),
                rows=len(rows),
                staged=staged,
                prepared=prepared or None,
                dispatch_timeout=run.durations.dispatch_timeout,
                stream=stream_of(run.durations),
            ),
            run.header,
            await self._reads.initial(rerun.source) if apart and not run.initial else run.initial,
            rerun.entry,
            *rows,
            *texts,
            lists=lists,
        )
        verdict, *about = (part.decode() for part in reply)
        if verdict not in ("ok", "posted", "copying"):
            if apart:
                await self._release(rerun.source, run.run_id)
            _refuse(verdict, about, rerun)
        return verdict

    async def _go_on(self, rerun: Rerun) -> set[str]:
        # Copies slice after slice; gives the steps whose messages the store has sent.
        run, started = rerun.run, 0
        sent: set[str] = set()
        for number in count():
            few = run.firsts[started : started + AT_ONCE]
            facts = await self._copy(run.run_id, rerun.source, f"{run.operation}{number}", run.durations, firsts=few)
            activated: Sequence[str] = facts.get("activated") or ()
            sent.update(set(activated) - set(_unsent(facts)))
            started += len(activated)
            if not facts.get("left"):
                break
        return sent

    async def _copy(
        self,
        run_id: str,
        source: str,
        operation: str,
        durations: Durations,
        *,
        at_once: bool = False,
        firsts: Sequence[FirstStep] = (),
    ) -> Mapping[str, Any]:
        apart = self._is_apart(run_id, source)
        values = await self._read_apart(run_id, source) if apart else _NONE
        if values is None:
            return {}
        lists, prepared, texts = _messages(firsts)
        reply: list[bytes] = await self._calls.of_run(
            "copy",
            run_id,
            as_parameters(
                run_id=run_id,
                source=source,
                op=operation,
                lost=LOST % source,
                entry=encode_entry(kind="fork", reason="the earlier run is gone", other_run=source),
                at_once=at_once or None,
                given=len(values.texts) if apart else None,
                taken=values.rows,
                number=values.number,
                gone=values.gone or None,
                prepared=prepared or None,
                dispatch_timeout=durations.dispatch_timeout,
                retention=retention_of(durations),
                stream=stream_of(durations),
            ),
            *values.texts,
            *texts,
            lists=lists,
        )
        with reading(run_id):
            facts: Mapping[str, Any] = json.loads(reply[0])
        if facts.get("v") == "moved":
            return {"left": 1}
        if apart and facts.get("v") is None and not facts.get("left"):
            await self._release(source, run_id)
        return facts

    def _is_apart(self, run_id: str, source: str) -> bool:
        keys = self._calls.keys
        return keys.of_run(run_id).prefix != keys.of_run(source).prefix

    async def _about(self, run_id: str) -> Mapping[str, Any] | None:
        [text] = await self._calls.command("HMGET", self._calls.keys.of_run(run_id).run, "cp", fits=is_values)
        with reading(run_id):
            return None if text is None else json.loads(text)

    async def _read_apart(self, run_id: str, source: str) -> _Values | None:
        # The values that the next rows ask for, from the partition of the earlier run; None if nothing is left to copy.
        about = await self._about(run_id)
        if about is None or "lost" in about:
            return None
        keys = self._calls.keys.of_run(run_id)
        rows = await self._calls.command("LRANGE", keys.staged(about["id"]), 0, AT_ONCE - 1, fits=is_texts)
        texts: list[str] = []
        taken, gone = 0, False
        for row in [about.get("head", rows[0].decode()), *map(bytes.decode, rows[1:])] if rows else ():
            if sum(map(len, texts)) >= _READ:
                break
            taken += 1
            if row[0] == "t":
                texts.append(await self._page_of_keys(source, row[1:]))
                break
            if asked := _asked(row):
                run = self._calls.keys.of_run(source).run
                status, *found = await self._calls.command("HMGET", run, "st", *asked, fits=is_values)
                gone = gone or status is None
                texts.extend("" if value is None else value.decode() for value in found)
        return _Values(texts=texts, rows=max(1, taken), number=about["n"], gone=gone)

    async def _page_of_keys(self, source: str, cursor: str) -> str:
        keys = self._calls.keys.of_run(source)
        following, page = await self._calls.command(
            "HSCAN", keys.owners, cursor, "MATCH", "k*", "COUNT", _KEYS, fits=_is_scan
        )
        found = [(key.decode()[1:], owner.decode()) for key, owner in zip(page[::2], page[1::2], strict=True)]
        if any(owner.startswith("#") for _, owner in found):  # a fork leaves early events behind, and their keys
            fields: list[bytes] = await self._calls.command("HKEYS", keys.early, fits=is_texts)
            early = {f"#{field.decode().partition('|')[0]}" for field in fields}
            found = [each for each in found if each[1] not in early]
        return _JSON({"cursor": following.decode(), "keys": found})

    async def _hold(self, rerun: Rerun) -> None:
        reply = await self._calls.of_run(
            "hold",
            rerun.source,
            as_parameters(run_id=rerun.source, copy=rerun.run.run_id, reads=SCHEMA, left=rerun.left),
        )
        verdict, *about = (part.decode() for part in reply)
        if verdict != "held":
            _refuse(verdict, about, rerun)

    async def _release(self, source: str, copy: str) -> None:
        with suppress(StorageError):  # then the mark ends by itself
            await self._calls.of_run(
                "hold", source, as_parameters(run_id=source, copy=copy, reads=SCHEMA, release=True)
            )

    async def _stage(self, run_id: str, name: str, rows: Sequence[str]) -> None:
        for position in range(0, len(rows), STAGED):
            some = rows[position : position + STAGED]
            parameters = as_parameters(run_id=run_id, id=name, position=position, edges=len(some))
            await self._calls.of_run("stage", run_id, parameters, *some)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Values:
    """Values that were read in another partition, for the first ``rows`` as they were after ``number`` slices."""

    texts: Sequence[str] = ()
    rows: int | None = None
    number: int | None = None
    gone: bool = False


_NONE = _Values()


def _rows(rerun: Rerun) -> Iterator[str]:
    """What is copied, and which steps start in the end."""
    for key, state in rerun.kept.items():
        yield f"k{key}|{_JSON(_kept(state))}"
    for key in rerun.skipped:
        yield f'=s:{key}|{{"s":"skipped","a":0}}'
    for key, counts in rerun.arrivals.items():
        yield f"=p:{key}|{counts.settled + FULL * counts.taken}"
    if rerun.shortfall is not None:
        yield f"=sf|{rerun.shortfall.text}"
    for key in rerun.given:
        yield f"c{key}"
    for key, (rank, config) in rerun.configs.items():
        yield f"=c:{key}|{rank}|{config}"
    yield from (f"a{first.step}" for first in rerun.run.firsts if first.round > 1)
    yield from _undo_rows(rerun)
    yield "t0"
    if rerun.retry:
        yield "e0"
    for first in rerun.run.firsts:
        later = [first.round] if first.round > 1 else []
        yield "!" + _JSON([first.step, whole(first.max_attempts), first.lane or "", first.origin or "", *later])


def _undo_rows(rerun: Rerun) -> Iterator[str]:
    for number, entry in enumerate(rerun.undo, 1):
        yield f"=u:{number}|{entry.text}"
    if rerun.run.compensates:
        yield f"=un|{len(rerun.undo)}"


def _kept(state: StepState) -> dict[str, object]:
    found = {
        "s": str(state.status),
        "a": state.attempt,
        "m": whole(state.max_attempts),
        "e": state.event,
        "o": state.order,
        "g": None if state.targets is None else list(state.targets),
        "v": state.origin,
        "ro": state.round if state.round > 1 else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _asked(row: str) -> Sequence[str]:
    """The fields of the earlier run that a row asks for."""
    if row[0] == "k":
        key = row[1:].partition("|")[0]
        return (f"r:{key}", f"m:{key}", f"c:{key}")
    return (f"{row[0]}:{row[1:]}",) if row[0] in "ca" else ()


def _messages(firsts: Sequence[FirstStep]) -> tuple[list[str], dict[str, list[int]], list[str]]:
    prepared = {first.step: first.prepared_message for first in firsts if first.prepared_message is not None}
    lists, numbers = places(prepared)
    return lists, numbers, [message.text for message in prepared.values()]


def _unsent(facts: Mapping[str, Any]) -> list[str]:
    activated: Sequence[str] = facts.get("activated") or ()
    posted: Any = facts.get("posted") or ()
    sent = activated if posted is True else posted
    return [key for key in activated if key not in set(sent)]


def _refuse(verdict: str, about: Sequence[str], rerun: Rerun) -> None:
    instance_id, source = rerun.run.instance_id, rerun.source
    match verdict:
        case "gone":
            raise InstanceNotFoundError(
                f"no run {source}; it was never started, its retention is over, or it was deleted"
            )
        case "newer":
            raise written_by_newer(source, int(about[0]))
        case "partial":
            raise half_copied(source)
        case "retried":
            after, status = about
            active = status in ("pending", "running", "waiting")
            raise refused(Obstacle.RETRIED, instance_id=instance_id, source=source, retried_as=after, active=active)
        case "held":
            holder, family, scope = about
            raise already_running(rerun.run, holder, family=family, scope=scope)
        case _:
            raise refused(Obstacle(verdict), instance_id=instance_id, source=source)


def _is_scan(reply: Any) -> bool:
    match reply:
        case [bytes(), page]:
            return is_texts(page)
        case _:
            return False
