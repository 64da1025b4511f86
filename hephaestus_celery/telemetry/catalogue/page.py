"""The reference page of the telemetry events, printed from the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hephaestus_celery.telemetry.catalogue.entries import CATALOGUE, CatalogueEntry, Field
from hephaestus_celery.telemetry.catalogue.names import extension_events
from hephaestus_celery.telemetry.handlers import EventName

_HEAD = """\
<!-- Printed by `python -m hephaestus_celery.telemetry.catalogue`; change the catalogue, not this page. -->

# Telemetry events

Attach a function to an event with `telemetry.attach` (or to several with `telemetry.attach_many`); it is called with
the event's name, its measurements, its metadata and the config that it was attached with, in the process and the thread
in which the thing happened, after it was committed.

- Times are integer nanoseconds.
- Steps and workflows are their classes.
- A field marked *always* is there in every event of that name; one marked *from the runner* is absent where the runner
  has nothing to say.
- What the caller gave as `telemetry_metadata` when starting the run is in the metadata of all its events. The names of
  fields on this page are reserved: a start that uses one of them is refused.
- Names of events and fields are public: they may be added, never renamed or removed.
"""


def render_page() -> str:
    """The whole page as Markdown, the same text every time, ending in a newline."""
    return "\n".join([_HEAD, *_overview(), *(line for entry in CATALOGUE for line in _section(entry))])


def _overview() -> Iterator[str]:
    extensions = extension_events()
    yield "| event | meaning |"
    yield "|---|---|"
    for entry in CATALOGUE:
        mark = " (extension)" if entry.name in extensions else ""
        title = _dotted(entry.name)
        yield f"| [`{title}`](#{title.replace('.', '')}){mark} | {entry.description} |"
    yield ""


def _section(entry: CatalogueEntry) -> Iterator[str]:
    yield f"## {_dotted(entry.name)}"
    yield ""
    yield entry.description
    yield ""
    yield f"- Name: `{_literal(entry.name)}`"
    if entry.accessor is None:
        yield "- Beside the eleven: listed by `telemetry.extension_events()`"
    else:
        yield f"- Accessor: `telemetry.{entry.accessor}()`"
    yield f"- Emitted by: `telemetry.{entry.emitter}`"
    yield ""
    yield from _table("measurement", entry.measurements)
    yield from _table("metadata", entry.metadata)


def _table(title: str, fields: Iterable[Field]) -> Iterator[str]:
    yield f"| {title} | type | there | meaning |"
    yield "|---|---|---|---|"
    for field in fields:
        yield f"| `{field.name}` | {field.type} | {field.presence} | {field.description} |"
    yield ""


def _dotted(name: EventName) -> str:
    return ".".join(name)


def _literal(name: EventName) -> str:
    return "(" + ", ".join(f'"{part}"' for part in name) + ")"
