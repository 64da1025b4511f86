"""Reads of one run in Redis, in calls of limited size: its fields, its data and its history. All are coroutines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.history_entries import is_whole_page, page_of
from hephaestus_celery.storage.queries import DataKind, StoredEntry, StoredRun
from hephaestus_celery.storage.redis.async_calls import AsyncCalls
from hephaestus_celery.storage.redis.framing import reading
from hephaestus_celery.storage.redis.parameters import as_parameters
from hephaestus_celery.storage.redis.scripts import is_texts, is_values
from hephaestus_celery.storage.redis.stored_runs import read_config, read_entry, read_run, read_states

MOST_CARRIED = 1000
"""The most predecessors whose results one call reads."""
_MOST_NAMES = 500  # the most steps that one call reads
_PAGE = 200  # entries of a history that one call reads
_LOOKS = 5  # tries to read the states of many steps before any of them changes


class Reads:
    """Reads the runs of one storage; see the methods of these names of ``Storage``."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def load(self, run_id: str, *, steps: Sequence[str] | None = None) -> StoredRun | None:
        """The states of many steps are read in slices, and read again if the run has changed meanwhile.

        In a run that never pauses, a state may be newer than the rest. Completions have numbers, so they always fit.
        """
        for look in range(_LOOKS):
            run = await self._load(run_id, steps or ())
            if run is None or steps is not None or not run.lacks_steps:
                return run
            states = await self.scan_states(run_id)
            if look == _LOOKS - 1 or await self._sequence(run_id) in (run.sequence, None):
                return replace(run, steps=states, lacks_steps=False)
        raise AssertionError  # the last try returns what it has read

    async def _load(self, run_id: str, steps: Sequence[str]) -> StoredRun | None:
        reply = await self._calls.of_run("load", run_id, as_parameters(run_id=run_id), *steps[:MOST_CARRIED])
        with reading(run_id):
            return read_run(reply[1], start=reply[0], run_id=run_id) if reply else None

    async def initial(self, run_id: str) -> str:
        """The initial context."""
        [text] = await self._fields(run_id, ["i"])
        if text is None:
            raise _gone(run_id)
        return text

    async def states(self, run_id: str, steps: Sequence[str] | None = None) -> Mapping[str, StepState]:
        """The states of all steps, or of some."""
        if steps is None:
            states = await self.scan_states(run_id)
            if not states:
                raise _gone(run_id)
            return states
        texts: dict[str, str] = {}
        for start in range(0, len(steps), _MOST_NAMES):
            asked = steps[start : start + _MOST_NAMES]
            status, *found = await self._fields(run_id, ["st", *(f"s:{step}" for step in asked)])
            if status is None:
                raise _gone(run_id)
            texts.update((step, text) for step, text in zip(asked, found, strict=True) if text is not None)
        return read_states(texts)

    async def data(self, run_id: str, kind: DataKind, steps: Sequence[str]) -> Mapping[str, str]:
        """The data of one kind that these steps have, in as many calls as its size needs."""
        found: dict[str, str] = {}
        position = 0
        while position < len(steps):
            asked = steps[position : position + _MOST_NAMES]
            parameters = as_parameters(run_id=run_id, kind=kind.value)
            reply: list[bytes] | None = await self._calls.of_run("data", run_id, parameters, *asked)
            if reply is None:
                raise _gone(run_id)
            position += len(reply)
            with reading(run_id):
                found.update((step, text.decode()) for step, text in zip(asked, reply, strict=False) if text)
        if kind is DataKind.CONFIG:
            return {step: read_config(text) for step, text in found.items()}
        return found

    async def scan_states(self, run_id: str) -> Mapping[str, StepState]:
        """The states of all steps, in slices. Each slice shows one moment; different slices show different moments."""
        texts: dict[str, str] = {}
        key, cursor = self._calls.keys.of_run(run_id).run, "0"
        while True:
            following, page = await self._calls.command(
                "HSCAN", key, cursor, "MATCH", "s:*", "COUNT", _MOST_NAMES, fits=_is_scan
            )
            with reading(run_id):
                names = (name.decode()[2:] for name in page[::2])
                texts.update(zip(names, (text.decode() for text in page[1::2]), strict=True))
            cursor = following.decode()
            if cursor == "0":
                return read_states(texts)

    async def history(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[StoredEntry]:
        """The entries after a number, in the order of the run's commits."""
        size = _PAGE if limit is None else min(_PAGE, max(1, limit + 1))
        parameters = as_parameters(run_id=run_id, after=after, limit=size)
        reply: list[bytes] = await self._calls.of_run("history", run_id, parameters)
        with reading(run_id):
            start, last = int(reply[0]), reply[1].decode()
            found = [read_entry(line) for line in reply[2:]]
        # Whatever is committed from now on is for the next call, since some of it may be in the hash and some in the list.
        rounds = await self._later_rounds(run_id, after=after, until=int(last)) if last else ()
        key = self._calls.keys.of_run(run_id).history
        more = len(found) == size
        while more and not is_whole_page(found, limit):  # entries are only ever added at the end
            first = start + len(found)
            size = _PAGE if limit is None else min(_PAGE, max(1, limit + 1 - len(found)))
            lines = await self._calls.command("LRANGE", key, first, first + size - 1, fits=is_texts)
            with reading(run_id):
                found.extend(read_entry(line) for line in lines)
            more = len(lines) == size
        if last:
            found = [entry for entry in found if entry.sequence <= int(last)]
            found = sorted([*found, *rounds], key=lambda entry: entry.sequence)
        return page_of(found, limit)

    async def _later_rounds(self, run_id: str, *, after: int, until: int) -> Sequence[StoredEntry]:
        # Entries of rounds that are kept in places; one that stands for others may have moved on meanwhile.
        found: dict[bytes, StoredEntry] = {}
        key, cursor = self._calls.keys.of_run(run_id).rounds, "0"
        while True:
            following, page = await self._calls.command("HSCAN", key, cursor, "COUNT", _PAGE, fits=_is_scan)
            with reading(run_id):
                found.update((name, read_entry(line)) for name, line in zip(page[::2], page[1::2], strict=True))
            cursor = following.decode()
            if cursor == "0":
                return [entry for entry in found.values() if after < entry.sequence <= until]

    async def _sequence(self, run_id: str) -> int | None:
        [sequence] = await self._fields(run_id, ["seq"])
        return None if sequence is None else int(sequence)

    async def _fields(self, run_id: str, names: Sequence[str]) -> list[str | None]:
        values = await self._calls.command("HMGET", self._calls.keys.of_run(run_id).run, *names, fits=is_values)
        with reading(run_id):
            return [None if value is None else value.decode() for value in values]


def _is_scan(reply: Any) -> bool:
    match reply:
        case [bytes(), page]:
            return is_texts(page)
        case _:
            return False


def _gone(run_id: str) -> InstanceNotFoundError:
    return InstanceNotFoundError(f"no run {run_id}; it was never started, its retention is over, or it was deleted")
