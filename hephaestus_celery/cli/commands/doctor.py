"""The command ``celery -A shop hephaestus doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_app, find_runtime
from hephaestus_celery.cli.doctor.checks import examine
from hephaestus_celery.cli.doctor.findings import Finding, Level
from hephaestus_celery.cli.doctor.gathering import gather
from hephaestus_celery.cli.exit_codes import ExitCode
from hephaestus_celery.cli.render.documents import as_json, plain
from hephaestus_celery.cli.render.screen import Screen, find_screen
from hephaestus_celery.cli.render.tables import Cell, Column, show_rows

_STYLES = {Level.OK: "green", Level.WARNING: "magenta bold", Level.ERROR: "red bold"}


@options.example("doctor", "doctor --json")
@click.command("doctor")
@options.as_json
@options.wide
@click.pass_context
def doctor(context: click.Context, /, *, as_document: bool, wide: bool) -> None:
    """Check store, broker, workers, scheduler and settings; exit with 1 if something is wrong.

    It only reads, within some seconds, and no question holds the store for long.
    """
    findings = examine(gather(find_app(context), find_runtime(context)))
    screen = find_screen(context.obj, wide=wide)
    if as_document:
        screen.show(as_json([plain(finding) for finding in findings]))
    else:
        show_findings(screen, findings)
    if any(finding.level is Level.ERROR for finding in findings):
        context.exit(ExitCode.WRONG)


def show_findings(screen: Screen, findings: Sequence[Finding]) -> None:
    """Print a line for each finding, and its advice below it."""
    columns = (Column(heading="check"), Column(heading="level"), Column(heading="message", flexible=True))
    blank = " " * max(len(finding.check) for finding in findings)
    rows: list[Sequence[Cell | str]] = []
    for finding in findings:
        rows.append((finding.check, Cell(finding.level, _STYLES[finding.level]), finding.message))
        if finding.advice:
            rows.append((blank, "", Cell(f"-> {finding.advice}", "dim")))
    show_rows(screen, columns, rows)
