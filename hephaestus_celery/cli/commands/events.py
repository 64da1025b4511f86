"""The command ``celery -A shop hephaestus events``: what the durable event stream keeps, and what comes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import click

from hephaestus_celery.cli import options
from hephaestus_celery.cli.application import find_runtime
from hephaestus_celery.cli.render.screen import Screen, find_screen
from hephaestus_celery.cli.stream_browsing import browse
from hephaestus_celery.core.values.stream_event import StreamEvent, StreamGap
from hephaestus_celery.reports.documents import as_json, plain
from hephaestus_celery.reports.text import fitted, printable
from hephaestus_celery.reports.times import iso, length


@options.example("events", "events --follow --json")
@click.command("events")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@options.as_json
@options.wide
@click.pass_context
def events(context: click.Context, /, *, follow: bool, as_document: bool, wide: bool) -> None:
    """Print the events of all runs that the stream keeps, the oldest first; with --json one object per line.

    It needs the setting hephaestus_event_stream. It reads for itself alone: no consumer group learns of it.
    """
    screen = find_screen(context.obj, wide=wide)
    with contextlib.suppress(KeyboardInterrupt):  # wherever it strikes: that is how following ends
        for found in browse(find_runtime(context), follow=follow):
            for line in _lines(screen, found, as_document=as_document):
                screen.show(line)


def _lines(screen: Screen, found: StreamEvent | StreamGap, *, as_document: bool) -> Iterator[str]:
    if as_document:
        yield as_json(document_of(found))
    else:
        line = printable(_gap_line(found) if isinstance(found, StreamGap) else _event_line(found, screen))
        yield line if screen.width is None else fitted(line, screen.width)


def document_of(found: StreamEvent | StreamGap) -> dict[str, Any]:
    """An event or a gap as JSON: the fields that it has."""
    return {name: value for name, value in plain(found).items() if name != "acknowledge"}


def _gap_line(gap: StreamGap) -> str:
    return f"{iso(gap.since)} to {iso(gap.until)}: {gap.missed:,} events are gone, since the stream keeps no more"


def _event_line(event: StreamEvent, screen: Screen) -> str:
    moment = f"{event.at:%H:%M:%S.%f}"[:-3] if screen.people else iso(event.at)
    named = (
        (event.step_key, "{}"),
        (event.compensates, "undoes {}"),
        (event.round, "round {}"),
        (event.attempt, "attempt {}"),
        (event.event, "-> {}"),
        (event.reason, "({})"),
    )
    parts = [text.format(value) for value, text in named if value is not None]
    if event.duration is not None:
        parts.append(f"took {length(event.duration / 1e9)}")
    return " ".join([moment, event.id, str(event.sequence), ".".join(event.name[1:]), *parts])
