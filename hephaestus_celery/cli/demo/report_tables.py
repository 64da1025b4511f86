"""The tables that the demo prints at its end: runs, emitted events, histories, rescues, steps by worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hephaestus_celery import telemetry
from hephaestus_celery.cli.render.tables import aligned
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status

HEADINGS = ("INSTANCE", "STATUS", "DURATION", "STEPS", "VERDICT")
HISTORY_HEADINGS = ("SEQUENCE", "KIND", "STEP", "ATTEMPT", "OUTCOME", "REASON", "WORKER")
_NUMBERS = {"DURATION", "STEPS", "SEQUENCE", "ATTEMPT"}
_VERDICT_LENGTH = 100


def table(instances: Iterable[Instance]) -> str:
    """A line for each run: instance, status, duration, completed steps, verdict."""
    return aligned(HEADINGS, [_row(instance) for instance in instances], numbers=_NUMBERS)


def history_table(entries: Iterable[HistoryEntry]) -> str:
    """A line for each entry of a run's history."""
    return aligned(HISTORY_HEADINGS, [_history_row(entry) for entry in entries], numbers=_NUMBERS)


def rescue_table(entries: Iterable[HistoryEntry]) -> str:
    """How many rescues there are among the entries of all runs, and why."""
    counts = Counter(entry.reason or "" for entry in entries if entry.kind == "rescue")
    lines = [f"{count:>6}  {reason}" for reason, count in counts.most_common()]
    return "\n".join([f"{counts.total():>6}  rescues, of these:", *lines])


def worker_table(entries: Iterable[HistoryEntry]) -> str:
    """How many steps each worker completed."""
    counts = Counter(
        entry.worker or "" for entry in entries if entry.outcome == "completed" and entry.kind == "attempt"
    )
    return "\n".join(f"{count:>6}  {worker}" for worker, count in sorted(counts.items()))


def verdict(instance: Instance) -> str:
    """What the workflow has found out; why it failed, where it did."""
    if instance.failure is not None:
        return _shortened(instance.failure.message)
    steps = instance.context.steps
    found = [steps[key]["verdict"] for key in ("judge", "accept") if key in steps]
    return _shortened("; ".join(found))


def event_names() -> list[str]:
    """The eleven, in the order of the contract."""
    return [".".join(name) for name in telemetry.events()]


def event_table(counts: Mapping[str, int]) -> str:
    """A line for each of the eleven events."""
    names = event_names()
    width = max(len(name) for name in names)
    return "\n".join(f"{name:<{width}}  {counts.get(name, 0):>6}" for name in names)


def tally(instances: Sequence[Instance]) -> str:
    """How many runs stand where: ``3 completed, 1 waiting``."""
    counts = Counter(instance.status for instance in instances)
    return ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])


def _row(instance: Instance) -> tuple[str, ...]:
    ended = instance.finished_at
    duration = "" if ended is None else f"{(ended - instance.started_at).total_seconds():.3f} s"
    steps = str(len(instance.completed_steps))
    return instance.id, str(instance.status), duration, steps, verdict(instance)


def _history_row(entry: HistoryEntry) -> tuple[str, ...]:
    fields = (entry.sequence, entry.kind, entry.step, entry.attempt, entry.outcome, entry.reason, entry.worker)
    return tuple("" if field is None else str(field) for field in fields)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _VERDICT_LENGTH else line[: _VERDICT_LENGTH - 3] + "..."
