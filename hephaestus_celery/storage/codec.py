"""Values as JSON text and back: ``decode(encode(x)) == x`` for all that :mod:`hephaestus_celery.core.context` lets in.

Dates and their kin are written as ``{"$type": name, "value": text}``; a mapping of the user's that has the key
``$type`` itself is wrapped the same way. Documents carry the version of their schema: an older one is upgraded when it
is read, a newer one is refused.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from hephaestus_celery.core.context import EMPTY, Context, check_mapping
from hephaestus_celery.core.history import HistoryEntry
from hephaestus_celery.core.instance import Failure, Instance
from hephaestus_celery.core.lazy import LazyMapping
from hephaestus_celery.core.registry import WORKFLOWS
from hephaestus_celery.core.run import StepState
from hephaestus_celery.exceptions import DataError, StorageError
from hephaestus_celery.storage.base import StoredEntry, StoredRun

if TYPE_CHECKING:
    from hephaestus_celery.core.workflow import Workflow

SCHEMA = 1
_MOST_DIGITS = 19  # of nanoseconds since the epoch, for centuries
TAG = "$type"

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
    "mapping": dict,
}


def encode(value: Any) -> str:
    """JSON text of a checked value."""
    text = _write(value)
    # The tag may be what was written here for a date, or a key of the user's own.
    return _write(_escaped(value)) if f'"{TAG}":' in text and _has_tag(value) else text


def decode(text: str) -> Any:
    """The value that :func:`encode` was given."""
    return json.loads(text, object_hook=_untag) if TAG in text else json.loads(text)


def encode_limited(value: Any, path: str, *, limit: int) -> str:
    """:func:`encode`, refusing with ``DataError`` what is longer than ``limit`` bytes."""
    text = encode(value)
    if len(text) > limit:
        raise DataError(
            f"{path} has {len(text):,} bytes as JSON, more than hephaestus_max_payload allows ({limit:,}); "
            "store it elsewhere and pass a reference"
        )
    return text


def encode_header(
    *,
    id: str,
    run_id: str,
    workflow: type[Workflow],
    telemetry: Mapping[str, Any],
) -> str:
    """The unchanging part of a run that is to be created."""
    return encode(
        {
            "schema": SCHEMA,
            "id": id,
            "run_id": run_id,
            "name": workflow.name,
            "family": workflow.family,
            "version": workflow.version,
            "tags": sorted(workflow.tags),
            "metadata": check_mapping(workflow.metadata, "metadata"),
            "telemetry": telemetry,
        }
    )


def decode_instance(run: StoredRun) -> Instance:
    """The instance that a stored run describes; ``StorageError`` for a document of a newer schema."""
    header = decode(run.header)
    if header["schema"] > SCHEMA:
        raise StorageError(
            f"run {header['run_id']} was written by a newer hephaestus-celery (schema {header['schema']}, this one "
            f"reads up to {SCHEMA}); upgrade this process"
        )
    return Instance(
        id=header["id"],
        run_id=header["run_id"],
        workflow_name=header["name"],
        workflow_version=header["version"],
        workflow_family=header["family"],
        status=run.status,
        context=Context.read_from(initial=partial(_read_only, run.initial), steps=partial(_results, run)),
        runtime_metadata=_merged(run),
        telemetry_metadata=MappingProxyType(header["telemetry"]),
        telemetry_start_time=read_start(run.start),
        started_at=moment(run.started_at),
        finished_at=None if run.finished_at is None else moment(run.finished_at),
        failure=None if run.failure is None else Failure(**decode(run.failure)),
        cancel_reason=run.cancel_reason,
        tags=tuple(header["tags"]),
        metadata=MappingProxyType(header["metadata"]),
        step_states=LazyMapping(partial(_ordered, run)),
        configs=MappingProxyType({key: _read_only(text) for key, text in run.configs.items()}),
        failed_key=run.failed_step,
        definition=WORKFLOWS.find(header["name"], header["version"]),
    )


def read_start(text: str | None) -> int | None:
    """The nanoseconds that a start key holds; None when it is missing or unreadable."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS:
        return None
    return int(text)


def moment(microseconds: int) -> dt.datetime:
    """Microseconds since the epoch as an aware UTC datetime, exactly."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)


def microseconds(moment: dt.datetime) -> int:
    """An aware datetime as microseconds since the epoch, exactly."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def _results(run: StoredRun) -> Mapping[str, Mapping[str, Any]]:
    return MappingProxyType(
        {
            key: _read_only(run.results[key]) if key in run.results else EMPTY
            for key, state in _ordered(run).items()
            if state.order is not None
        }
    )


def _merged(run: StoredRun) -> Mapping[str, Any]:
    if not run.metadata:
        return EMPTY
    merged: dict[str, Any] = {}
    for key in _ordered(run):
        if key in run.metadata:
            merged.update(decode(run.metadata[key]))
    return MappingProxyType(merged)


def _ordered(run: StoredRun) -> dict[str, StepState]:
    # Completed steps in the order of their commits: that is what "later keys win" means.
    unfinished = 1 << 62
    return dict(
        sorted(run.steps.items(), key=lambda item: (unfinished if item[1].order is None else item[1].order, item[0]))
    )


def _read_only(text: str) -> Mapping[str, Any]:
    return MappingProxyType(cast("dict[str, Any]", decode(text)))


def _tagged(item: object) -> dict[str, str]:
    match item:
        case dt.datetime():
            return {TAG: "datetime", "value": item.isoformat()}
        case dt.date():
            return {TAG: "date", "value": item.isoformat()}
        case dt.time():
            return {TAG: "time", "value": item.isoformat()}
        case decimal.Decimal():
            return {TAG: "decimal", "value": str(item)}
        case uuid.UUID():
            return {TAG: "uuid", "value": str(item)}
        case _:
            raise DataError(f"{item!r} ({type(item).__name__}) can't be carried")


# json.dumps would make an encoder for each call; what was checked does not contain itself.
_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False, default=_tagged).encode


def _has_tag(value: Any) -> bool:
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        return TAG in known or any(map(_has_tag, known.values()))
    return isinstance(value, list) and any(map(_has_tag, cast("list[Any]", value)))


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        plain = {key: _escaped(item) for key, item in cast("dict[str, Any]", value).items()}
        return {TAG: "mapping", "value": list(plain.items())} if TAG in plain else plain
    if isinstance(value, list):
        return [_escaped(item) for item in cast("list[Any]", value)]
    return value


def _untag(item: dict[str, Any]) -> Any:
    name = item.get(TAG)
    return item if name is None else _READERS[name](item["value"])


def encode_entry(
    *,
    kind: str,
    step: str | None = None,
    attempt: int | None = None,
    event: str | None = None,
    reason: str | None = None,
    worker: str | None = None,
    task_id: str | None = None,
    run_id: str = "",
) -> str:
    """The JSON text of what a commit adds to the history; order, outcome and times are the store's.

    The ids of our own tasks begin with the ``run_id``, which every entry of a run would repeat: it is left out.
    """
    if task_id is not None and run_id:
        task_id = task_id.removeprefix(run_id)
    fields = {
        "kind": kind,
        "step": step,
        "attempt": attempt,
        "event": event,
        "reason": reason,
        "worker": worker,
        "task_id": task_id,
    }
    return encode({key: value for key, value in fields.items() if value is not None})


def decode_entry(entry: StoredEntry, *, run_id: str) -> HistoryEntry:
    """One entry of the history of a run."""
    detail = decode(entry.detail)
    if detail.get("task_id", "").startswith(":"):
        detail["task_id"] = run_id + detail["task_id"]
    return HistoryEntry(
        sequence=entry.sequence,
        outcome=entry.outcome or None,
        queued_at=_moment(entry.queued_at),
        started_at=_moment(entry.started_at),
        finished_at=_moment(entry.finished_at),
        **detail,
    )


def _moment(microseconds: int | None) -> dt.datetime | None:
    return None if microseconds is None else moment(microseconds)
