"""The page of one run: its graph and how each step stands, why it is not moving, its failure, and its data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from hephaestus_celery.cli.application import application_as_given
from hephaestus_celery.cli.following import entry_line
from hephaestus_celery.cli.render.screen import Screen
from hephaestus_celery.cli.run_picture import MOST_STEPS, show_picture
from hephaestus_celery.cli.statuses import RUN_STYLES, STEP_STYLES
from hephaestus_celery.core.execution.standing import Reason
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.reports.documents import plain
from hephaestus_celery.reports.reasons import reason_lines
from hephaestus_celery.reports.run_lines import pause_lines, undoing_line
from hephaestus_celery.reports.text import columns, fitted, printable, printable_lines, wrapped
from hephaestus_celery.reports.times import age, iso, length

_SHORT = 160
"""Characters of a value in a pipe, unless all is asked for."""
_MISHAPS = 10
_MOST_VALUES = 50
"""Steps whose results are shown, unless all are asked for."""
_WELL = {"completed", "waiting", "again", None}


def show_run(
    screen: Screen,
    instance: Instance,
    entries: Sequence[HistoryEntry],
    why: Sequence[Reason],
    *,
    now: datetime,
    full: bool = False,
    most_steps: int = MOST_STEPS,
    data: bool = True,
    origin: str | None = None,
) -> None:
    """Print all of one run; without ``data`` what can be told of it from a listing and its history.

    ``origin`` is the line about the run that it was made of.
    """
    _show_head(screen, instance, now=now, origin=origin)
    screen.show()
    show_picture(screen, instance, entries, now=now, full=full, most=most_steps)
    if why:
        _section(screen, "Why it is not moving")
        for about, text in reason_lines(instance, why, now=now, application=application_as_given()):
            _show_wrapped(screen, about, text)
    if data and instance.failure is not None:
        _show_failure(screen, instance)
    mishaps = [entry for entry in entries if entry.kind == "rescue" or entry.outcome not in _WELL]
    if mishaps:
        _section(screen, "What went wrong on the way")
        for entry in mishaps if full else mishaps[-_MISHAPS:]:
            _show_wrapped(screen, "", entry_line(entry, screen))
    if data:
        _show_data(screen, instance, full=full)


def _show_head(screen: Screen, instance: Instance, *, now: datetime, origin: str | None) -> None:
    status = screen.styled(str(instance.status), RUN_STYLES[instance.status])
    if instance.finished_at is None:
        how_long = f"for {age(instance.started_at, now=now)}"
    else:
        how_long = (
            f"after {length(instance.finished_at - instance.started_at)}, {age(instance.finished_at, now=now)} ago"
        )
    paused = ", paused" if instance.paused else ""
    left = None if screen.width is None else screen.width - len(instance.status) - len(how_long) - len(paused) - 3
    name = printable(instance.id) if left is None else fitted(printable(instance.id), left)
    screen.show(f"{screen.styled(name, 'bold')}  {status} {how_long}{screen.styled(paused, STEP_STYLES['held'])}")
    about = f"{printable(instance.workflow_name)} version {instance.workflow_version}"
    started = f"{instance.started_at:%Y-%m-%d %H:%M:%S} UTC" if screen.people else iso(instance.started_at)
    screen.show(screen.styled(f"run {instance.run_id}", "dim"))
    about = f"{about}, started {started}"
    screen.show(screen.styled(about if screen.width is None else fitted(about, screen.width), "dim"))
    retried = None if instance.retried_as is None else f"retried as run {instance.retried_as}"
    for line in filter(None, (origin, retried)):
        screen.show(screen.styled(printable(line), "dim"))
    for line in pause_lines(instance, now=now):
        _show_wrapped(screen, "", line)
    if instance.undoes:
        _show_wrapped(screen, "", undoing_line(instance))
    if instance.status.final and instance.cancel_reason:
        _show_wrapped(screen, "cancelled", instance.cancel_reason)


def _section(screen: Screen, title: str) -> None:
    screen.show()
    screen.show(screen.styled(title, "bold"))


def _show_wrapped(screen: Screen, name: str, text: str) -> None:
    label = f"  {printable(name)}: " if name else "  "
    text = printable(text)
    if screen.width is None:
        screen.show(f"{screen.styled(label, 'bold')}{text}" if name else label + text)
        return
    for number, line in enumerate(wrapped(label + text, screen.width, indent=4)):
        first = number == 0 and name and line.startswith(label)
        screen.show(screen.styled(label, "bold") + line[len(label) :] if first else line)


def _show_failure(screen: Screen, instance: Instance) -> None:
    failure = instance.failure
    if failure is None:
        return
    _section(screen, "Failure")
    where = f"{printable(instance.failed_key)}: " if instance.failed_key else ""
    _show_wrapped(screen, "", f"{where}{failure.type}: {failure.message} ({failure.kind})")
    for line in printable_lines(failure.stacktrace or ""):
        text = line if screen.width is None else fitted(line, screen.width - 4)
        screen.show(screen.styled(f"    {text}", "dim"))


def _show_data(screen: Screen, instance: Instance, *, full: bool) -> None:
    results = {key: result for key, result in instance.context.steps.items() if result}
    shown = list(results) if full else list(results)[-_MOST_VALUES:]
    values = {"initial": instance.context.initial, **{key: results[key] for key in shown}}
    if instance.result:
        values["result of the run"] = instance.result
    _section(screen, "Data")
    names = max(columns(printable(name)) for name in values)
    for name, value in values.items():
        label = f"  {screen.cell(printable(name), 'bold', names)}  "
        if full:
            screen.show(label.rstrip())
            for line in json.dumps(plain(value), indent=2, ensure_ascii=False).splitlines():
                screen.show(f"    {printable(line, limit=len(line))}")
            continue
        text = printable(
            json.dumps(plain(value), ensure_ascii=False), limit=_SHORT if screen.width is None else screen.width
        )
        room = _SHORT + 1 if screen.width is None else screen.width - names - 4
        screen.show(label + fitted(text, room))
    if len(shown) < len(results):
        screen.show(f"  and the results of {len(results) - len(shown):,} steps before: --full")
