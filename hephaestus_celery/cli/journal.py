"""What the demo's workers were told by telemetry: the files in which each of their processes notes its events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hephaestus_celery import telemetry

STEP_START = ".".join(telemetry.step_start_event())
STEP_RESCUE = "hephaestus.step.rescue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """An event that a process saw; the fields that the event does not have are None."""

    pid: int
    event: str
    instance: str | None
    step: str | None
    reason: str | None


def read(folder: Path) -> list[Note]:
    """All notes so far, those of one process together and in its order. What a killed process did not note is lost."""
    return [note for file in sorted(folder.glob("*.jsonl")) for note in _notes(file)]


def executing(notes: Iterable[Note]) -> list[Note]:
    """The start of the step that each process is executing: of those whose last word that is."""
    last = {note.pid: note for note in notes}
    return [note for note in last.values() if note.event == STEP_START]


def count_events(folder: Path) -> Counter[str]:
    """How often the workers' handlers saw each event, over all of their processes."""
    return Counter(note.event for note in read(folder))


def _notes(file: Path) -> Iterable[Note]:
    whole, _, _ = file.read_text().rpartition("\n")
    for line in whole.splitlines():
        told = json.loads(line)
        fields = {name: told[name] for name in ("event", "instance", "step", "reason")}
        yield Note(pid=int(file.stem), **fields)
