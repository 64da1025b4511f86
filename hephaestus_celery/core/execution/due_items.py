"""The kinds of due entries, and the text under which stores keep each: a new kind of timer begins here.

In Python, only this module writes and reads the texts. Mirrored by `storage/redis/lua/parts/due_items.lua` and
`due_items_reading.lua` beside it. An item holds all that its handling needs even if its run is gone. The texts never change,
since workers of several versions read them.

Laws held here: ``parse(encode(item)) == item`` for items of steps with valid keys; a text that no version has written is
refused, so it is never taken for another item.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hephaestus_celery.core.execution.limits import COPY, DEADLINE, RESERVED, SETTLE, SWEEP, UNDO
from hephaestus_celery.core.values.activation import Activation


@dataclass(frozen=True, slots=True)
class StepDue:
    """The timer of an activation; the state of its step says what it means, see :func:`.due.due`."""

    activation: Activation


@dataclass(frozen=True, slots=True)
class TimerDue:
    """A timer beside the step's own, see :func:`.due.fire`."""

    activation: Activation
    reference: str


@dataclass(frozen=True, slots=True)
class PrunedRun:
    """The names under which the indexes list a run."""

    instance_id: str
    family: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prune:
    """Deletes a run when its retention is over. ``run`` is None in old entries, which did not have it."""

    run: PrunedRun | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """Clears away what the end of a large run has left, slice by slice."""


@dataclass(frozen=True, slots=True)
class UndoDue:
    """Drops what nobody has begun in a large run that undoes what has completed, slice by slice."""


@dataclass(frozen=True, slots=True)
class SettleDue:
    """Edges of ``source`` are still to be settled, stored as ``staged``. An empty ``source`` is the start of the run."""

    source: str
    staged: str


@dataclass(frozen=True, slots=True)
class CopyRun:
    """Data of the run ``source``, named in ``staged``, is still to be copied for this run, made of it by a retry or fork."""

    source: str
    staged: str


@dataclass(frozen=True, slots=True)
class Deadline:
    """The run fails if it has not ended by now, see :mod:`.deadlines`."""


_WHOLE: Mapping[type[Sweep | Deadline | UndoDue], str] = {Sweep: SWEEP, Deadline: DEADLINE, UndoDue: UNDO}
_BY_TEXT = {text: kind for kind, text in _WHOLE.items()}

DueItem = StepDue | TimerDue | Prune | Sweep | UndoDue | SettleDue | CopyRun | Deadline


def encode(item: DueItem) -> str:
    """The text of an item: in an entry, it follows the id of the run and ``|``."""
    match item:
        case StepDue(activation):
            return str(activation)
        case TimerDue(activation, reference):
            return f"{activation}|{reference}"
        case Prune(run):
            return "" if run is None else f"|{_json([run.instance_id, run.family, *run.tags])}"
        case Sweep() | Deadline() | UndoDue():
            return _WHOLE[type(item)]
        case SettleDue(source, staged):
            return f"{SETTLE}|{source}|{staged}"
        case CopyRun(source, staged):
            return f"{COPY}|{source}|{staged}"


def parse(text: str) -> DueItem:
    """The item that has this text; ``ValueError`` if no item has it."""
    key, separator, reference = text.partition("|")
    if not key:
        return Prune(_pruned_run(reference) if reference else None)
    if text in _BY_TEXT:
        return _BY_TEXT[text]()
    if key == SETTLE:
        return _settle_due(reference)
    if key == COPY:
        return _copy_run(reference)
    if key.startswith(RESERVED) or (separator and not reference):
        raise ValueError(f"{text!r} is no entry of the due set that is known here")
    activation = Activation.parse(key)
    return TimerDue(activation, reference) if reference else StepDue(activation)


def encode_member(run_id: str, item: DueItem) -> str:
    """The entry of an item in a due set that several runs share."""
    return f"{run_id}|{encode(item)}"


def parse_member(text: str) -> tuple[str, DueItem]:
    """The run id and the item of an entry; ``ValueError`` if it is not an entry."""
    run_id, separator, rest = text.partition("|")
    if not run_id or not separator:
        raise ValueError(f"{text!r} names no run")
    return run_id, parse(rest)


def _settle_due(text: str) -> SettleDue:
    source, _, staged = text.partition("|")
    if not staged:
        raise ValueError(f"{text!r} names no staged edges")
    return SettleDue(source, staged)


def _copy_run(text: str) -> CopyRun:
    source, _, staged = text.partition("|")
    if not source or not staged or "|" in staged:
        raise ValueError(f"{text!r} does not say what is copied from which run")
    return CopyRun(source, staged)


def _pruned_run(text: str) -> PrunedRun:
    values = json.loads(text, strict=False)  # as cjson reads it
    match values:
        case [str() as instance_id, str() as family, *tags] if all(isinstance(tag, str) for tag in tags):
            return PrunedRun(instance_id, family, tuple(tags))
        case _:
            raise ValueError(f"{text!r} does not say which run is pruned")


def _json(values: list[str]) -> str:
    # The format of Redis's cjson, since an entry is found by its text.
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return text.replace("/", "\\/").replace("\x7f", "\\u007f")
