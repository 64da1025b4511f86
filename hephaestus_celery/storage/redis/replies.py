"""Between the fields of a run's hash, the facts that scripts answer with, and the values of the port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from hephaestus_celery.core.execution.commands import DispatchStep
from hephaestus_celery.core.execution.delivery import Delivered
from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.core.execution.settle import Row, Settlement
from hephaestus_celery.core.execution.state import Verdict
from hephaestus_celery.core.values.formatting import shortened
from hephaestus_celery.core.values.lifecycle import Status, StepStatus
from hephaestus_celery.core.values.step_state import PendingResume, StepState
from hephaestus_celery.exceptions import DataError
from hephaestus_celery.storage.claims import Claim
from hephaestus_celery.storage.commits import Commitment
from hephaestus_celery.storage.due import DueEntry, LaneReport, Outstanding, RescuedRun, Tick
from hephaestus_celery.storage.interventions import Cancellation, DeliveryReport
from hephaestus_celery.storage.queries import RunSummary, StoredEntry, StoredRun
from hephaestus_celery.storage.redis.framing import unpacked
from hephaestus_celery.storage.schema import SCHEMA, written_by_newer

# json.dumps makes an encoder a call. What is no JSON, or no text that UTF-8 can carry, shows when it is written or sent.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False, ensure_ascii=False).encode
_EXACT = 10**14


def parameters(**values: object) -> str:
    """The JSON object that a script takes; what is None is left out, since Lua has no null."""
    try:
        return _encode({key: value for key, value in values.items() if value is not None})
    except (ValueError, TypeError) as error:
        raise DataError(f"the store can't be asked for that: {shortened(str(error), limit=200)}") from error


def whole(number: int) -> int | str:
    """An int for a script to keep: as text where it has more digits than a number of Lua's JSON keeps (14)."""
    return number if abs(number) < _EXACT else str(number)


def timed(parameters: str, *, now: int, offset: int, slack: int, punctual: bool) -> str:
    """The same with what the caller knows of the time: see ``steady`` in ``prelude.lua``."""
    kept = f',"offset":{offset}' if offset else ""
    asked = ',"punctual":true' if punctual else ""
    others = "" if parameters == "{}" else f"{parameters[1:-1]},"
    return f'{{{others}"now":{now},"slack":{slack}{kept}{asked}}}'


def settlement_rows(settlement: Settlement) -> dict[str, list[int | str]]:
    """The rows of a settlement as ``complete.lua`` takes them: those that say more than that there is one predecessor."""
    rows = settlement.rows.items()
    return {key: [row.predecessors, *row.successors] for key, row in rows if row.predecessors != 1 or row.successors}


def settling_row(row: Row, *, attempts: int, lane: str | None) -> str:
    """One row as ``settle.lua`` takes it, with what is to be known of a step that starts."""
    return _encode([row.predecessors, whole(attempts), lane or "", *row.successors])


def attempts(numbers: Mapping[str, int]) -> dict[str, object]:
    """How often steps may be attempted, as ``complete.lua`` takes it: the same for most."""
    most = next(iter(numbers.values()), 1)
    return {"most": whole(most), "attempts": {key: whole(number) for key, number in numbers.items() if number != most}}


def read_run(fields: bytes, *, start: bytes, run_id: str) -> StoredRun:
    """A run from its hash, as scripts pack it: see ``packed`` in ``prelude.lua``.

    ``StorageError``, naming the ``run_id``, for one that is newer than this code.
    """
    return _read_run(unpacked(fields, run_id), start.decode(), run_id)


def _read_run(values: Sequence[str], start: str, run_id: str) -> StoredRun:
    kinds: dict[str, dict[str, str]] = {"s": {}, "r": {}, "m": {}, "c": {}}
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
        failed_step=core.get("fs"),
        failure=core.get("f"),
        cancel_reason=None if reason is None else json.loads(reason),
        message_headers=core.get("mh"),
        active=int(core["act"]),
        applied=int(core["app"]),
    )


def _check_schema(core: Mapping[str, str], run_id: str) -> None:
    schema = int(core.get("schema", "1"))
    if schema > SCHEMA:
        raise written_by_newer(run_id, schema)


def read_summary(fields: bytes, *, start: bytes, run_id: str) -> RunSummary:
    """A row of a listing; ``StorageError``, naming the ``run_id``, for a run that is newer than this code."""
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
        steps=read_states({name[2:]: text for name, text in found.items() if name.startswith("s:")})
        if "all" in found
        else None,
    )


def read_states(texts: Mapping[str, str]) -> Mapping[str, StepState]:
    """The states of steps, by key; each is read when it is asked for."""
    return _Steps(texts)


def read_config(text: str) -> str:
    """The config of a step, which is stored behind the rank of who gave it."""
    return text.partition("|")[2]


def _read_step(found: Mapping[str, Any]) -> StepState:
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
    )


class _Steps(Mapping[str, StepState]):
    """The states of a run's steps by key, each read when it is asked for: of many, a claim asks for one."""

    __slots__ = ("_read", "_texts")

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._read: dict[str, StepState] = {}

    def __getitem__(self, key: str) -> StepState:
        if key not in self._read:
            self.document(key)
        return self._read[key]

    def document(self, key: str) -> Mapping[str, Any]:
        """What is stored of one, of which its state is a part."""
        found: Mapping[str, Any] = json.loads(self._texts[key])
        self._read[key] = _read_step(found)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def read_resume(found: Mapping[str, Any]) -> PendingResume:
    """A delivered event from its JSON object."""
    return PendingResume(event=found["e"], source=found["s"], at=int(found["at"]), losses=found.get("n", 0))


def read_claim(reply: bytes, *, run_id: str, step: str) -> Claim:
    """A claim of a step that was given."""
    *fields, start, data = unpacked(reply, run_id)
    run = _read_run(fields, start, run_id)
    found = cast("_Steps", run.steps).document(step)
    state = run.steps[step]
    return Claim(
        run=replace(run, sequence=found["j"] - 1),  # asked again, the claim still is of that moment
        first=found.get("i", False),
        sequence=found["j"],
        queued_at=int(found["q"]),
        claimed_at=int(found["c"]),
        waiting_since=state.waiting_since,
        resume=state.resume,
        data=data or None,
    )


def read_commitment(
    reply: Sequence[bytes],
    *,
    run_id: str,
    step: str,
    taken: Sequence[str] = (),
    states: Callable[[], Mapping[str, StepState]],
) -> Commitment:
    """What a commit did; ``taken`` are the targets that it was to activate. What facts leave out: ``complete.lua``.

    ``states`` is asked where a run of many steps has ended, in which none completes any more.
    """
    told, *more = reply
    facts = json.loads(told)
    start, rest = more or (b"", b"")
    verdict = Verdict(facts.get("v", Verdict.APPLIED))
    if verdict is Verdict.CONFLICT:
        return Commitment(verdict=verdict, run=read_run(rest, start=start, run_id=run_id))
    if verdict is Verdict.STALE:
        return Commitment(verdict=verdict)
    ending: Mapping[str, Any] = json.loads(rest) if rest else {}
    activated: Sequence[str] = list(facts.get("activated", taken)) if verdict is Verdict.APPLIED else ()
    posted = facts.get("posted", ())
    resumed = facts.get("resumed", False)
    sent = {"done", *(activated if posted is True else posted)}
    return Commitment(
        verdict=verdict,
        sequence=facts["seq"],
        status_before=Status(facts.get("before", Status.RUNNING)),
        status_after=Status(facts.get("after", Status.RUNNING)),
        advance=facts.get("adv", 0),
        active=facts.get("active", 0),
        activated=activated,
        dispatches=[DispatchStep(step, facts["attempt"], facts["token"])]
        if resumed
        else [DispatchStep(key, 1, 1) for key in activated if key not in sent],
        resumed=resumed,
        completed=_completed(states()) if ending.get("many") else list(ending.get("completed", ())),
        finished_at=_number(ending.get("t1")),
        start=start.decode() or None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which edges were settled: so many from this ``position`` on, and how many are ``left``."""

    position: int
    settled: int
    left: int


def read_slice(
    reply: Sequence[bytes], *, run_id: str, states: Callable[[], Mapping[str, StepState]]
) -> tuple[Commitment, Slice | None]:
    """What the settling of a slice has come to: see ``settle.lua``."""
    facts = json.loads(reply[0])
    commitment = read_commitment(reply, run_id=run_id, step="", states=states)
    if commitment.verdict is not Verdict.APPLIED:
        return commitment, None
    place = Slice(position=facts["position"], settled=facts["settled"], left=facts["left"])
    return replace(commitment, ending=facts.get("ending")), place


def _completed(states: Mapping[str, StepState]) -> list[str]:
    orders = {key: state.order for key, state in states.items() if state.order is not None}
    return sorted(orders, key=orders.__getitem__)


def is_too_wide(reply: Sequence[bytes]) -> bool:
    """Whether a delivery was sent back: the caller is to say among which steps the run is to be looked through."""
    return json.loads(reply[0])["v"] == "many"


def read_delivery(reply: Sequence[bytes]) -> DeliveryReport:
    """What became of a delivery."""
    facts = json.loads(reply[0])
    outcome = Delivered(facts["v"])
    if outcome is Delivered.UNKNOWN_RUN:
        return DeliveryReport(outcome=outcome)
    if outcome is Delivered.REPEATED:
        return DeliveryReport(outcome=outcome, status=Status(facts["status"]))
    steps: list[str] = facts.get("steps") or []
    return DeliveryReport(
        outcome=outcome,
        status=Status(facts["status"]),
        steps=steps,
        executing=facts.get("executing") or (),
        dispatches=[DispatchStep(steps[0], facts["attempt"], facts["token"])] if outcome is Delivered.ACCEPTED else (),
    )


def read_cancellation(reply: Sequence[bytes], *, run: StoredRun) -> Cancellation:
    """A run that was cancelled."""
    return Cancellation(
        sequence=json.loads(reply[1])["seq"],
        run=run,
    )


def read_tick(reply: Sequence[bytes]) -> Tick:
    """What has come due, for who holds the lock."""
    following, more, entries, troubles, *lanes = reply[3:]
    return Tick(
        held=True,
        next_in=_number(following.decode()),
        more=more == b"1",
        entries=read_entries(entries),
        troubles=json.loads(troubles),
        lanes=[_read_lane(found) for text in lanes for found in json.loads(text)],
    )


def read_entries(text: bytes) -> list[DueEntry]:
    """What has come due, or is sent again."""
    return [
        DueEntry(
            kind=Due(found["kind"]),
            run_id=found["run"],
            name=found["name"],
            version=int(found["version"]),
            dispatch=DispatchStep(found["step"], found["attempt"], found["token"]),
            fence=found.get("fence"),
            sequence=found["seq"],
            run=_read_rescued(found) if "header" in found else None,
            message_headers=found.get("headers"),
        )
        for found in json.loads(text)
    ]


def _read_rescued(found: Mapping[str, Any]) -> RescuedRun:
    return RescuedRun(
        header=found["header"],
        status=Status(found["status"]),
        started_at=int(found["started"]),
        start=found["start"] or None,
        step=_read_step(json.loads(found["state"])),
    )


def _read_lane(found: Mapping[str, Any]) -> LaneReport:
    return LaneReport(
        lane=found["lane"],
        moves=found["moves"],
        outstanding=[
            Outstanding(
                run_id=message["run"],
                name=message["name"],
                version=int(message["version"]),
                dispatch=DispatchStep(message["step"], message["attempt"], message["token"]),
                passed=message["passed"],
            )
            for message in found["outstanding"]
        ],
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
