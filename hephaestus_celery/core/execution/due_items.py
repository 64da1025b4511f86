"""The kinds of due entries, and the text that stores keep each as: a new kind of timer begins here.

The texts are written and read here, and nowhere else in Python. Mirrored by `storage/redis/lua/parts/due_items.lua` and
`due_items_reading.lua` beside it. An item holds all that its handling needs when its run is gone. The texts stay as they
are, since workers of several versions read them.

Laws held here: ``parse(encode(item)) == item`` for items of steps whose keys are valid; a text that no version has written is
refused, and so never taken for another item.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from hephaestus_celery.core.values.activation import Activation

RESERVED = "\1"
"""Begins what stands in the place of a step's key, and is none: no key holds a control character."""
SWEEP = f"{RESERVED}sweep"
"""See :class:`Sweep`."""
SETTLE = f"{RESERVED}settle"
"""See :class:`SettleDue`."""


@dataclass(frozen=True, slots=True)
class StepDue:
    """The timer of an activation; what it means follows from where its step stands, see :func:`.due.due`."""

    activation: Activation


@dataclass(frozen=True, slots=True)
class TimerDue:
    """A timer that was set for a step beside its own, see :func:`.due.fire`."""

    activation: Activation
    reference: str


@dataclass(frozen=True, slots=True)
class PrunedRun:
    """Under which names the indexes have a run."""

    instance_id: str
    family: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prune:
    """The watch over a run: it goes when its retention is over. ``run`` is None in an old entry, which did not say it."""

    run: PrunedRun | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What the end of a large run has left is cleared away, slice by slice."""


@dataclass(frozen=True, slots=True)
class SettleDue:
    """Edges of ``source`` (of the start where it is ``""``) are still to be settled; they are stored as ``staged``."""

    source: str
    staged: str


DueItem = StepDue | TimerDue | Prune | Sweep | SettleDue


def encode(item: DueItem) -> str:
    """The text of an item, as it stands behind the id of its run and ``|``."""
    match item:
        case StepDue(activation):
            return str(activation)
        case TimerDue(activation, reference):
            return f"{activation}|{reference}"
        case Prune(PrunedRun() as run):
            return f"|{_json([run.instance_id, run.family, *run.tags])}"
        case Prune():
            return ""
        case Sweep():
            return SWEEP
        case SettleDue(source, staged):
            return f"{SETTLE}|{source}|{staged}"


def parse(text: str) -> DueItem:
    """The item that has this text; ``ValueError`` when it is none."""
    key, separator, reference = text.partition("|")
    if not key:
        return Prune(_pruned_run(reference) if reference else None)
    if text == SWEEP:
        return Sweep()
    if key == SETTLE:
        return _settle_due(reference)
    if key.startswith(RESERVED) or (separator and not reference):
        raise ValueError(f"{text!r} is no entry of the due set that is known here")
    activation = Activation.parse(key)
    return TimerDue(activation, reference) if reference else StepDue(activation)


def encode_member(run_id: str, item: DueItem) -> str:
    """The entry of a due set that all runs of a store, or of a part of it, share."""
    return f"{run_id}|{encode(item)}"


def parse_member(text: str) -> tuple[str, DueItem]:
    """Whose entry it is, and its item; ``ValueError`` when it is none."""
    run_id, separator, rest = text.partition("|")
    if not run_id or not separator:
        raise ValueError(f"{text!r} names no run")
    return run_id, parse(rest)


def _settle_due(text: str) -> SettleDue:
    source, _, staged = text.partition("|")
    if not staged:
        raise ValueError(f"{text!r} names no staged edges")
    return SettleDue(source, staged)


def _pruned_run(text: str) -> PrunedRun:
    values = json.loads(text, strict=False)  # as cjson reads it
    match values:
        case [str() as instance_id, str() as family, *tags] if all(isinstance(tag, str) for tag in tags):
            return PrunedRun(instance_id, family, tuple(tags))
        case _:
            raise ValueError(f"{text!r} does not say which run is pruned")


def _json(values: list[str]) -> str:
    # As the cjson of Redis writes it: an entry is found by its text.
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return text.replace("/", "\\/").replace("\x7f", "\\u007f")
