"""Deletions in a transaction, and cancellations that are made of many runs."""

from __future__ import annotations

from dataclasses import dataclass

from hephaestus_celery.core.execution.deletion import is_deletable
from hephaestus_celery.core.execution.times import Times
from hephaestus_celery.storage.many import Untouched
from hephaestus_celery.storage.resume_and_cancel import Cancellation, CancelRequest
from hephaestus_celery.storage.schema import SCHEMA
from hephaestus_celery.storage.transactional.resume_and_cancel import cancel_in
from hephaestus_celery.storage.transactional.transaction import REPLY_KEPT, Transaction


@dataclass(frozen=True, slots=True)
class _Deleted:
    """Says that an operation has deleted a run."""


def delete_in(transaction: Transaction, run_id: str, *, operation: str, now: int) -> Untouched | None:
    """Delete an ended run, or say why not."""
    if transaction.find_reply(_Deleted, run_id, operation) is not None:
        return None
    record = transaction.find_run(run_id)
    if record is None:
        return Untouched()
    if record.new.schema > SCHEMA:
        return Untouched(schema=record.new.schema)
    if not is_deletable(record.state, copied_by=None):  # what a retry or a fork makes is whole at once
        return Untouched(status=record.state.status)
    transaction.clear_all_due(run_id)
    transaction.leave_lanes(run_id)
    transaction.delete_run(record)
    transaction.save_reply(run_id, operation, _Deleted(), ends_at=now + REPLY_KEPT)
    return None


def cancel_one_in(transaction: Transaction, request: CancelRequest, times: Times) -> Cancellation | Untouched:
    """End one run of many, or say why not."""
    record = transaction.find_run(request.run_id)
    if record is None:
        return Untouched()
    if record.new.schema > SCHEMA:
        return Untouched(schema=record.new.schema)
    cancelled = cancel_in(transaction, request, times)
    return Untouched(status=record.state.status) if cancelled is None else cancelled
