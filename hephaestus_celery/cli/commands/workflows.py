"""The command ``celery -A shop hephaestus workflows``: what is defined, how many runs of each are active, what is paused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.render.screen import find_screen
from hephaestus_celery.cli.render.tables import Cell, Column, show_table
from hephaestus_celery.cli.statuses import STEP_STYLES
from hephaestus_celery.client.hephaestus import Hephaestus
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.reports.documents import as_json
from hephaestus_celery.reports.workflows import count_active, known_workflows, step_keys, undone_by


@options.example("workflows", "workflows --json")
@click.command("workflows", short_help="List the workflows and their active runs.")
@options.as_json
@options.quietly
@options.wide
@click.pass_context
def workflows(context: click.Context, /, *, as_document: bool, quiet: bool, wide: bool) -> None:
    """List the workflows of this application: their versions, steps and active runs, and which are paused as a whole."""
    runtime = find_runtime(context)
    screen = find_screen(context.obj, wide=wide)
    known = known_workflows()
    if quiet:
        for workflow in known:
            screen.show(workflow.name)
        return
    active, paused = _active_runs(runtime), runtime.storage.paused_workflows()
    versions = [(each, version) for each in known for version in each.versions.values() or [each]]
    if as_document:
        screen.show(as_json([_document(whole, version, active, paused) for whole, version in versions]))
        return
    rows = [
        (
            version.name,
            str(version.version),
            Cell("current" if version.version == whole.version else "", "green"),
            Cell("paused" if version.family in paused else "", STEP_STYLES["held"]),
            Cell(str(active[version.name, version.version] or ""), "cyan"),
            str(len(step_keys(version))),
            _told(version),
        )
        for whole, version in versions
    ]
    headings = (
        Column(heading="workflow"),
        Column(heading="version", right=True),
        Column(heading=""),
        Column(heading=""),
        Column(heading="active", right=True),
        Column(heading="steps", right=True),
        Column(heading="", flexible=True),
    )
    show_table(screen, headings, rows)


def _active_runs(runtime: Hephaestus) -> Mapping[tuple[str, int], int]:
    found = count_active(runtime)
    if found.looked_at < found.total:
        click.echo(f"there was time to count {found.looked_at:,} of {found.total:,} active runs only", err=True)
    return found.kinds


def _told(version: type[WorkflowDefinition]) -> str:
    undoing = ", ".join(undone_by(version.graph).values())
    return ", ".join(step_keys(version)) + (f"; undone by {undoing}" if undoing else "")


def _document(
    whole: type[WorkflowDefinition],
    version: type[WorkflowDefinition],
    active: Mapping[tuple[str, int], int],
    paused: Collection[str],
) -> dict[str, Any]:
    return {
        "workflow": version.name,
        "version": version.version,
        "current": version.version == whole.version,
        "family": version.family,
        "unique": {"key": version.unique.key, "scope": version.unique.scope},
        "tags": sorted(version.tags),
        "steps": step_keys(version),
        "compensations": undone_by(version.graph),
        "active": active[version.name, version.version],
        "paused": version.family in paused,
    }
