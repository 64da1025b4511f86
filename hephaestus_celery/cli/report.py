"""What the demo prints at its end: what became of each run, and what the workers told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hephaestus_celery import telemetry
from hephaestus_celery.core.instance import Instance
from hephaestus_celery.core.lifecycle import Status

HEADINGS = ("INSTANCE", "STATUS", "DURATION", "STEPS", "VERDICT")
_VERDICT_LENGTH = 100


def table(instances: Iterable[Instance]) -> str:
    """A line for each run: instance, status, duration, completed steps, verdict."""
    rows = [HEADINGS, *(_row(instance) for instance in instances)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(_aligned(row, widths)).rstrip() for row in rows)


def verdict(instance: Instance) -> str:
    """What the workflow has found out; why it failed, where it did."""
    if instance.failure is not None:
        return _shortened(instance.failure.message)
    steps = instance.context.steps
    found = [steps[key]["verdict"] for key in ("judge", "accept") if key in steps]
    return _shortened("; ".join(found))


def count_events(folder: Path) -> Counter[str]:
    """How often the workers' handlers saw each event, over all of their processes."""
    lines = (line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines())
    return Counter(str(json.loads(line)["event"]) for line in lines)


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


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    numbers = (HEADINGS.index("DURATION"), HEADINGS.index("STEPS"))
    for column, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.rjust(width) if column in numbers else text.ljust(width)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _VERDICT_LENGTH else line[: _VERDICT_LENGTH - 3] + "..."
