"""Decodes instances from stored runs; data that did not come with a run is read when it is first accessed.

Documents carry the version of their schema: an older document is upgraded when it is read, a newer one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from hephaestus_celery.core.definition.registry import WORKFLOWS
from hephaestus_celery.core.execution.deadlines import EXCEEDED
from hephaestus_celery.core.execution.joins import Shortfall
from hephaestus_celery.core.values.context import Context
from hephaestus_celery.core.values.failure import Failure
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.json_values import check_mapping
from hephaestus_celery.core.values.lifecycle import Status
from hephaestus_celery.core.values.names import FAILED
from hephaestus_celery.core.values.pause import Pause, PausedBy, Pauses
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.exceptions import InstanceNotFoundError
from hephaestus_celery.storage.codec import decode, encode, moment
from hephaestus_celery.storage.queries import Reader, StoredRun
from hephaestus_celery.storage.schema import EDGES, RERUN, SCHEMA, schema_of, written_by_newer
from hephaestus_celery.storage.shortfalls import explained
from hephaestus_celery.storage.snapshot import Snapshot, in_order
from hephaestus_celery.storage.step_standings import StandingReader

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

_MOST_DIGITS = 19  # of nanoseconds since the epoch, for centuries


def encode_header(
    *,
    id: str,
    run_id: str,
    workflow: type[WorkflowDefinition],
    telemetry: Mapping[str, Any],
) -> str:
    """The part of a new run that never changes."""
    return encode(
        {
            "schema": schema_of(workflow),
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


def rerun_header(
    header: str, *, id: str, run_id: str, forked_from: str, workflow: type[WorkflowDefinition], moves: bool
) -> str:
    """The header of a run that is made of the run ``forked_from``, which has this ``header``.

    It keeps tags and metadata, unless it ``moves`` to another version.
    """
    found = decode(header)
    if moves:
        found |= decode(encode_header(id=id, run_id=run_id, workflow=workflow, telemetry=found["telemetry"]))
    own = {
        "schema": max(RERUN, schema_of(workflow)),
        "id": id,
        "run_id": run_id,
        "family": workflow.family,
        "forked_from": forked_from,
    }
    return encode({**found, **own})


def header_tags(header: str) -> list[str]:
    """The tags in a header."""
    return decode(header)["tags"]


def may_catch(header: str) -> bool:
    """Whether a run with this header may have transitions that take failures; False if the header can't be read."""
    try:
        return decode(header)["schema"] >= EDGES
    except (ValueError, TypeError, KeyError):
        return False


def decode_instance(run: StoredRun, *, reader: Reader | None = None) -> Instance:
    """The instance that a stored run describes; ``StorageError`` for a document of a newer schema.

    ``reader`` reads the data that did not come with the run, when it is first accessed.
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
        "undone": lambda: () if run.undoing is None else snapshot.undone(),
        "result": lambda: _mapping(snapshot.outcome()) if run.status is Status.COMPLETED else None,
    }
    undo = () if run.undoing is None else ("undone",)
    steps = frozenset({"step_states"} if run.lacks_steps else ())
    data = {"runtime_metadata", "configs"} | ({"result"} if run.status is Status.COMPLETED else set[str]())
    definition = WORKFLOWS.find(header["name"], header["version"])
    return Instance.deferred(
        makers,
        far=steps | frozenset({*data, *undo} if run.lacks_data else ()),
        read_state=snapshot.state,
        read_standing=StandingReader(
            run_id=header["run_id"],
            status=run.status,
            undoes=run.undoing is not None,
            reader=reader,
            due=run.due,
            entries=run.entries,
        ).far,
        id=header["id"],
        run_id=header["run_id"],
        workflow_name=header["name"],
        workflow_version=header["version"],
        workflow_family=header["family"],
        status=run.status,
        context=decode_context(run, run_id=header["run_id"], reader=reader, definition=definition),
        telemetry_start_time=read_start(run.start),
        started_at=moment(run.started_at),
        finished_at=None if run.finished_at is None else moment(run.finished_at),
        failure=_run_failure(run),
        deadline=_deadline(run),
        cancel_reason=run.cancel_reason,
        forked_from=header.get("forked_from"),
        retried_as=run.retried_as,
        tags=tuple(header["tags"]),
        pauses=_pauses(run.pauses),
        failed_key=run.failed_step,
        undoes=run.undoing is not None,
        definition=definition,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The event and the result of a step that is about to complete."""

    step: str
    event: str
    result: str | None


def decode_context(
    run: StoredRun,
    *,
    run_id: str,
    reader: Reader | None,
    definition: type[WorkflowDefinition] | None,
    given: Given | None = None,
    read: dict[str, str] | None = None,
) -> Context[Any]:
    """The context of a stored run. ``given`` adds a step, its event and its new result. ``read``: see :class:`Snapshot`."""
    snapshot = Snapshot(run, run_id=run_id, reader=reader, read=read)
    own = {} if given is None else {given.step: given.result}

    def steps() -> dict[str, Any]:
        return {key: _mapping(text) for key, text in {**snapshot.results(), **own}.items()}

    def failures() -> dict[str, Failure]:
        new = {} if given is None or given.event != FAILED else own
        return {key: _failure(text) for key, text in {**snapshot.failures(), **new}.items()}

    def result(step: str) -> dict[str, Any] | Failure:
        if given is not None and step == given.step:
            return _found(given.result, given.event)
        return _found(snapshot.result(step), snapshot.event(step))

    def bare_event(step: str) -> str | None:
        if given is not None and step == given.step:
            return given.event if given.result is None else None
        return snapshot.event(step) if snapshot.result(step) is None else None

    lacks = ["steps", "failures"] if run.lacks_data or run.lacks_steps else []
    far = [*(["initial"] if run.initial is None else []), *lacks]
    makers = {"initial": lambda: decode(snapshot.initial()), "steps": steps, "failures": failures}
    return Context.deferred(
        makers,
        far=frozenset(far),
        state={},
        round=1,
        read_result=result,
        read_bare_event=bare_event,
        definition=definition,
    )


def decode_summary(summary: RunSummary, *, run_id: str, reader: Reader) -> Instance:
    """The instance that a row of a listing describes; data that the row lacks is read when first accessed, and kept."""
    read: list[Instance] = []

    def whole() -> Instance:
        if not read:
            run = reader.load(run_id)
            if run is None:
                raise InstanceNotFoundError(
                    f"no run {run_id} of {summary.id} any more; its retention is over, or it was deleted"
                )
            read.append(decode_instance(run, reader=reader))
        return read[0]

    far = ["context", "runtime_metadata", "telemetry_metadata", "metadata", "configs", "failure", "cancel_reason"]
    far.extend(["message_headers", "forked_from", "undone", "result"])
    known: dict[str, Any] = {}
    if summary.steps is None:
        far.append("step_states")
    else:
        known["step_states"] = in_order({key: step.as_of(summary.status) for key, step in summary.steps.items()})
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
        pauses=_pauses(summary.pauses),
        failed_key=summary.failed_step,
        deadline=_deadline(summary),
        retried_as=summary.retried_as,
        undoes=summary.undoes,
        read_standing=StandingReader(run_id=run_id, status=summary.status, undoes=summary.undoes, reader=reader).far,
        definition=WORKFLOWS.find(summary.name, summary.version),
        **known,
    )


def _pauses(pauses: Pauses) -> tuple[Pause, ...]:
    marks = ((PausedBy.RUN, pauses.run), (PausedBy.WORKFLOW, pauses.workflow))
    return tuple(Pause(reason=reason, since=moment(mark.at), by=mark.by) for reason, mark in marks if mark is not None)


def read_headers(text: str | None) -> dict[str, Any]:
    """The headers that every message of a run repeats, from the text that is stored with the run."""
    return {} if text is None else decode(text)


def read_start(text: str | None) -> int | None:
    """The nanoseconds in a start key; None if it is missing or can't be read."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS:
        return None
    return int(text)


def read_failure(text: str, *, failed_step: str | None, shortfall: Shortfall | None, started_at: datetime) -> Failure:
    """The failure of a run as it is told, from the one that is stored: what the run itself failed by is said there in part."""
    failure = decode(text)
    if failed_step is None and failure["type"] == EXCEEDED:
        return Failure(**{**failure, "message": f"{failure['message']}, {started_at:%Y-%m-%d %H:%M:%S} UTC"})
    return Failure(**explained(failure, None if failed_step is not None else shortfall))


def _of(whole: Callable[[], Instance], name: str) -> Any:
    return getattr(whole(), name)


def _deadline(run: StoredRun | RunSummary) -> datetime | None:
    return None if run.deadline is None else moment(run.started_at + run.deadline)


def _run_failure(run: StoredRun) -> Failure | None:
    if run.failure is None:
        return None
    return read_failure(
        run.failure, failed_step=run.failed_step, shortfall=run.shortfall, started_at=moment(run.started_at)
    )


def _found(text: str | None, event: str | None) -> dict[str, Any] | Failure:
    return _failure(text) if event == FAILED else _mapping(text)


def _failure(text: str | None) -> Failure:
    # Fields that newer code may add are left out.
    found = _mapping(text)
    return Failure(kind=found["kind"], type=found["type"], message=found["message"])


def _mapping(text: str | None) -> dict[str, Any]:
    return {} if text is None else cast("dict[str, Any]", decode(text))


def _merged(snapshot: Snapshot) -> dict[str, Any]:
    # In the order of the commits: that is what "later keys win" means.
    merged: dict[str, Any] = {}
    for text in snapshot.metadata().values():
        merged.update(decode(text))
    return merged
