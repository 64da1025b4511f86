"""A process that claims from a file of SQLite what it can get: one of several that race."""

from __future__ import annotations

from pathlib import Path

from sql_storage import SqlStorage

from hephaestus_celery.core.values.activation import Activation
from hephaestus_celery.exceptions import AlreadyRunningError
from hephaestus_celery.storage.claims import Claim, ClaimRequest
from hephaestus_celery.storage.starts import NewRun
from hephaestus_celery.testing.conformance.driven_values import DURATIONS


def claim_all(path: Path, run_ids: list[str], name: str) -> list[str]:
    """Ask for step a of each run; gives those that were given."""
    storage = SqlStorage(path)
    found = []
    for run_id in run_ids:
        request = ClaimRequest(
            run_id=run_id,
            workflow="shop.Order",
            activation=Activation("a"),
            attempt=1,
            fence=name,
            versions=(1,),
            durations=DURATIONS,
        )
        found.extend([run_id] if isinstance(storage.claim(request), Claim) else [])
    storage.close()
    return found


def start_all(path: Path, runs: list[NewRun]) -> list[str]:
    """Start what is not running already."""
    storage = SqlStorage(path)
    found = []
    for run in runs:
        try:
            storage.create(run)
        except AlreadyRunningError:
            continue
        found.append(run.run_id)
    storage.close()
    return found
