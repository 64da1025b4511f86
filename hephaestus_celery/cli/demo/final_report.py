"""The end of the demo: shows the runs with the commands of an operator, and compares their ends with what should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from hephaestus_celery import telemetry
from hephaestus_celery.cli.demo.commands import Commands
from hephaestus_celery.cli.demo.specimens import CHANGED, STALLED, UNREADABLE
from hephaestus_celery.client.handle import InstanceHandle
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.lifecycle import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """The runs after their end, what is not as it should be, and the folder in which the workers noted their events.

    ``rescued``: workers were lost, and with them events that they had yet to emit; the histories lack nothing.
    """

    instances: Sequence[Instance]
    problems: Sequence[str]
    rescued: bool
    events: Path


def show_runs(commands: Commands, instances: Sequence[Instance]) -> None:
    """Print what became of the runs, as an operator looks at them."""
    ids = {_value(instance): instance.id for instance in instances}
    commands.type("list")
    commands.type("show", ids[CHANGED])
    commands.type("list", "--status", "failed")
    commands.type("show", ids[UNREADABLE])
    commands.type("history", ids.get(STALLED, ids[CHANGED]))
    commands.type("stats")


def examine(handles: Sequence[InstanceHandle], instances: Sequence[Instance], events: Path) -> DemoResult:
    """Compare how the runs ended with how they should have."""
    problems: list[str] = []
    rescued = False
    for handle, instance in zip(handles, instances, strict=True):
        history = handle.history()
        rescued = rescued or any(entry.kind == "rescue" for entry in history)
        problems += [*_surprises(instance), *_gaps(instance, history)]
    return DemoResult(instances=instances, problems=problems, rescued=rescued, events=events)


def conclude(result: DemoResult, counts: Mapping[str, int], *, seconds: float) -> int:
    """Print the events that were emitted and how the runs ended, and give the demo's exit code."""
    names = [".".join(name) for name in telemetry.events()]
    click.echo("\nTelemetry, as the workers' handlers saw it:\n")
    for name in names:
        click.echo(f"{name:<{max(map(len, names))}}  {counts.get(name, 0):>6}")
    problems = [*result.problems]
    if not result.rescued:
        problems += [f"{name} was never emitted" for name in names if not counts.get(name)]
    click.echo(f"\n{len(result.instances)} runs in {seconds:.1f} s: {tally(result.instances)}.")
    for problem in problems:
        click.echo(f"Unexpected: {problem}", err=True)
    return 1 if problems else 0


def tally(instances: Sequence[Instance]) -> str:
    """How many runs stand where: ``3 completed, 1 waiting``."""
    counts = Counter(instance.status for instance in instances)
    return ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])


def _surprises(instance: Instance) -> Iterator[str]:
    value = _value(instance)
    wanted = Status.FAILED if value == UNREADABLE else Status.COMPLETED
    if instance.status is not wanted:
        why = "" if instance.failure is None else f": {instance.failure.message}"
        yield f"{instance.id} is {instance.status}, not {wanted}{why}"
    if value == CHANGED and "accept" not in instance.context.steps:
        yield f"{instance.id} ended without the approval"


def _gaps(instance: Instance, history: Sequence[HistoryEntry]) -> Iterator[str]:
    ended = {entry.step for entry in history if entry.outcome == "completed"}
    missing = sorted({step.key for step in instance.completed_steps} - ended)
    if missing:
        yield f"the history of {instance.id} lacks the end of {', '.join(missing)}"
    lost = any((entry.step, entry.outcome) == ("verify_files", "retrying") for entry in history)
    if _value(instance) == STALLED and not lost:
        yield f"the history of {instance.id} lacks the attempt that was killed"


def _value(instance: Instance) -> str:
    return instance.id.partition("::")[2]
