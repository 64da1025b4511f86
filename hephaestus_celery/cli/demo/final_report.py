"""The end of the demo: prints what became of the runs, and gives the exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import click

from hephaestus_celery.cli.demo import report_tables
from hephaestus_celery.cli.demo.specimens import CHANGED, STALLED, UNREADABLE
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """Where workers may have been killed: the histories of all runs, by run id, and what chaos should have done, and has not."""

    histories: Mapping[str, Sequence[HistoryEntry]]
    omissions: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """The runs after their end, and the folder in which the workers noted their events; the aftermath if any may be killed."""

    instances: Sequence[Instance]
    events: Path
    aftermath: Aftermath | None = None


def conclude(result: DemoResult, counts: Mapping[str, int], *, seconds: float) -> int:
    """Print what became of everything, and give the demo's exit code."""
    click.echo(f"\n{report_tables.table(result.instances)}\n")
    click.echo(f"Telemetry, as the workers' handlers saw it:\n\n{report_tables.event_table(counts)}\n")
    problems = [*chain.from_iterable(map(_surprises, result.instances))]
    rescued = False
    if result.aftermath is not None:
        rescued = _show_aftermath(result.instances, result.aftermath.histories)
        problems += [*result.aftermath.omissions, *_gaps(result.instances, result.aftermath.histories)]
    if not rescued:  # events that killed processes had yet to emit are lost; the histories lack nothing
        problems += [f"{name} was never emitted" for name in report_tables.event_names() if not counts[name]]
    click.echo(f"{len(result.instances)} runs in {seconds:.1f} s: {report_tables.tally(result.instances)}.")
    for problem in problems:
        click.echo(f"Unexpected: {problem}", err=True)
    return 1 if problems else 0


def _surprises(instance: Instance) -> Iterator[str]:
    value = _value(instance)
    wanted = Status.FAILED if value == UNREADABLE else Status.COMPLETED
    if instance.status is not wanted:
        yield f"{instance.id} is {instance.status}, not {wanted}: {report_tables.verdict(instance)}"
    if value == CHANGED and "accept" not in instance.context.steps:
        yield f"{instance.id} ended without the approval"


def _show_aftermath(instances: Sequence[Instance], histories: Mapping[str, Sequence[HistoryEntry]]) -> bool:
    """Print who did what and what had to be rescued; whether anything had to."""
    entries = list(chain(*histories.values()))
    click.echo(f"Steps by worker, in the histories of all runs:\n\n{report_tables.worker_table(entries)}\n")
    for instance in instances:
        if _value(instance) == STALLED:
            click.echo(f"History of {instance.id}, whose worker was killed:\n")
            click.echo(f"{report_tables.history_table(histories[instance.run_id])}\n")
    rescued = any(entry.kind == "rescue" for entry in entries)
    if rescued:
        click.echo(f"Rescues, in the histories of all runs:\n\n{report_tables.rescue_table(entries)}\n")
    return rescued


def _gaps(instances: Sequence[Instance], histories: Mapping[str, Sequence[HistoryEntry]]) -> Iterator[str]:
    for instance in instances:
        history = histories[instance.run_id]
        ended = {entry.step for entry in history if entry.outcome == "completed"}
        missing = sorted({step.key for step in instance.completed_steps} - ended)
        if missing:
            yield f"the history of {instance.id} lacks the end of {', '.join(missing)}"
        if _value(instance) == STALLED and not any(_is_lost_attempt(entry) for entry in history):
            yield f"the history of {instance.id} lacks the attempt that was killed"


def _is_lost_attempt(entry: HistoryEntry) -> bool:
    return (entry.kind, entry.step, entry.outcome) == ("attempt", "verify_files", "retrying")


def _value(instance: Instance) -> str:
    return instance.id.partition("::")[2]
