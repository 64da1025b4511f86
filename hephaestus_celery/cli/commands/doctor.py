"""The command ``celery -A shop hephaestus doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import application_as_given, find_app, find_runtime
from hephaestus_celery.cli.exit_codes import ExitCode
from hephaestus_celery.cli.render.screen import Screen, find_screen
from hephaestus_celery.reports.doctor.checks import examine
from hephaestus_celery.reports.doctor.findings import Finding, Level
from hephaestus_celery.reports.doctor.gathering import gather
from hephaestus_celery.reports.documents import as_json, plain
from hephaestus_celery.reports.text import printable, wrapped

_STYLES = {Level.OK: "green", Level.WARNING: "magenta bold", Level.ERROR: "red bold"}
_GAP = "  "
_LEAST = 20  # columns of a message, however narrow the terminal is


@options.example("doctor", "doctor --json")
@click.command("doctor")
@options.as_json
@options.wide
@click.pass_context
def doctor(context: click.Context, /, *, as_document: bool, wide: bool) -> None:
    """Check store, broker, workers, scheduler and settings; exit with 1 if something is wrong.

    It only reads, within some seconds, and no question holds the store for long.
    """
    findings = examine(gather(find_app(context), find_runtime(context), application=application_as_given()))
    screen = find_screen(context.obj, wide=wide)
    if as_document:
        screen.show(as_json([plain(finding) for finding in findings]))
    else:
        show_findings(screen, findings)
    if any(finding.level is Level.ERROR for finding in findings):
        context.exit(ExitCode.WRONG)


def show_findings(screen: Screen, findings: Sequence[Finding]) -> None:
    """Print each finding, and below it what to do; what is longer than a line goes on below itself."""
    checks = max(len(finding.check) for finding in findings)
    levels = max(map(len, Level))
    begin = checks + levels + 2 * len(_GAP)
    for finding in findings:
        about = (
            screen.cell(finding.check, "", checks) + _GAP + screen.cell(finding.level, _STYLES[finding.level], levels)
        )
        first, *rest = _lines(screen, finding.message, begin)
        screen.show(f"{about}{_GAP}{first}")
        for line in rest:
            screen.show(" " * begin + line)
        if finding.advice:
            for line in _lines(screen, f"-> {finding.advice}", begin):
                screen.show(" " * begin + screen.styled(line, "dim"))


def _lines(screen: Screen, text: str, begin: int) -> list[str]:
    text = printable(text)
    return [text] if screen.width is None else wrapped(text, max(_LEAST, screen.width - begin), indent=0)
