"""The filters of ``list`` as options: the same names, with dashes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

import click

from hephaestus_celery.cli.application import unknown_workflow, workflows_named
from hephaestus_celery.cli.completion import complete_workflows
from hephaestus_celery.cli.exit_codes import CommandFailedError, ExitCode
from hephaestus_celery.cli.options import Moment
from hephaestus_celery.cli.step_names import filtered_step
from hephaestus_celery.client.listing import FILTERS
from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.reports.times import iso

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

_STATUS = click.Choice([str(status) for status in Status])
_OPTIONS: Mapping[str, Option] = {
    "status": click.option("--status", type=_STATUS, help="Runs in this status."),
    "status_in": click.option(
        "--status-in", type=_STATUS, multiple=True, help="Runs in one of these; give the option several times."
    ),
    "workflow": click.option(
        "--workflow",
        metavar="NAME",
        shell_complete=complete_workflows,
        help="Runs of this workflow: its stored name, or the class.",
    ),
    "version": click.option("--version", type=click.IntRange(min=1), help="Runs of this version."),
    "workflow_family": click.option(
        "--workflow-family",
        metavar="NAME",
        shell_complete=complete_workflows,
        help="Runs of a workflow in all versions.",
    ),
    "id": click.option("--id", metavar="ID", help="Runs of this instance id, or the run with this run id."),
    "tag": click.option("--tag", help="Runs of workflows with this tag."),
    "started_after": click.option(
        "--started-after",
        type=Moment(),
        metavar="WHEN",
        help="Started after: 2026-01-31T12:00Z, or 2h for two hours ago.",
    ),
    "started_before": click.option("--started-before", type=Moment(), metavar="WHEN", help="Started before."),
    "waiting_for": click.option("--waiting-for", metavar="EVENT", help="Runs in which a step waits for this event."),
    "waiting_since_before": click.option(
        "--waiting-since-before", type=Moment(), metavar="WHEN", help="Runs in which a step waits since before then."
    ),
    "failed_step": click.option(
        "--failed-step", metavar="STEP", help="Runs that failed at this step: its key, or the class."
    ),
    "parent": click.option("--parent", metavar="RUN", help="Child runs of this run (its id, or its run id)."),
    "paused": click.option("--paused/--not-paused", default=None, help="Runs that are paused, or not."),
    "retried": click.option("--retried/--not-retried", default=None, help="Runs that were retried, or not."),
}
PAGING = ("limit", "cursor")


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each filter that ``list`` has."""
    for name in reversed([name for name in _OPTIONS if name in FILTERS]):
        command = _OPTIONS[name](command)
    return command


def read_filters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that were given, as ``Hephaestus.list`` takes them."""
    filters = {name: value for name, value in given.items() if name in _OPTIONS and value not in (None, ())}
    for name in ("workflow", "workflow_family"):
        if name in filters:
            filters[name] = _workflow(filters[name])
    if "failed_step" in filters:
        filters["failed_step"] = filtered_step(filters["failed_step"])
    return filters


def as_typed(given: Mapping[str, Any]) -> str:
    """The filters that were given, as options of a command line."""
    return " ".join(part for name in given if name in _OPTIONS for part in _typed(name, given[name]))


def _typed(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if value is None:
        return []
    if isinstance(value, bool):
        return [option if value else f"--not-{name}"]
    values = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
    return [f"{option} {shlex.quote(iso(each) if isinstance(each, datetime) else str(each))}" for each in values]


def _workflow(name: str) -> Any:
    # The class, where exactly one is meant; else the stored name, of a workflow that this process may not define.
    # A version of an umbrella has a class of its own, too.
    found = workflows_named(name) or [each for each in WORKFLOWS.all() if name in (each.__name__, each.__qualname__)]
    if len(found) == 1:
        return found[0]
    names = sorted({each.name for each in found})
    if len(names) > 1 and name not in names:
        raise CommandFailedError(f"{name} may be {', '.join(names)}: name it as it is stored", ExitCode.REFUSED)
    if not found and name not in {each.family for each in WORKFLOWS.all()}:
        click.echo(unknown_workflow(name), err=True)  # there may be runs of it all the same
    return names[0] if names else name
