"""What a storage has sent, and what it has told of a run, in a form that tests compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hephaestus_celery.core.execution.due import Due
from hephaestus_celery.storage.due import DueEntry
from hephaestus_celery.testing.conformance.driven import DrivenRun, DrivenStorage


def sent(entries: Sequence[DueEntry]) -> list[tuple[str, str, int, int]]:
    """What is sent: the run, its step, attempt and token."""
    return [
        (entry.run_id, str(entry.dispatch.activation), entry.dispatch.attempt, entry.dispatch.token)
        for entry in entries
        if not entry.held
    ]


def steps_sent(stand: DrivenStorage, count: int) -> list[str]:
    """The steps of the next messages, which are planned ones."""
    entries = stand.entries(count)
    assert {(entry.kind, entry.sequence) for entry in entries} <= {(Due.RETRY, 0)}
    return [str(entry.dispatch.activation) for entry in entries]


def kinds(run: DrivenRun) -> list[str]:
    """The kinds of the entries of a run's history."""
    return [json.loads(entry.detail)["kind"] for entry in run.history()]


def rescues(run: DrivenRun) -> list[tuple[int, Any]]:
    """The rescues in a run's history: their numbers and reasons."""
    return [(entry.sequence, json.loads(entry.detail)) for entry in run.history() if '"rescue"' in entry.detail]
