"""Values as JSON text and back: ``decode(encode(x)) == x`` for all that :mod:`hephaestus_celery.core.values.context` lets in.

Dates and their kin are written as ``{"$type": name, "value": text}``; a mapping of the user's that has the key
``$type`` itself is wrapped the same way. A datetime of a zone of ``zoneinfo`` bears its key and is read back in it, also in
an hour that is there twice (``fold``); where the zone is not known, or has changed since, with the offset it had. Documents carry the version of their schema: an older one is upgraded when it
is read, a newer one is refused.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.values.context import Context, check_mapping
from hephaestus_celery.core.values.history import HistoryEntry
from hephaestus_celery.core.values.instance import Failure, Instance
from hephaestus_celery.exceptions import DataError, InstanceNotFoundError
from hephaestus_celery.storage.port import SCHEMA, Reader, RunSummary, StoredEntry, StoredRun, written_by_newer
from hephaestus_celery.storage.snapshot import Snapshot, in_order

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.workflow import Workflow

_MOST_DIGITS = 19  # of nanoseconds since the epoch, for centuries
TAG = "$type"

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "datetime": lambda item: _in_zone(dt.datetime.fromisoformat(item["value"]), item),
    "date": lambda item: dt.date.fromisoformat(item["value"]),
    "time": lambda item: dt.time.fromisoformat(item["value"]).replace(fold=item.get("fold", 0)),
    "decimal": lambda item: decimal.Decimal(item["value"]),
    "uuid": lambda item: uuid.UUID(item["value"]),
    "mapping": lambda item: dict(item["value"]),
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


def decode_instance(run: StoredRun, *, reader: Reader | None = None) -> Instance:
    """The instance that a stored run describes; ``StorageError`` for a document of a newer schema.

    ``reader`` is asked for what did not come with the run, when that is first looked at.
    """
    header = decode(run.header)
    if header["schema"] > SCHEMA:
        raise written_by_newer(header["run_id"], header["schema"])
    snapshot = Snapshot(run, run_id=header["run_id"], reader=reader)
    makers: dict[str, Callable[[], Any]] = {
        "runtime_metadata": lambda: _merged(snapshot),
        "telemetry_metadata": lambda: decode(run.header)["telemetry"],
        "metadata": lambda: decode(run.header)["metadata"],
        "message_headers": lambda: read_headers(run.message_headers),
        "step_states": lambda: dict(snapshot.states),
        "configs": lambda: {key: decode(text) for key, text in snapshot.configs().items()},
    }
    steps = frozenset({"step_states"} if run.lacks_steps else ())
    return Instance.deferred(
        makers,
        far=steps | frozenset({"runtime_metadata", "configs"} if run.lacks_data else ()),
        id=header["id"],
        run_id=header["run_id"],
        workflow_name=header["name"],
        workflow_version=header["version"],
        workflow_family=header["family"],
        status=run.status,
        context=decode_context(run, run_id=header["run_id"], reader=reader),
        telemetry_start_time=read_start(run.start),
        started_at=moment(run.started_at),
        finished_at=None if run.finished_at is None else moment(run.finished_at),
        failure=None if run.failure is None else Failure(**decode(run.failure)),
        cancel_reason=run.cancel_reason,
        tags=tuple(header["tags"]),
        failed_key=run.failed_step,
        definition=WORKFLOWS.find(header["name"], header["version"]),
    )


def decode_context(
    run: StoredRun,
    *,
    run_id: str,
    reader: Reader | None,
    given: tuple[str, str | None] | None = None,
    read: dict[str, str] | None = None,
) -> Context:
    """What a stored run knows; ``given``: and what this step has just given. ``read``: see :class:`Snapshot`."""
    snapshot = Snapshot(run, run_id=run_id, reader=reader, read=read)
    own = dict([] if given is None else [given])

    def steps() -> dict[str, Any]:
        return {key: _mapping(text) for key, text in {**snapshot.results(), **own}.items()}

    def result(step: str) -> dict[str, Any]:
        return _mapping(own[step] if step in own else snapshot.result(step))

    far = [*(["initial"] if run.initial is None else []), *(["steps"] if run.lacks_data or run.lacks_steps else [])]
    makers = {"initial": lambda: decode(snapshot.initial), "steps": steps}
    return Context.deferred(makers, far=frozenset(far), _result=result)


def decode_summary(summary: RunSummary, *, run_id: str, reader: Reader) -> Instance:
    """The instance that a row of a listing describes; what the row does not say is read when it is looked at, and kept."""
    read: list[Instance] = []

    def whole() -> Instance:
        if not read:
            run = reader.load(run_id)
            if run is None:
                raise InstanceNotFoundError(f"no run {run_id} of {summary.id} any more; its retention is over")
            read.append(decode_instance(run, reader=reader))
        return read[0]

    far = ["context", "runtime_metadata", "telemetry_metadata", "metadata", "configs", "failure", "cancel_reason"]
    far.append("message_headers")
    known: dict[str, Any] = {}
    if summary.steps is None:
        far.append("step_states")
    else:
        known["step_states"] = in_order(summary.steps)
    return Instance.deferred(
        {name: partial(_of, whole, name) for name in far},
        far=frozenset(far),
        id=summary.id,
        run_id=run_id,
        workflow_name=summary.name,
        workflow_version=summary.version,
        workflow_family=summary.family,
        status=summary.status,
        telemetry_start_time=read_start(summary.start),
        started_at=moment(summary.started_at),
        finished_at=None if summary.finished_at is None else moment(summary.finished_at),
        tags=tuple(summary.tags),
        failed_key=summary.failed_step,
        definition=WORKFLOWS.find(summary.name, summary.version),
        **known,
    )


def read_headers(text: str | None) -> dict[str, Any]:
    """What every message of a run repeats, as it is stored with it."""
    return {} if text is None else decode(text)


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


def _of(whole: Callable[[], Instance], name: str) -> Any:
    return getattr(whole(), name)


def _mapping(text: str | None) -> dict[str, Any]:
    return {} if text is None else cast("dict[str, Any]", decode(text))


def _merged(snapshot: Snapshot) -> dict[str, Any]:
    # In the order of the commits: that is what "later keys win" means.
    merged: dict[str, Any] = {}
    for text in snapshot.metadata().values():
        merged.update(decode(text))
    return merged


def _in_zone(moment: dt.datetime, item: Mapping[str, Any]) -> dt.datetime:
    fold = item.get("fold", 0)
    if "zone" not in item:
        return moment.replace(fold=fold)
    try:
        local = moment.replace(tzinfo=ZoneInfo(item["zone"]), fold=fold)
    except (ZoneInfoNotFoundError, ValueError):
        return moment
    return local if local.utcoffset() == moment.utcoffset() else moment


def _tagged(item: object) -> dict[str, object]:
    match item:
        case dt.datetime():
            zone = item.tzinfo.key if isinstance(item.tzinfo, ZoneInfo) and item.tzinfo.key else None
            return {
                TAG: "datetime",
                "value": item.isoformat(),
                **({"zone": zone} if zone else {}),
                **({"fold": 1} if item.fold else {}),
            }
        case dt.date():
            return {TAG: "date", "value": item.isoformat()}
        case dt.time():
            return {TAG: "time", "value": item.isoformat(), **({"fold": 1} if item.fold else {})}
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
    return item if name is None else _READERS[name](item)


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
