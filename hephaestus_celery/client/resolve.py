"""Which run an id means, and which runs a listing does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hephaestus_celery.client.listing import read_query
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.values.formatting import listed, named, shortened, shown
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import LONGEST_ID, is_asked_for
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.exceptions import AmbiguousInstanceError, InstanceNotFoundError
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.storage.port import Storage
from hephaestus_celery.storage.queries import Query, RunSummary

_SHOWN = 300  # characters of an id: all of one that may be


def find_run(storage: Storage, id: object, *, workflow: type[WorkflowDefinition] | None) -> str:
    """The run id of the active run of an instance id, else of its newest; a run id is taken as it is.

    With ``workflow`` only its runs count; a run id that is none of theirs is tried as the value of an id, which may be
    a UUID too. ``InstanceNotFoundError`` when there is none, ``AmbiguousInstanceError`` when several are active.
    """
    if not isinstance(id, str):
        raise ValueError(f"an instance id must be a string, not {named(id)}")
    if not is_asked_for(id):
        raise ValueError(f"an instance id has 1 to {LONGEST_ID} printable characters: {shown(id)} is none")
    if is_run_id(id):
        if workflow is None or _belongs(storage, id, workflow):
            return id
        return find_run(storage, f"{workflow.unique.key}::{id}", workflow=workflow)
    found = storage.candidates(id, family=None if workflow is None else workflow.family)
    active, newest = found.active, found.newest
    if workflow is not None and _counts_by_version(workflow):
        active = [run_id for run_id in active if _belongs(storage, run_id, workflow)]
        newest = newest if active else _newest(storage, id, workflow)
    elif workflow is not None and len(active) > 1 and not workflow.versions:
        active = [run_id for run_id in active if _version(storage, run_id) == workflow.version]
    if len(active) > 1:
        raise AmbiguousInstanceError(
            f"{shortened(id, limit=_SHOWN)} names {len(active)} active runs ({listed(active)}); use a run id, or workflow=..."
        )
    chosen = active[0] if active else newest
    if chosen is None:
        raise InstanceNotFoundError(_not_found(id, workflow))
    return chosen


def read_run(storage: Storage, id: str, *, workflow: type[WorkflowDefinition] | None = None) -> Instance:
    """The run that an id means; see :func:`find_run`."""
    run = storage.load(find_run(storage, id, workflow=workflow))
    if run is None:
        raise InstanceNotFoundError(f"no instance {id}; it was never started, or its retention is over")
    return decode_instance(run, reader=storage)


def _not_found(id: str, workflow: type[WorkflowDefinition] | None) -> str:
    whose = "" if workflow is None else f" of {workflow.__qualname__}"
    text = f"no instance {shortened(id, limit=_SHOWN)}{whose}; it was never started, or its retention is over"
    if "::" in id:
        return text
    return (
        f"{text}. An id is the key of the workflow's Unique and a value, such as orderid::{shortened(id, limit=_SHOWN)}"
    )


def list_runs(storage: Storage, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
    """A page of runs; the id may be that of a run."""
    if not is_run_id(query.id):
        return storage.list_runs(query)
    run = storage.load(str(query.id), steps=())
    if run is None:
        return [], None
    # Found again by its own id and moment, so that the store checks the other filters.
    at_that_moment = replace(
        query,
        id=decode_instance(run).id,
        started_after=max(run.started_at - 1, query.started_after or 0),
        started_before=min(run.started_at + 1, query.started_before or run.started_at + 1),
    )
    runs, _ = storage.list_runs(at_that_moment)
    return [(run_id, stored) for run_id, stored in runs if run_id == query.id], None


def _belongs(storage: Storage, run_id: str, workflow: type[WorkflowDefinition]) -> bool:
    run = storage.load(run_id, steps=())
    if run is None:
        return False
    instance = decode_instance(run)
    own_version = not _counts_by_version(workflow) or instance.workflow_version == workflow.version
    return instance.workflow_family == workflow.family and own_version


def _counts_by_version(workflow: type[WorkflowDefinition]) -> bool:
    """Whether runs of other versions are other instances: the versions of an umbrella, or of a name, each by themselves."""
    return workflow.unique.scope == "version" and not workflow.versions


def _newest(storage: Storage, id: str, workflow: type[WorkflowDefinition]) -> str | None:
    query = read_query({"workflow": workflow, "version": workflow.version, "id": id, "limit": 1})
    runs, _ = storage.list_runs(query)
    return runs[0][0] if runs else None


def _version(storage: Storage, run_id: str) -> int | None:
    run = storage.load(run_id, steps=())
    return None if run is None else decode_instance(run).workflow_version
