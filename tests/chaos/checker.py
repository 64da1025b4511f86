"""Proves by what is stored and what was emitted that every run went as if nothing had been.

From the store: history, instance, keys. From the workers: the telemetry that they noted. Nothing is taken from the code
that made the history: a checker that shared a fault with it would miss it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import endings
from chaos_flows import IDLE, MISFITS, POLLS, Poll, Summed

from hephaestus_celery import HistoryEntry, Instance, InstanceNotFoundError
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.storage.redis.key_catalogue import CATALOGUE

if TYPE_CHECKING:
    from arena import Arena
    from episode import Episode, Started, WholePause

TERMINAL = ("workflow.stop", "workflow.exception", "workflow.cancel")
TOLD_AS = {
    ("attempt", "completed"): "step.stop",
    ("attempt", "waiting"): "step.async",
    ("attempt", "again"): "step.async",
    ("attempt", "retrying"): "step.exception",
    ("attempt", "failed"): "step.exception",
    ("resume", "completed"): "step.resume",
    ("resume", "discarded"): "step.discard",
    ("timer", "completed"): "step.resume",
    ("rescue", None): "step.rescue",
    ("pause", None): "workflow.pause",
    ("unpause", None): "workflow.unpause",
    ("cancel", None): "workflow.cancel",
    ("fork", None): "workflow.fork",
}
"""The event whose number a history entry has."""
DISCARDED = {"step.stop", "step.async", "step.exception"}
"""The events of an attempt that is discarded: it ends as it would have ended, a lost one with its exception."""
OF_CLIENTS = ("pause", "unpause", "cancel", "fork")
"""Entries whose events no worker emits."""
CLOCKS_APART = dt.timedelta(milliseconds=2)


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was counted, and every law that was broken. ``recoveries``: seconds, one for each strike.

    ``completed``: the runs that ended as those of their workflow are to end; of some that is a failure.
    """

    runs: int = 0
    completed: int = 0
    committed_twice: int = 0
    steps: int = 0
    executed_again: int = 0
    rescues: int = 0
    missing: int = 0
    doubtful: int = 0
    recoveries: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Runs that were accepted and did not end so."""
        return self.runs - self.completed


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that is known of a run."""

    started: Started
    instance: Instance
    history: Sequence[HistoryEntry]
    events: Sequence[dict[str, Any]]
    executions: Counter[str]

    @property
    def rounds(self) -> Counter[str | None]:
        """How often each step has answered `Again`."""
        return Counter(entry.step for entry in self.history if entry.outcome == "again")

    def __str__(self) -> str:
        return f"{self.instance.id} ({self.instance.run_id})"


def check(arena: Arena, episode: Episode, *, silences: bool) -> Verdict:
    """Look at everything; with ``silences`` a fault may have kept events from being emitted."""
    verdict = Verdict(runs=len(episode.started))
    runs = list(_runs(arena, episode.started))
    gone = {start.run_id for start in episode.started} - {run.started.run_id for run in runs}
    verdict.problems.extend(f"run {run_id} was accepted, and the store does not know it" for run_id in gone)
    for run in runs:
        completed = run.instance.status == endings.status_expected(run)
        verdict.completed += completed
        verdict.doubtful += run.started.doubtful
        verdict.steps += len(run.executions)
        verdict.executed_again += sum(1 for step, count in run.executions.items() if count > _meant(run, step))
        verdict.rescues += sum(1 for entry in run.history if entry.kind == "rescue")
        committed = Counter(entry.step for entry in run.history if entry.outcome == "completed")
        verdict.committed_twice += sum(1 for count in committed.values() if count > 1)
        if not completed:
            verdict.problems.append(f"{run} is {run.instance.status}: {_short(run.history)}")
            continue
        verdict.missing += _missing(run)
        laws = (*_commits(run), *_joins(run), *_numbers(run), *_durations(run), *_tellings(run, silences=silences))
        laws = (*laws, *_rounds(run), *_drops(run), *_results(run), *_pauses(run, episode.pauses))
        laws = (*laws, *endings.laws(run))
        verdict.problems.extend(f"{run}: {problem}; {_short(run.history)}" for problem in laws)
    if not silences and verdict.missing:
        verdict.problems.append(f"{verdict.missing} events were never emitted")
    if not verdict.lost:  # else there is more to say of these runs than that they left something
        verdict.problems.extend(leftovers(arena, runs=len(runs)))
    verdict.recoveries = [_recovery(strike.at, runs) for strike in episode.strikes]
    return verdict


def _runs(arena: Arena, started: Sequence[Started]) -> Iterator[Run]:
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in arena.events():
        events[event["metadata"].get("run_id", "")].append(event)
    executions: dict[str, Counter[str]] = defaultdict(Counter)
    for execution in arena.executions():
        executions[execution["run_id"]][execution["step"]] += 1
    for start in started:
        try:
            instance = arena.hephaestus.get(start.run_id)
        except InstanceNotFoundError:
            continue
        yield Run(
            started=start,
            instance=instance,
            history=arena.hephaestus.history(start.run_id),
            events=events[start.run_id],
            executions=executions[start.run_id],
        )


def _meant(run: Run, step: str) -> int:
    # How often a step is executed where no fault strikes: again in each round, and where it has failed by itself.
    own = [entry for entry in run.history if (entry.step, entry.outcome) == (step, "retrying")]
    return 1 + run.rounds[step] + sum((entry.reason or "").startswith("ValueError") for entry in own)


def _commits(run: Run) -> Iterator[str]:
    numbers = [entry.sequence for entry in run.history]
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        yield f"the numbers of its history do not increase: {numbers}"
    commits = Counter(
        (entry.kind, entry.step, entry.round, entry.attempt)
        for entry in run.history
        if entry.kind != "rescue" and entry.outcome and not _is_dropped(entry)
    )
    yield from (f"{what} was committed {count} times" for what, count in commits.items() if count > 1)
    completions = Counter(entry.step for entry in endings.completions(run))
    kept = endings.kept(run)
    expected = {step.key for step in run.instance.completed_steps} - kept
    if set(completions) != expected:
        yield f"its history completes {sorted(completions)}, its instance {sorted(expected)}"
    yield from (f"{step} completed {count} times" for step, count in completions.items() if count != 1)
    recorded = {step.key for step in run.instance.completed_steps if hasattr(step, "answer")} - kept
    yield from (f"{step} completed without being executed" for step in recorded - set(run.executions))
    if not run.instance.workflow.graph.joins and endings.failing(run) is None:
        yield from (f"{step} was executed and not completed" for step in set(run.executions) - recorded)


def _is_dropped(entry: HistoryEntry) -> bool:
    # An event that did not fit its step, which waits on: further ones may be dropped in the same attempt.
    return (entry.kind, entry.outcome) == ("resume", "discarded")


def _drops(run: Run) -> Iterator[str]:
    misfit = MISFITS.get(run.instance.workflow)
    dropped = [entry for entry in run.history if _is_dropped(entry)]
    if misfit is None and dropped:
        yield f"it has dropped {len(dropped)} events that fit"
    if misfit is not None and not dropped:
        yield "it has dropped no event"
    if misfit is not None and misfit in run.instance.context.steps.values():
        yield f"a step has taken {misfit}"


def _rounds(run: Run) -> Iterator[str]:
    polls = Poll in run.instance.workflow.graph.by_key.values()
    began = [entry.round for entry in run.history if entry.outcome == "again"]
    expected = list(range(1, POLLS)) if polls else endings.rounds_expected(run)
    if began != expected:
        yield f"it has gone through the rounds {began}, not {expected}"
    if polls and run.instance.context.steps[Poll.key] != {"seen": expected}:
        yield f"its last round was given {run.instance.context.steps[Poll.key]}"


def _results(run: Run) -> Iterator[str]:
    expected = {"by": ["a", "b"]} if run.instance.workflow is Summed else {}
    if endings.failing(run) is not None:
        expected = None
    if run.instance.result != expected:
        yield f"its result is {run.instance.result}, and should be {expected}"


def _joins(run: Run) -> Iterator[str]:
    graph, kept = run.instance.workflow.graph, endings.kept(run)
    completed = {entry.step: entry for entry in endings.completions(run)}
    for step in run.instance.completed_steps:
        first = next((entry for entry in run.history if entry.step == step.key), None)
        if first is None or step.key in kept:
            continue  # _commits reports what is missing
        if graph.needed(step):
            before = [completed[source.key] for source in graph.predecessors(step) if source.key in completed]
            came = sum(one.sequence < first.sequence for one in before)
            if came < graph.needed(step):
                yield f"{step.key} was started with {came} of its predecessors"
            continue
        for source in graph.predecessors(step):
            if source in run.instance.skipped_steps or source.key in kept:
                continue
            before = completed.get(source.key)
            if before is None:
                yield f"{step.key} was started without {source.key}"
            elif before.sequence >= first.sequence or before.finished_at > (first.queued_at or first.finished_at):
                yield f"{step.key} was started before {source.key} had completed"
    settled = run.instance.completed_steps | run.instance.skipped_steps
    if (
        settled != frozenset(graph.by_key.values()) - frozenset(graph.compensating)
        and not graph.joins
        and endings.failing(run) is None
    ):
        yield "it ended with steps neither completed nor skipped"


def _numbers(run: Run) -> Iterator[str]:
    emitted: dict[int, tuple[str, str | None]] = {}
    for event in run.events:
        number = event["metadata"]["sequence"]
        what = (event["event"], event["metadata"].get("step"))
        if number in emitted:
            yield f"number {number} was emitted twice: {emitted[number]} and {what}"
        emitted[number] = what
    for entry in run.history:
        expected = _told_as(run, entry)
        found = emitted.get(entry.sequence)
        if found is not None and found not in {(event, entry.step) for event in expected}:
            yield f"number {entry.sequence} of {entry.step} is {' or '.join(sorted(expected))} in the history and was emitted as {found}"


def _told_as(run: Run, entry: HistoryEntry) -> set[str]:
    if entry is endings.failing(run) and entry.step is None:
        return {endings.told_as(run, entry)}
    told = (entry.kind, entry.outcome)
    return DISCARDED if told == ("attempt", "discarded") else {TOLD_AS[told]}


def _missing(run: Run) -> int:
    emitted = {event["metadata"]["sequence"] for event in run.events}
    emitted |= {entry.sequence for entry in run.history if entry.kind in OF_CLIENTS}
    return len(set(range(1, endings.last_number(run) + 1)) - emitted)


def _tellings(run: Run, *, silences: bool) -> Iterator[str]:
    ends = [event["event"] for event in run.events if event["event"] in TERMINAL]
    if (
        len(ends) > 1
        or (not silences and not endings.told_by_client(run) and len(ends) != 1)
        or set(ends) - {endings.last_event_expected(run)}
    ):
        yield f"its terminal events are {ends}"
    last, noted = endings.last_number(run), {entry.sequence for entry in run.history}
    beyond = {event["metadata"]["sequence"] for event in run.events if event["metadata"]["sequence"] > last} - noted
    if beyond:
        yield f"events have the numbers {sorted(beyond)}, beyond the last {last}"
    yield from endings.tellings(run, silences=silences)


def _pauses(run: Run, pauses: Sequence[WholePause]) -> Iterator[str]:
    # By the clock of the store, on which claims and pauses of a run follow each other. That of a workflow has no entry.
    whole = [
        (_moment(pause.since) + CLOCKS_APART, _moment(pause.until) - CLOCKS_APART)
        for pause in pauses
        if pause.family == run.instance.workflow.family
    ]
    changes = [entry.finished_at for entry in run.history if entry.kind in ("pause", "unpause")]
    own = list(itertools.zip_longest(changes[::2], changes[1::2], fillvalue=run.instance.finished_at))
    for entry in run.history:
        if entry.started_at is None or entry.step in ("done", None):
            continue
        for since, until in (*whole, *own):
            if since < entry.started_at < until:
                yield f"{entry.step} was claimed at {entry.started_at}, in a pause from {since} until {until}"


def _moment(nanoseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(nanoseconds / 1e9, dt.UTC)


def _durations(run: Run) -> Iterator[str]:
    took = run.instance.finished_at - run.instance.started_at
    whole = took.days * 86_400_000_000_000 + took.seconds * 1_000_000_000 + took.microseconds * 1000
    for event in run.events:
        duration = event["measurements"].get("duration")
        match event["event"]:
            case "workflow.stop" | "workflow.exception" if duration is not None and duration != whole:
                yield f"it took {whole} ns, and was emitted to have taken {duration}"
            case "step.stop" | "step.exception" | "step.async" if not duration >= 0:
                yield f"{event['metadata']['step']} took {duration} ns"
        waited = event["measurements"].get("wait_duration")
        if waited is not None and not 0 <= waited <= whole:
            yield f"{event['metadata']['step']} waited {waited} ns of {whole}"


def leftovers(arena: Arena, *, runs: int) -> Iterator[str]:
    """What is left in the store, of so many runs that have ended, that should not be."""
    active = arena.hephaestus.list(status_in=["pending", "running", "waiting"]).instances
    yield from (f"{instance.id} is still listed as {instance.status}" for instance in active)
    client, prefix = arena.client, f"{arena.namespace}:{{0}}:"
    if (stored := sum(client.zcard(f"{prefix}index:status:{status}") for status in Status)) != runs:
        yield f"{runs} runs were started, and {stored} are stored"
    for member in client.zrange(f"{prefix}due", 0, -1):
        if b"||" not in member and not member.endswith(b"|"):
            yield f"the due set still holds {member.decode()}"
    for key in client.scan_iter(f"{prefix}*", count=1000):
        name = key.decode().removeprefix(prefix)
        lasting = any(kind.lifetime.startswith("none") for kind in CATALOGUE if _is_of(name, kind.pattern))
        if client.ttl(key) == -1 and not lasting:
            yield f"key {name} has no lifetime"


def _is_of(name: str, pattern: str) -> bool:
    parts = re.findall("<[^>]+>|[^<]+", pattern)
    return re.fullmatch("".join(".+" if part[0] == "<" else re.escape(part) for part in parts), name) is not None


def _recovery(struck: int, runs: Sequence[Run]) -> float:
    # For how long a run that was under way stood still: until its first progress after the strike.
    longest = 0.0
    for run in runs:
        if run.started.at >= struck or run.instance.workflow in IDLE:
            continue
        steps = [entry.finished_at for entry in run.history if entry.outcome in ("completed", "waiting", "again")]
        after = [at for at in (moment.timestamp() - struck / 1e9 for moment in steps) if at > 0]
        longest = max(longest, min(after, default=0.0))
    return longest


def _short(history: Sequence[HistoryEntry]) -> str:
    return " ".join(f"{entry.sequence}:{entry.kind}/{entry.step}/{entry.attempt}/{entry.outcome}" for entry in history)
