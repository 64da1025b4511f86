"""What a store over transactions keeps of rounds: what they were given, and the entries of a bounded history."""

from __future__ import annotations

from dataclasses import replace

from hephaestus_celery.core.execution import rounds
from hephaestus_celery.storage.commits import NextRound
from hephaestus_celery.storage.history_entries import encode_entry
from hephaestus_celery.storage.queries import StoredEntry
from hephaestus_celery.storage.schema import ROUNDS
from hephaestus_celery.storage.transactional.record import Record


def keep_state(record: Record, commit: NextRound) -> None:
    """Keep what the next round is given, instead of what this one was."""
    record.raised = ROUNDS
    record.round_states.pop(str(commit.activation), None)
    if commit.state is not None:
        record.round_states[str(commit.activation)] = commit.state


def note(record: Record, key: str, entry: StoredEntry, *, number: int, compensates: str | None) -> None:
    """Add the entry of a step's round; it is the step's entry with this ``number`` that ends with ``Again``."""
    place = rounds.place_of(number)
    if place is None:
        record.history.append(entry)
        return
    last = record.rounds.get(f"{place}|{key}")
    if last is not None:
        reason = rounds.stands_for(rounds.left_out(number))
        detail = encode_entry(kind="attempt", step=key, reason=reason, compensates=compensates)
        record.rounds[f"|{key}"] = replace(last, queued_at=None, started_at=None, detail=detail)
    record.rounds[f"{place}|{key}"] = entry


def history_of(record: Record) -> list[StoredEntry]:
    """The history of a run, in order."""
    if not record.rounds:
        return record.history
    return sorted([*record.history, *record.rounds.values()], key=lambda entry: entry.sequence)
