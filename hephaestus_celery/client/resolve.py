"""Resolves what a caller names (an id, a run id, a workflow) to a run or to the filters of a listing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hephaestus_celery.client.means import Means
from hephaestus_celery.core.definition.workflow import WorkflowDefinition
from hephaestus_celery.core.execution.resolve import Candidates, RunReference, resolve
from hephaestus_celery.core.values.formatting import listed, named, shortened, shown
from hephaestus_celery.core.values.identity import is_run_id
from hephaestus_celery.core.values.inputs import LONGEST_ID, is_asked_for
from hephaestus_celery.core.values.instance import Instance
from hephaestus_celery.core.values.summary import RunSummary
from hephaestus_celery.exceptions import AmbiguousInstanceError, InstanceNotFoundError
from hephaestus_celery.storage.instances import decode_instance
from hephaestus_celery.storage.queries import Query, StoredRun

_SHOWN = 300  # characters of an id: all of one that may be


async def find_run(means: Means, id: object, *, workflow: type[WorkflowDefinition] | None) -> str:
    """The run id of the active run of an instance id, else of its newest; a run id is taken as it is.

    With ``workflow`` only its runs count; a run id that is none of theirs is tried as the value of an id, which may be
    a UUID too. ``InstanceNotFoundError`` when there is none, ``AmbiguousInstanceError`` when several are active.
    """
    reference = reference_to(id, workflow=workflow)
    if is_run_id(reference.id):
        if workflow is None or await _belongs(means, reference):
            return reference.id
        reference = as_value(reference, workflow)
    found = resolve(reference, await _candidates(means, reference))
    if found.several:
        raise ambiguous(reference, found.several)
    if found.run_id is None:
        raise not_found(reference, workflow=workflow)
    return found.run_id


async def find_newest(means: Means, id: object, *, workflow: type[WorkflowDefinition] | None) -> str:
    """As :func:`find_run`, but an instance id means its newest run, whatever others are active."""
    reference = reference_to(id, workflow=workflow)
    if is_run_id(reference.id):
        if workflow is None or await _belongs(means, reference):
            return reference.id
        reference = as_value(reference, workflow)
    newest = (await _candidates(means, reference)).newest
    if newest is None:
        raise not_found(reference, workflow=workflow)
    return newest


async def _candidates(means: Means, reference: RunReference) -> Candidates:
    version = reference.version if reference.exact else None
    return await means.storage.candidates(reference.id, family=reference.family, version=version)


def reference_to(id: object, *, workflow: type[WorkflowDefinition] | None) -> RunReference:
    """What an id means, with ``workflow`` among its runs alone; ``ValueError`` for what is no id."""
    if not isinstance(id, str):
        raise ValueError(f"an instance id must be a string, not {named(id)}")
    if not is_asked_for(id):
        raise ValueError(f"an instance id has 1 to {LONGEST_ID} printable characters: {shown(id)} is none")
    if workflow is None:
        return RunReference(id=id)
    return RunReference(
        id=id,
        family=workflow.family,
        version=None if workflow.versions else workflow.version,
        # Runs of other versions are other instances: the versions of an umbrella, or of a name, each by themselves.
        exact=workflow.unique.scope == "version" and not workflow.versions,
    )


def as_value(reference: RunReference, workflow: type[WorkflowDefinition]) -> RunReference:
    """The same id, taken as the value of the workflow's ids."""
    return replace(reference, id=f"{workflow.unique.key}::{reference.id}")


def ambiguous(reference: RunReference, active: Sequence[str]) -> AmbiguousInstanceError:
    """The error for an id of which several runs are active."""
    return AmbiguousInstanceError(
        f"{shortened(reference.id, limit=_SHOWN)} names {len(active)} active runs ({listed(active)}); use a run id, or "
        "workflow=..."
    )


async def read_run(means: Means, id: str, *, workflow: type[WorkflowDefinition] | None = None) -> Instance:
    """The run that an id means, see :func:`find_run`; on an event loop, its data is not there to be accessed."""
    run_id = await find_run(means, id, workflow=workflow)
    return decode_instance(await _load(means, run_id, id), reader=means.reader)


async def read_whole_run(means: Means, id: str, *, workflow: type[WorkflowDefinition] | None = None) -> Instance:
    """The run that an id means, for a user: all of its data is there, or is read when it is first accessed."""
    run_id = await find_run(means, id, workflow=workflow)
    return decode_instance(await means.complete(await _load(means, run_id, id), run_id), reader=means.reader)


async def _load(means: Means, run_id: str, id: str) -> StoredRun:
    run = await means.storage.load(run_id)
    if run is None:
        raise InstanceNotFoundError(f"no instance {id}; it was never started, its retention is over, or it was deleted")
    return run


def not_found(reference: RunReference, *, workflow: type[WorkflowDefinition] | None) -> InstanceNotFoundError:
    """The error for an id that no run has."""
    return InstanceNotFoundError(_not_found(reference.id, workflow))


def _not_found(id: str, workflow: type[WorkflowDefinition] | None) -> str:
    whose = "" if workflow is None else f" of {workflow.__qualname__}"
    text = f"no instance {shortened(id, limit=_SHOWN)}{whose}; it was never started, its retention is over, or it was deleted"
    if "::" in id or is_run_id(id):
        return text
    return (
        f"{text}. An id is the key of the workflow's Unique and a value, such as orderid::{shortened(id, limit=_SHOWN)}"
    )


async def list_runs(means: Means, query: Query) -> tuple[Sequence[tuple[str, RunSummary]], str | None]:
    """A page of runs; the id may be that of a run."""
    if not is_run_id(query.id):
        return await means.storage.list_runs(query)
    run = await means.storage.load(str(query.id), steps=())
    if run is None:
        return [], None
    # Found again by its own id and moment, so that the store checks the other filters.
    at_that_moment = replace(
        query,
        id=decode_instance(run).id,
        started_after=max(run.started_at - 1, query.started_after or 0),
        started_before=min(run.started_at + 1, query.started_before or run.started_at + 1),
    )
    runs, _ = await means.storage.list_runs(at_that_moment)
    return [(run_id, stored) for run_id, stored in runs if run_id == query.id], None


async def list_run_ids(means: Means, query: Query) -> tuple[Sequence[str], str | None]:
    """The run ids of a page of runs; the id may be that of a run."""
    if is_run_id(query.id):
        runs, cursor = await list_runs(means, query)
        return [run_id for run_id, _ in runs], cursor
    return await means.storage.list_run_ids(query)


async def count_runs(means: Means, query: Query) -> int:
    """How many runs match; the id may be that of a run."""
    if is_run_id(query.id):
        return len((await list_runs(means, query))[0])
    return await means.storage.count_runs(query)


async def _belongs(means: Means, reference: RunReference) -> bool:
    run = await means.storage.load(reference.id, steps=())
    if run is None:
        return False
    instance = decode_instance(run)
    return reference.admits(family=instance.workflow_family, version=instance.workflow_version)
