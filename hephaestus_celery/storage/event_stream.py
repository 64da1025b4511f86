"""Values of the event stream: its entries as they are stored, and what a consumer is given of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hephaestus_celery.core.execution.telling import Telling, What

TAKEOVER = 60_000_000
"""Microseconds after which an entry that was handed out and not acknowledged may be handed to another consumer."""
UNUSED = 30 * 24 * 3_600_000_000
"""Microseconds after which a group that nobody has read for is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the stream was told of one transition, and of which run; ``version`` is that of its workflow."""

    run_id: str
    instance_id: str
    workflow: str
    version: int
    telling: Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEntry:
    """An entry as a consumer is given it.

    ``told`` is None if the cap has taken the entry after it was handed out. ``read_before`` is the id that the group had read
    before others that the cap has taken, just before this entry; None if it has missed nothing there. ``acknowledged`` are the
    places of those of its events that are done with already.
    """

    id: str
    told: Told | None
    read_before: str | None = None
    acknowledged: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Some entries, and the id of the newest entry of the stream.

    ``cursor`` says where to go on with a search for entries that nobody acknowledges; None after the last.
    """

    entries: Sequence[StreamEntry]
    newest: str
    cursor: str | None = None


def write_told(told: Told) -> str:
    """The JSON text that an entry keeps beside its history entry: a list, in which all but the facts are texts."""
    telling = told.telling
    texts = [told.run_id, told.instance_id, told.workflow, str(told.version)]
    numbers = [str(telling.sequence), str(telling.count), str(telling.at)]
    return json.dumps([*texts, *numbers, telling.what, dict(telling.facts)], separators=(",", ":"))


def read_told(text: str, detail: str) -> Told:
    """What :func:`write_told` was given."""
    run_id, instance_id, workflow, version, sequence, count, at, what, facts = json.loads(text)[:9]
    telling = Telling(
        what=What(what) if what in set(What) else What.OTHER,
        sequence=int(sequence),
        count=int(count),
        at=int(at),
        detail=detail,
        facts=facts or {},
    )
    return Told(run_id=run_id, instance_id=instance_id, workflow=workflow, version=int(version), telling=telling)
