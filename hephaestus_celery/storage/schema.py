"""The schema number of stored runs: code that meets a newer one leaves the run alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus_celery.exceptions import StorageError

if TYPE_CHECKING:
    from hephaestus_celery.core.definition.workflow import WorkflowDefinition

PLAIN = 1
"""The schema number of a run that was started and needs nothing newer."""
RERUN = 2
"""The schema number of a run that a retry or a fork has made: older code would lose whose idempotency keys its steps repeat."""
PAUSED = 2
"""The schema number of a run while it is paused: older code would go on with it."""
EDGES = 3
"""The schema number of a run whose workflow has ``FAILED`` transitions, ``joins``, ``compensations`` or a ``result``, of which older code knows
nothing."""
ROUNDS = 3
"""The schema number of a run from the first ``Again`` of its steps on: older code would take the next round for a timeout."""
DEADLINE = 3
"""The schema number of a run with a deadline: older code would not end it in time, and would take its entry for none of ours."""
SCHEMA = 3
"""The newest schema number that this code reads. Each run carries the number that it needs; older code leaves newer runs alone."""


def schema_of(workflow: type[WorkflowDefinition]) -> int:
    """The schema number that a new run of a workflow needs."""
    graph = workflow.graph
    needed = [
        EDGES if graph.catching or graph.joins or graph.compensations or workflow.gives_result else PLAIN,
        PLAIN if workflow.deadline is None else DEADLINE,
    ]
    return max(needed)


def written_by_newer(run: str, schema: int) -> StorageError:
    """The error of code that was asked for a run of a newer schema."""
    return StorageError(
        f"run {run} was written by a newer hephaestus-celery (schema {schema}, this one reads up to {SCHEMA}); upgrade "
        "this process"
    )
