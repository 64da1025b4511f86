"""The command ``celery -A shop hephaestus stats``: runs, queues, what is due, pace, schedulers and memory in numbers."""

from __future__ import annotations

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_app, find_runtime
from hephaestus_celery.cli.render.screen import Screen, find_screen
from hephaestus_celery.cli.render.tables import Column, show_table
from hephaestus_celery.reports.documents import as_json, plain
from hephaestus_celery.reports.statistics import Statistics, read_statistics
from hephaestus_celery.reports.text import printable
from hephaestus_celery.reports.times import age, length

_MIB = 1024 * 1024


@options.example("stats", "stats --json")
@click.command("stats")
@options.as_json
@options.wide
@click.pass_context
def stats(context: click.Context, /, *, as_document: bool, wide: bool) -> None:
    """Show runs by workflow and status, the oldest that waits, queues, what is due, pace, schedulers and memory.

    The pace is that of the runs which began and ended in the last minutes, by the indexes of the store.

    MESSAGES lie in the queue and wait for a worker; UNCLAIMED steps were sent, and no worker has begun them: their messages
    are in the queue, or with a worker that is busy. Entries that are due some time are what the scheduler looks after,
    such as next attempts, timeouts of waits, and leases of steps at work.
    """
    found = read_statistics(find_app(context), find_runtime(context))
    screen = find_screen(context.obj, wide=wide)
    if as_document:
        screen.show(as_json(plain(found)))
    else:
        show_statistics(screen, found)


def show_statistics(screen: Screen, found: Statistics) -> None:
    """Print the numbers."""
    right = [Column(heading=name, right=True) for name in ("runs", "messages", "unclaimed")]
    named = [Column(heading=name, flexible=True) for name in ("workflow", "status", "queue")]
    show_table(
        screen,
        (named[0], named[1], right[0]),
        [(each.workflow, str(each.status), f"{each.runs:,}") for each in found.runs],
    )
    if found.lanes:
        screen.show()
        rows = [
            (each.queue, "?" if each.messages is None else f"{each.messages:,}", f"{each.unclaimed:,}")
            for each in found.lanes
        ]
        show_table(screen, (named[2], right[1], right[2]), rows)
    screen.show()
    for line in _lines(found):
        screen.show(line)


def _lines(found: Statistics) -> list[str]:
    waits = found.oldest_waiting
    lines = [
        "no run waits for an event"
        if waits is None
        else f"the oldest waiting run began {age(waits, now=found.at)} ago",
        f"{found.due:,} entries are due some time"
        + (f"; the first is {length(found.overdue)} late" if found.overdue else ""),
        f"{found.started:,} runs began and {found.ended:,} of them ended in the last {length(found.minutes * 60)}",
        f"schedulers: {', '.join(found.schedulers) or 'none is at work'}",
    ]
    if found.paused_workflows:
        lines.append(f"paused as a whole: {', '.join(map(printable, found.paused_workflows))}")
    if found.memory is not None:
        limit = f" of {found.memory_limit // _MIB:,}" if found.memory_limit else ""
        lines.append(f"the store uses {found.memory // _MIB:,}{limit} MiB")
    if not found.complete:
        lines.append("there was no time to count all runs")
    return lines
