"""The telemetry events of the demo's workers: each process writes those that it emitted into a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from hephaestus_celery import telemetry
from hephaestus_celery.clock import SYSTEM_CLOCK

STEP_START = ".".join(telemetry.step_start_event())
STEP_RESCUE = "hephaestus.step.rescue"
_LAST = {".".join(telemetry.workflow_stop_event()), ".".join(telemetry.workflow_exception_event())}
_GLANCE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """An event that a process saw; the fields that the event does not have are None."""

    pid: int
    event: str
    run: str | None
    sequence: int | None
    instance: str | None
    step: str | None
    reason: str | None


def read(folder: Path) -> list[Note]:
    """All notes so far, those of one process together and in its order. What a killed process did not note is lost."""
    return [note for file in sorted(folder.glob("*.jsonl")) for note in _notes(file)]


def executing(notes: Iterable[Note]) -> list[Note]:
    """The start of the step that each process is executing: of those whose last note that is."""
    last = {note.pid: note for note in notes}
    return [note for note in last.values() if note.event == STEP_START]


def count_events(notes: Iterable[Note]) -> Counter[str]:
    """How often the workers' handlers saw each event, over all of their processes."""
    return Counter(note.event for note in notes)


def await_events(folder: Path, runs: Collection[str], *, seconds: float) -> list[Note]:
    """What was noted of these finished runs, and of no run at all, once it is whole; after so many seconds what is there.

    Events are emitted after the state was stored, and a killed worker emits none any more.
    """
    deadline = SYSTEM_CLOCK.monotonic_ns() + int(seconds * 1e9)
    while True:
        notes = [note for note in read(folder) if note.run is None or note.run in runs]
        if _is_whole(notes, runs) or SYSTEM_CLOCK.monotonic_ns() > deadline:
            return notes
        SYSTEM_CLOCK.sleep(_GLANCE_SECONDS)


def _is_whole(notes: Iterable[Note], runs: Collection[str]) -> bool:
    sequences: dict[str, set[int]] = {run: set() for run in runs}
    ended: set[str] = set()
    for note in notes:
        if note.run is not None and note.sequence is not None:
            sequences[note.run].add(note.sequence)
            if note.event in _LAST:
                ended.add(note.run)
    return len(ended) == len(sequences) and all(len(numbers) == max(numbers) for numbers in sequences.values())


def _notes(file: Path) -> Iterable[Note]:
    whole, _, _ = file.read_text().rpartition("\n")
    for line in whole.splitlines():
        noted = json.loads(line)
        fields = {name: noted[name] for name in ("event", "run", "sequence", "instance", "step", "reason")}
        yield Note(pid=int(file.stem.rpartition("-")[2]), **fields)
