"""Reads a stored run: from the fields of its hash and the lines of its history to values of the port."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from hephaestus_celery.core.execution.joins import Shortfall
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.pause import NOT_PAUSED, PauseMark, Pauses
from hephaestus_celery.core.values.step_state import Held, PendingResume, StepState
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.core.values.undo import Undoing
from hephaestus_celery.storage.claims import Claim, ClaimRequest
from hephaestus_celery.storage.queries import StoredEntry, StoredRun
from hephaestus_celery.storage.redis.framing import unpacked
from hephaestus_celery.storage.schema import SCHEMA, written_by_newer

_HELD: Mapping[Any, Held] = {1: Held.UNSENT, 2: Held.QUEUED}


def read_run(fields: bytes, *, start: bytes, run_id: str) -> StoredRun:
    """A run from its hash, as scripts pack it: see ``packed`` in ``lua/parts/run_reply.lua``.

    Raises ``StorageError``, naming the ``run_id``, if the schema of the run is newer than this code.
    """
    return _read_run(unpacked(fields, run_id), start.decode(), run_id)


def _read_run(values: Sequence[str], start: str, run_id: str) -> StoredRun:
    kinds: dict[str, dict[str, str]] = {"s": {}, "r": {}, "m": {}, "c": {}, "a": {}, "u": {}}
    core: dict[str, str] = {}
    for name, value in zip(values[::2], values[1::2], strict=True):
        if name[1:2] != ":":
            core[name] = value
        elif (found := kinds.get(name[0])) is not None:
            found[name[2:]] = value
    _check_schema(core, run_id)
    finished, reason = core.get("t1"), core.get("cr")
    return StoredRun(
        header=core["h"],
        initial=core.get("i"),
        status=Status(core["st"]),
        started_at=int(core["t0"]),
        finished_at=None if finished is None else int(finished),
        start=start or None,
        sequence=int(core["seq"]),
        lacks_steps="s" in core.get("lk", ""),
        lacks_data="d" in core.get("lk", ""),
        steps=_Steps(kinds["s"]),
        results=kinds["r"],
        metadata=kinds["m"],
        configs={key: read_config(text) for key, text in kinds["c"].items()},
        round_states=kinds["a"],
        failed_step=core.get("fs"),
        failure=core.get("f"),
        cancel_reason=None if reason is None else json.loads(reason),
        retried_as=core.get("ra"),
        message_headers=core.get("mh"),
        active=int(core["act"]),
        applied=int(core["app"]),
        pauses=_read_pauses(core),
        shortfall=Shortfall.parse(core["sf"]) if "sf" in core else None,
        deadline=_number(core.get("dl")),
        undo=kinds["u"],
        undo_count=_number(core.get("un")),
        undoing=Undoing(ending=Status(core["ue"]), left=int(core["ul"])) if "ue" in core else None,
    )


def _check_schema(core: Mapping[str, str], run_id: str) -> None:
    schema = int(core.get("schema", "1"))
    if schema > SCHEMA:
        raise written_by_newer(run_id, schema)


def read_summary(fields: bytes, *, start: bytes, run_id: str) -> RunSummary:
    """A row of a listing; ``StorageError``, naming the ``run_id``, if the run's schema is newer than this code."""
    texts = unpacked(fields, run_id)
    found = dict(zip(texts[::2], texts[1::2], strict=True))
    _check_schema(found, run_id)
    finished = found.get("t1")
    return RunSummary(
        id=found["id"],
        name=found["name"],
        family=found["family"],
        version=int(found["version"]),
        tags=json.loads(found.get("tags", "[]")),
        status=Status(found["st"]),
        started_at=int(found["t0"]),
        finished_at=None if finished is None else int(finished),
        start=start.decode() or None,
        failed_step=found.get("fs"),
        retried_as=found.get("ra"),
        steps=read_states({name[2:]: text for name, text in found.items() if name.startswith("s:")})
        if "all" in found
        else None,
        pauses=_read_pauses(found),
        deadline=_number(found.get("dl")),
        undoes="ue" in found,
    )


def read_pause(text: str) -> PauseMark:
    """A pause: when it began, a number that only scripts need, and who has set it, as JSON."""
    at, _, by = text.split("|", 2)
    return PauseMark(at=int(at), by=json.loads(by))


def _read_pauses(core: Mapping[str, str]) -> Pauses:
    own, of_workflow = core.get("pa"), core.get("pw")
    if own is None and of_workflow is None:
        return NOT_PAUSED
    return Pauses(
        run=None if own is None else read_pause(own),
        workflow=None if of_workflow is None else read_pause(of_workflow),
    )


def read_states(texts: Mapping[str, str]) -> Mapping[str, StepState]:
    """The states of steps, by key; each is decoded when it is accessed."""
    return _Steps(texts)


def read_config(text: str) -> str:
    """The config of a step, which is stored after the rank of the source that gave it."""
    return text.partition("|")[2]


def read_step(found: Mapping[str, Any]) -> StepState:
    """The state of a step from its JSON object."""
    resume = found.get("r")
    return StepState(
        status=StepStatus(found["s"]),
        attempt=found["a"],
        max_attempts=int(found.get("m", 1)),
        dispatch=found.get("d", 1),
        fence=found.get("f"),
        queued_at=_number(found.get("q")),
        claimed_at=_number(found.get("c")),
        deadline=_number(found.get("l")),
        holder=found.get("h"),
        worker=found.get("u"),
        waiting_since=_number(found.get("w")),
        accepts=found.get("x", {}),
        resume=None if resume is None else read_resume(resume),
        backing_off="b" in found,
        event=found.get("e"),
        order=found.get("o"),
        lane=found.get("k"),
        sent_at=_number(found.get("t")),
        resends=found.get("n", 0),
        targets=tuple(found["g"]) if "g" in found else None,
        origin=found.get("v"),
        held=_HELD.get(found.get("p")),
        checks="ck" in found,
        times_out_at=_number(found.get("to")),
        round=found.get("ro", 1),
        noted=found.get("no", 0),
        compensates=found.get("cp"),
    )


def read_resume(found: Mapping[str, Any]) -> PendingResume:
    """A delivered event from its JSON object."""
    return PendingResume(
        event=found["e"],
        source=found["s"],
        at=int(found["at"]),
        losses=found.get("n", 0),
        by=found.get("b"),
        key=found.get("k"),
    )


class _Steps(Mapping[str, StepState]):
    """The states of a run's steps by key, each decoded when it is accessed: a claim of a large run accesses one."""

    __slots__ = ("_read", "_texts")

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._read: dict[str, StepState] = {}

    def __getitem__(self, key: str) -> StepState:
        if key not in self._read:
            self.document(key)
        return self._read[key]

    def document(self, key: str) -> Mapping[str, Any]:
        """All stored fields of one step: its state is made from them."""
        found: Mapping[str, Any] = json.loads(self._texts[key])
        self._read[key] = read_step(found)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def read_claim(reply: bytes, request: ClaimRequest) -> Claim:
    """The claim that was granted to this request."""
    run_id, step = request.run_id, str(request.activation)
    *fields, start, data = unpacked(reply, run_id)
    run = _read_run(fields, start, run_id)
    found = cast("_Steps", run.steps).document(step)
    state = run.steps[step]
    return Claim(
        attempt=request.granted(max_attempts=state.max_attempts),
        run=replace(run, sequence=found["j"] - 1),  # a repeated claim gets the run of the first
        first=found.get("i", False),
        sequence=found["j"],
        queued_at=int(found["q"]),
        claimed_at=int(found["c"]),
        waiting_since=state.waiting_since,
        resume=state.resume,
        data=data or None,
    )


def read_entry(line: bytes) -> StoredEntry:
    """One line of a run's history."""
    sequence, outcome, queued, started, finished, detail = line.decode().split("|", 5)
    return StoredEntry(
        sequence=int(sequence),
        outcome=outcome,
        queued_at=_number(queued),
        started_at=_number(started),
        finished_at=_number(finished),
        detail=detail,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text else None
