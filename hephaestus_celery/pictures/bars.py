"""What a timeline shows of each step, out of the history: stretches of time and moments, each with what it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.names import DONE
from hephaestus_celery.core.values.step_state import StepState
from hephaestus_celery.reports.times import length
from hephaestus_celery.storage.codec import moment

BARS = {
    "queued": "in a queue",
    "executed": "executed",
    "executing": "executing",
    "failed": "failed attempt",
    "discarded": "result dropped",
    "backoff": "backing off",
    "waiting": "waiting",
    "rounds": "many rounds",
    "lost": "worker lost",
}
"""The kinds of bars, and what a legend calls them. ``rounds``: a stretch of which the history keeps one entry for all rounds."""
MOMENTS = {"resume": "resumed", "timer": "timer", "rescue": "rescue"}
"""The kinds of moments, and what a legend calls them."""
_OUTCOMES = {"retrying": "failed", "failed": "failed", "discarded": "discarded"}
_AFTER = {"retrying": "backoff", "waiting": "waiting", "again": "waiting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stretch of time, of one of the :data:`BARS`; ``goes_on``: it has not ended."""

    kind: str
    begin: datetime
    end: datetime
    about: str
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened at once, one of the :data:`MOMENTS`."""

    kind: str
    at: datetime
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The bars and moments of one step, by time; ``undoes`` is the key of the step that it compensates."""

    step: str
    bars: Sequence[Bar]
    moments: Sequence[Moment]
    undoes: str | None = None

    @property
    def begin(self) -> datetime:
        """When anything of it began."""
        return min([bar.begin for bar in self.bars] + [each.at for each in self.moments])

    @property
    def end(self) -> datetime:
        """When all of it was over."""
        return max([bar.end for bar in self.bars] + [each.at for each in self.moments])


def rows_of(instance: Instance, entries: Sequence[HistoryEntry], *, now: datetime) -> Sequence[Row]:
    """A row for each step that something has happened to, in the order in which they began; ``now`` ends what goes on."""
    over = instance.finished_at or now
    by_step: dict[str, list[HistoryEntry]] = defaultdict(list)
    for entry in entries:
        if entry.step is not None and entry.step != DONE:
            by_step[entry.step].append(entry)
    states: Mapping[str, StepState] = {} if instance.status.final else instance.step_states
    found: list[Row] = []
    for step in dict.fromkeys((*by_step, *(key for key in states if key != DONE))):
        bars = list(_bars(by_step[step], states.get(step), over, goes_on=not instance.status.final))
        moments = [
            _moment(entry, entry.finished_at)
            for entry in by_step[step]
            if entry.kind in MOMENTS and entry.finished_at is not None
        ]
        undoes = next((entry.compensates for entry in by_step[step] if entry.compensates), None)
        if bars or moments:
            found.append(Row(step=step, bars=bars, moments=moments, undoes=undoes))
    return sorted(found, key=lambda row: row.begin)


def _bars(entries: Sequence[HistoryEntry], state: StepState | None, over: datetime, *, goes_on: bool) -> Iterator[Bar]:
    open_: tuple[str, datetime] | None = None  # what follows an attempt, and since when
    lost = {(entry.attempt, entry.round) for entry in entries if entry.kind == "rescue"}
    for entry in entries:
        if entry.kind not in ("attempt", "resume", "timer"):
            continue
        at = entry.queued_at or entry.started_at or entry.finished_at
        if open_ is not None and at is not None and at > open_[1]:
            yield _bar("rounds", open_[1], at, entry.reason) if _is_of_rounds(entry) else _bar(open_[0], open_[1], at)
        if at is not None:
            open_ = None
        yield from _of_entry(entry, lost=(entry.attempt, entry.round) in lost)
        if entry.outcome in _AFTER and entry.finished_at is not None:
            open_ = _AFTER[entry.outcome], entry.finished_at
    if state is not None and (state.fence is not None or state.awaits_claim):
        begun = state.queued_at if state.queued_at is not None else state.claimed_at
        if open_ is not None and begun is not None and moment(begun) > open_[1]:
            yield _bar(open_[0], open_[1], moment(begun))
        open_ = None
        yield from _going_on(state, over)
    if open_ is not None and over > open_[1]:
        yield _bar(open_[0], open_[1], over, goes_on=goes_on)


def _is_of_rounds(entry: HistoryEntry) -> bool:
    """Whether the entry stands for many rounds."""
    return entry.outcome == "again" and entry.round is None and entry.started_at is None


def _of_entry(entry: HistoryEntry, *, lost: bool) -> Iterator[Bar]:
    begin, end = entry.started_at, entry.finished_at
    if entry.queued_at is not None and begin is not None and begin > entry.queued_at:
        yield _bar("queued", entry.queued_at, begin, entry.worker)
    if entry.kind != "attempt" or begin is None or end is None:
        return
    kind = _OUTCOMES.get(entry.outcome or "", "executed")
    about = [
        f"attempt {entry.attempt}" if entry.attempt is not None else None,
        f"round {entry.round}" if entry.round is not None else None,
        entry.outcome,
        entry.event,
        entry.worker,
        entry.reason,
    ]
    yield _bar("lost" if lost and kind == "failed" else kind, begin, end, ", ".join(part for part in about if part))


def _going_on(state: StepState, over: datetime) -> Iterator[Bar]:
    queued = None if state.queued_at is None else moment(state.queued_at)
    claimed = None if state.claimed_at is None else moment(state.claimed_at)
    if state.fence is not None and claimed is not None:
        if queued is not None and queued < claimed:
            yield _bar("queued", queued, claimed)
        yield _bar("executing", claimed, max(over, claimed), f"attempt {state.attempt}", goes_on=True)
    elif state.awaits_claim and queued is not None:
        yield _bar("queued", queued, max(over, queued), goes_on=True)


def _bar(kind: str, begin: datetime, end: datetime, about: str | None = None, *, goes_on: bool = False) -> Bar:
    told = f"{BARS[kind]}, {length(end - begin)}{' so far' if goes_on else ''}"
    return Bar(kind=kind, begin=begin, end=end, about=f"{told}: {about}" if about else told, goes_on=goes_on)


def _moment(entry: HistoryEntry, at: datetime) -> Moment:
    by = f"by {entry.by}" if entry.by else None
    about = [MOMENTS[entry.kind], entry.event, by, entry.outcome, entry.reason]
    return Moment(kind=entry.kind, at=at, about=", ".join(part for part in about if part))
